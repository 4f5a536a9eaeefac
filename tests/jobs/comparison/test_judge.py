"""Laws of what a model is judged by: three classes, of which the first is to be forgotten."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from jobs.comparison.judge import Judge, by_class, controlled, model
from tests.jobs.comparison import small
from tests.jobs.comparison.small import by_split, linear_head, oracle_judge, said, scores, values_head

LABELS = by_split([0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2, 2])
FORGET = {split: (own == 0).numpy() for split, own in LABELS.items()}
BEFORE = said([0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2, 0], method="none")
ORACLE = said([1, 2, 1, 1, 2], [1, 1, 1, 1, 2, 2, 2], method="retrain")
# One of two training items still known, one of three others lost; in the test none of two, and one of class 1.
ONE = said([0, 1, 1, 2, 2], [2, 1, 1, 2, 2, 2, 2])


def judge(**more):
    return Judge(LABELS, FORGET, [0], BEFORE, ORACLE, **more)


def test_accuracies_are_of_the_forget_items_and_of_the_rest():
    found = judge().verdict(ONE).row
    expected = {"train_forget": 1 / 2, "train_retain": 2 / 3, "test_forget": 0, "test_retain": 4 / 5, "test": 4 / 7}
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_among_the_retain_classes_an_item_never_falls_to_the_class_that_is_gone():
    found = judge().verdict(BEFORE).row
    # The test item of class 2 that was called 0 falls to the lowest class that stays, 1.
    assert found["test_retain"] == found["test_retain_among_retain"] == 4 / 5
    lost = said([0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0])
    assert judge().verdict(lost).row["train_retain_among_retain"] == pytest.approx(2 / 3)


def test_the_tug_of_war_is_against_the_oracle():
    # 1/2, 2/3 and 4/7 beside the oracle's 0, 1 and 5/7.
    assert judge().verdict(ONE).row["tow"] == pytest.approx(1 / 2 * 2 / 3 * 6 / 7)
    assert judge().verdict(ORACLE).row["tow"] == 1


def test_the_unlearning_score_is_of_the_test_items_against_the_model_before():
    worse = said([0, 1, 1, 2, 2], [0, 1, 1, 2, 2, 2, 1])  # half of the class known, 3/5 of the others; 4/5 before
    assert judge().verdict(worse).row["aus"] == pytest.approx((1 - 1 / 5) / 1.5)
    assert judge().verdict(ONE).row["aus"] == pytest.approx(1.0)


def test_the_worst_neighbour_is_the_class_that_lost_most_and_the_damage_what_it_lost():
    found = judge().verdict(ONE).row
    assert (found["worst_neighbour"], found["neighbour_damage"]) == (1, pytest.approx(1 / 2))
    gained = judge().verdict(ORACLE).row
    assert (gained["worst_neighbour"], gained["neighbour_damage"]) == (1, 0.0)


def test_the_first_class_can_be_the_worst_neighbour_and_none_is_where_none_is_left():
    last = Judge(LABELS, FORGET, [2], BEFORE, ORACLE)
    assert last.verdict(ONE).row["worst_neighbour"] == 0
    everything = Judge(LABELS, FORGET, [0, 1, 2], BEFORE, ORACLE)
    assert everything.verdict(ONE).row["worst_neighbour"] is None


def test_the_divergence_is_on_the_training_items_to_forget_alone():
    alike = said([1, 2, 0, 0, 0], [0] * 7)  # as the oracle on the forget items, nowhere else
    assert judge().verdict(alike).row["js_forget"] == pytest.approx(0)
    half = said([1, 1, 1, 1, 2], [1, 1, 1, 1, 2, 2, 2])  # one of the two items otherwise, and that surely
    assert judge().verdict(half).row["js_forget"] == pytest.approx(1 / 2, abs=0.01)


def test_the_oracle_that_never_saw_the_class_is_another_yardstick_or_none():
    assert judge().verdict(ONE).row["tow_kv"] is judge().verdict(ONE).row["js_forget_kv"] is None
    never = {"train": scores([0, 1, 1, 2, 2]), "test": scores([2, 1, 1, 2, 2, 2, 2])}  # what ONE says
    found = judge(never=never).verdict(ONE).row
    assert (found["tow_kv"], found["js_forget_kv"]) == (1, pytest.approx(0))
    assert found["tow"] < 1
    # Beside the oracle's 0, 1 and 5/7 its 1/2, 2/3 and 4/7.
    assert judge(never=never).verdict(ORACLE).row["tow_kv"] == pytest.approx(1 / 2 * 2 / 3 * 6 / 7)
    assert judge(never=never).verdict(ORACLE).row["js_forget_kv"] == pytest.approx(1, abs=0.01)


def test_the_gap_is_from_the_oracle_that_shares_the_keys_to_the_one_that_never_saw_the_class():
    assert oracle_judge().gap() is None
    gap = replace(oracle_judge(), never={"train": scores([0, 1, 1, 1]), "test": scores([1, 1])}).gap()
    assert gap is not None
    assert (gap.v.train_forget, gap.kv.train_forget) == (0, 0.5)
    assert (gap.v.train_retain, gap.kv.train_retain) == (1, 0.5)
    assert (gap.v.test_forget, gap.kv.test_forget) == (1, 0)
    assert (gap.v.test, gap.kv.test) == (1, 0.5)
    assert gap.row["tow"] == pytest.approx(0.5 * 0.5 * 0.5)
    assert gap.js_forget == pytest.approx(0.5, abs=0.01)
    beside = replace(oracle_judge(), never=oracle_judge().before.logits).gap()
    assert beside is not None
    assert beside.js_forget > 0.1, "of the oracle, not of the model before"


def test_items_that_neither_go_nor_stay_count_in_no_retain_accuracy():
    retain = {"train": np.array([False, False, True, False, True]), "test": ~FORGET["test"]}
    assert judge(retain=retain).verdict(ONE).row["train_retain"] == 1


def test_the_accuracy_of_a_class_is_over_its_own_items_and_of_none_is_no_number():
    assert by_class(ONE, LABELS["test"]).tolist() == pytest.approx([0, 1 / 2, 1])
    found = by_class(said([0], [0, 0, 1]), torch.tensor([0, 1, 1]))
    assert found[:2].tolist() == [1, 1 / 2]
    assert math.isnan(found[2])


def test_a_model_speaks_by_the_weights_and_the_codes_it_is_given():
    labels = by_split([0], [0])
    head = values_head({"train": [[0]], "test": [[1]]}, labels, [[[1.0, 0.0], [0.0, 1.0]]])
    plain = model(head, "none", head.weights)
    assert {s: logits.tolist() for s, logits in plain.logits.items()} == {"train": [[1, 0]], "test": [[0, 1]]}
    swapped = {"train": head.features["test"], "test": head.features["train"]}
    other = model(head, "masked", 2 * head.weights, features=swapped, setting={"budget": 1})
    assert {s: logits.tolist() for s, logits in other.logits.items()} == {"train": [[0, 2]], "test": [[2, 0]]}
    assert (other.head, other.method, other.setting) == (head, "masked", {"budget": 1})
    assert other.features is swapped
    one = model(linear_head({"train": [[1.0, 2.0]], "test": [[3.0, 4.0]]}, labels), "none", torch.eye(3)[:, :2])
    assert one.logits["test"].tolist() == [[3, 4]]


def test_a_class_without_its_column_has_a_logit_of_zero_and_without_its_logit_none():
    before = model(small.head(), "none", small.head().weights)
    column, logit = controlled(before, [1])
    assert (column.method, logit.method) == ("column", "logit")
    assert column.logits["test"].tolist() == [[1.5, 0, 0], [0, 0, 0.5]]
    assert logit.logits["test"].tolist() == [[1.5, -torch.inf, 0], [0, -torch.inf, 0.5]]
    assert before.logits["test"].tolist() == [[1.5, 0.5, 0], [0, 1.5, 0.5]]
