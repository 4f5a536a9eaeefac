"""Laws of the attacks on what a model's file holds: what was planted is found."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dkvb.membership import entropy_attack
from dkvb.training import TrainSettings
from dkvb.values import CodeFeatures, fit_values
from jobs.comparison.file_attacks import file_attacks, missing_pairs
from jobs.comparison.judge import Judge, Model, controlled, model
from tests.jobs.comparison import small
from tests.jobs.comparison.small import by_split, said, values_head

LABELS = by_split([0] * 6 + [1] * 6 + [2] * 6, [0] * 4 + [1] * 4 + [2] * 4)
CODES = {split: torch.stack([own, torch.zeros_like(own)], dim=1).tolist() for split, own in LABELS.items()}
FORGET = {split: (own == 0).numpy() for split, own in LABELS.items()}


def trained(rows: torch.Tensor) -> Model:
    """Values that softmax training made of some training items, from zeros."""
    codes = torch.tensor(CODES["train"], dtype=torch.int16)
    settings = TrainSettings(epochs=30, validation=0.0)
    values, _ = fit_values(codes[rows], LABELS["train"][rows], settings, m=3, v=3, seed=0)
    head = values_head(CODES, LABELS, values.tolist())
    return model(head, "none", head.weights)


BEFORE = trained(torch.arange(18))
ORACLE = replace(trained(torch.arange(6, 18)), method="retrain")
JUDGE = Judge(LABELS, FORGET, [0], BEFORE, ORACLE)


def found(models, judge=JUDGE):
    return {(row.method, row.attack, row.measure): row for row in file_attacks(judge, models, 0, seed=0)}


def test_a_column_that_was_emptied_is_back_by_the_sums_of_the_rows():
    column, logit = controlled(BEFORE, [0])
    assert (column.logits["test"][:, 0] == 0).all()
    rows = found([BEFORE, column, logit, ORACLE])
    restored = {method: row.value for (method, attack, _), row in rows.items() if attack == "row sums"}
    assert restored == {"none": 1, "column": 1, "logit": 1, "retrain": 0}
    assert {row.oracle for row in rows.values() if row.attack == "row sums"} == {0}
    assert (column.weights[:, 0] == 0).all(), "the attack has changed the model"


def test_what_the_class_was_is_told_by_the_entropy_among_the_others_where_its_logit_is_gone():
    # The training items of the class are surer among the others than its test items: a leak that was planted.
    logits = {
        "train": torch.tensor([[9.0, 5.0, 0.0]]).repeat(18, 1),
        "test": torch.tensor([[9.0, 1.0, 0.0]]).repeat(12, 1),
    }
    leaking = replace(BEFORE, logits=logits)
    _, logit = controlled(leaking, [0])
    logit = replace(logit, logits={s: torch.where(x.isinf(), x, x) for s, x in logit.logits.items()})
    rows = found([logit, ORACLE], replace(JUDGE, before=leaking))
    assert rows["logit", "entropy among others", "auc"].value == 1
    assert rows["retrain", "entropy among others", "auc"].value == 0.5, "all its items are alike"
    assert rows["logit", "entropy among others", "auc"].oracle == 0.5


def test_the_entropy_is_of_the_logits_without_that_of_the_class():
    generator = torch.Generator().manual_seed(0)
    logits = {split: torch.randn(len(own), 3, generator=generator) for split, own in LABELS.items()}
    one = replace(said([0], [0]), logits=logits, head=BEFORE.head, weights=BEFORE.weights, features=BEFORE.features)
    expected = entropy_attack(logits["train"][:6, 1:], logits["test"][:4, 1:], seed=0)
    rows = found([one])
    assert rows["method", "entropy among others", "auc"].value == expected.auc
    assert rows["method", "entropy among others", "tpr at 1 % fpr"].value == expected.tpr


def test_without_test_items_of_the_class_nothing_is_asked_and_one_tells_no_membership():
    for kept, attacks in ((slice(4, 12), set()), (slice(3, 12), {"row sums"})):
        labels = {**LABELS, "test": LABELS["test"][kept]}
        forget = {split: (own == 0).numpy() for split, own in labels.items()}
        before, oracle = (
            replace(
                one,
                logits={**one.logits, "test": one.logits["test"][kept]},
                features={**one.features, "test": CodeFeatures(one.features["test"].codes[kept], 3)},
            )
            for one in (BEFORE, ORACLE)
        )
        judge = Judge(labels, forget, [0], before, oracle)
        assert {row.attack for row in file_attacks(judge, [before, oracle], 0, seed=0)} == attacks


# Pairs that are missing.


def missing(codes, mask, labels=LABELS, k=0):
    forget = {split: (own == k).numpy() for split, own in labels.items()}
    judge = replace(JUDGE, labels=labels, forget=forget)
    own = {split: torch.tensor(rows, dtype=torch.int16) for split, rows in codes.items()}
    return {row.measure: row for row in missing_pairs(judge, own, "uve", np.array(mask), k)}


def test_a_mask_names_the_class_it_is_of_and_tells_the_items_it_was_made_of():
    train = [[0, 0]] * 6 + [[1, 1]] * 6 + [[2, 2]] * 6
    test = [[0, 1]] * 4 + [[1, 1]] * 4 + [[2, 2]] * 4  # test items of the class miss half of what training items miss
    rows = missing({"train": train, "test": test}, [[True, False, False], [True, False, False]])
    assert {measure: row.value for measure, row in rows.items()} == {"auc": 1.0, "class named": 1.0}
    assert (rows["auc"].head, rows["auc"].method, rows["auc"].attack) == ("values", "uve", "missing pairs")
    assert rows["auc"].oracle is None


def test_a_mask_of_other_pairs_names_another_class_and_none_tells_nothing():
    other = missing(CODES, [[False, True, False], [False, True, False]])
    assert (other["auc"].value, other["class named"].value) == (0.5, 0.0)
    assert missing(CODES, [[False] * 3] * 2)["auc"].value == 0.5


def test_an_item_that_selects_nothing_misses_nothing():
    codes = {"train": [[0, 0]] * 18, "test": [[-1, -1]] * 12}
    mask = [[True, False, True], [True, False, True]]
    assert missing(codes, mask)["auc"].value == 1.0
    nobody = {**LABELS, "test": LABELS["test"][4:]}
    assert missing({**codes, "test": [[1, 1]] * 8}, mask, nobody) == {}


@pytest.mark.parametrize("kind", ["values", "linear"])
def test_a_head_that_nothing_was_done_to_is_the_same_after_its_rows_were_summed(kind):
    if kind == "values":
        assert found([BEFORE])["none", "row sums", "accuracy restored"].value == 1
    else:
        head = small.linear_head({"train": [[1.0, -1.0]], "test": [[1.0, -1.0]]}, by_split([0], [0]))
        weights = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]])
        one = model(head, "none", weights)
        judge = Judge(head.labels, {s: (own == 0).numpy() for s, own in head.labels.items()}, [0], one, one)
        assert found([one], judge)["none", "row sums", "accuracy restored"].value == 1
