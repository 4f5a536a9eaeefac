"""Laws of one class's comparison: its choices and rows, without a pipeline."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dkvb.baselines import Problem
from dkvb.orders import NEVER, RemovalOrder, by_activation, by_contrast
from jobs import inputs
from jobs.comparison.judge import Judge, model
from jobs.comparison.masks import Budgeted
from jobs.steps import compare
from jobs.steps.compare import Comparison, contrast, emptied, remembered, without
from store import arrays
from tests.jobs.comparison import small
from tests.jobs.comparison.small import by_split, linear_head, said, scores

SPEC = {
    "seed": 0,
    "tau": 0.9,
    "taus": [0.5, 1.0],
    "weights": [0.0, 0.5],
    "methods": {"uva": {"unit": "shares", "grid": [0.5, 1.0]}, "uve": {"unit": "examples", "grid": [1], "seeds": [0]}},
}
HITS = np.array([[6, 0, 2], [0, 1, 3]])
OTHERS = np.array([[4, 8, 0], [5, 0, 7]])


def comparison(k=0, *, watched=None, oracle_kv=(), **spec):
    bench = SimpleNamespace(
        task=small.task(spec=SPEC | spec),
        heads={"values": small.head()},
        watched=watched,
        counts=np.stack([HITS, OTHERS]),
        total=HITS + OTHERS,
        oracle_kv=list(oracle_kv),
    )
    return Comparison(bench, k)


def test_the_items_to_forget_are_those_of_the_class_among_those_kept():
    own = comparison(0)
    assert own.rows.tolist() == [0, 3]
    assert own.forget["test"].tolist() == [True, False]
    assert comparison(1).hits.tolist() == OTHERS.tolist()


def test_a_unit_is_a_class_that_was_asked_for(monkeypatch):
    monkeypatch.setattr(inputs, "wanted_classes", lambda task: [3, 12])
    assert compare.prepare(None) == ["00003", "00012"]


# Grids and rules.


def test_a_grid_of_shares_is_of_the_pairs_that_the_order_removes_and_begins_at_none():
    position = np.array([[0, NEVER, 2], [NEVER, 3, 1]])
    order = RemovalOrder(position, HITS, 4)
    budgeted = comparison().budgeted(order, {"unit": "shares", "grid": [0.25, 1.0]})
    assert budgeted.grid == [0, 1, 4]
    assert budgeted.order is order


def test_a_grid_of_numbers_is_taken_as_it_is_up_to_what_there_is():
    order = RemovalOrder(np.array([[0, 0, 1], [1, 0, 1]]), HITS, 2)
    assert comparison().budgeted(order, {"unit": "examples", "grid": [1, 2]}).grid == [0, 1, 2]


def test_without_a_grid_there_is_one_of_twenty_shares():
    order = RemovalOrder(np.arange(40).reshape(2, 20), np.ones((2, 20), int), 40)
    assert comparison().budgeted(order, None).grid == list(range(0, 41, 2))


def test_the_budgets_of_the_rules_are_on_the_grid():
    # 12 hits: 6 hold a half, and all four pairs the whole.
    order = by_activation(HITS)
    assert comparison().budgeted(order, {"unit": "shares", "grid": [0.75]}, [0.5, 1.0]).grid == [0, 1, 3, 4]
    assert [order.smallest(tau) for tau in (0.5, 0.9)] == [1, 3]


def test_the_rule_by_contrast_counts_the_hits_of_all_other_classes():
    # 6 - 0.5 * 4, 2 - 0, 1 - 0 and 3 - 0.5 * 7: three pairs can go, which hold 9 hits.
    order = comparison().orders()["contrast 0.5"].order
    assert [order.smallest(tau) for tau in (0.5, 0.8, 1.0)] == [1, 2, 3]


def test_there_is_an_order_by_contrast_for_every_weight_but_none():
    orders = comparison().orders()
    assert [*orders] == ["uva", "uva per codebook", "uve", "contrast 0.5"]
    assert orders["contrast 0.5"].order.position.tolist() == [[0, NEVER, 1], [NEVER, 2, NEVER]]
    whole = comparison(weights=[1.0]).orders()["contrast 1"]
    assert whole.order.position.tolist() == [[0, NEVER, 1], [NEVER, 2, NEVER]]
    assert orders["uve"].grid == [0, 1]
    assert contrast(1.0) == "contrast 1"


# Regret.

FOUND = {
    # The oracle has 0 on the forget items, 1 on all others: a tug of war of 0, 1/2, 9/10 and 3/4 * 3/4.
    "train_forget": np.array([1.0, 0.5, 0.1, 0.0, 0.0]),
    "train_retain": np.array([1.0, 1.0, 1.0, 0.75, 0.5]),
    "test": np.array([1.0, 1.0, 1.0, 0.75, 0.5]),
    "test_forget": np.array([0.9, 0.8, 0.7, 0.6, 0.5]),
    "test_retain": np.array([0.4, 0.3, 0.2, 0.1, 0.0]),
}


def oracle_judge():
    forget = {split: (own == 0).numpy() for split, own in small.OWN.items()}
    oracle = said([1, 1, 2, 1], [1, 1])
    oracle.logits["test"][0] = 9 * torch.eye(3)[0]  # right on every test item
    return Judge(small.OWN, forget, [0], said([0, 1, 2, 0], [0, 1]), oracle)


def test_regret_is_what_the_best_n_had_over_the_rule_s():
    order = Budgeted(by_activation(HITS), [0, 1, 2, 3, 4])
    rows = list(comparison(taus=[0.5, 0.7, 1.0]).regrets("uva", order, FOUND, oracle_judge()))
    assert [row["tau"] for row in rows] == [0.5, 0.7, 1.0]
    assert [row["budget"] for row in rows] == [1, 2, 4]
    assert [row["best_budget"] for row in rows] == [2, 2, 2]
    assert [row["tow"] for row in rows] == pytest.approx([0.5, 0.9, 0.25])
    assert [row["regret"] for row in rows] == pytest.approx([0.4, 0, 0.65])
    assert {row["weight"] for row in rows} == {0.0}
    assert [(row["test_forget"], row["test_retain"]) for row in rows] == [(0.8, 0.3), (0.7, 0.2), (0.5, 0.0)]
    assert [(row["train_forget"], row["train_retain"]) for row in rows] == [(0.5, 1), (0.1, 1), (0, 0.5)]


def test_regret_is_told_of_orders_that_have_a_rule_with_their_own_weight():
    own, order = comparison(), Budgeted(by_contrast(HITS, OTHERS, weight=0.5), [0, 1, 2, 3, 4])
    assert [row["weight"] for row in own.regrets("contrast 0.5", order, FOUND, oracle_judge())] == [0.5, 0.5]
    assert [row["budget"] for row in own.regrets("contrast 0.5", order, FOUND, oracle_judge())] == [1, 3]
    assert list(own.regrets("uve", order, FOUND, oracle_judge())) == []
    assert list(own.regrets("uva per codebook", order, FOUND, oracle_judge())) == []


# Oracles.


def test_the_logits_of_the_oracle_are_those_at_the_class_s_place(monkeypatch):
    there = {f"oracle_logits_{split}": np.arange(6).reshape(3, 1, 2) + 10 * i for i, split in enumerate(small.OWN)}
    monkeypatch.setattr(arrays, "open_array", lambda path, name: there[name])
    found = comparison(1, oracle_kv=[2, 1, 0]).never()
    assert {split: logits.tolist() for split, logits in found.items()} == {"train": [[2, 3]], "test": [[12, 13]]}
    assert comparison(1, oracle_kv=[0]).never() is None


def test_the_gap_is_from_the_oracle_that_shares_the_keys_to_the_one_that_never_saw_the_class():
    judge = oracle_judge()
    assert list(comparison().gap(judge)) == []
    never = {"train": scores([0, 1, 1, 1]), "test": scores([1, 1])}
    (row,) = comparison().gap(Judge(judge.labels, judge.forget, [0], judge.before, judge.oracle, never))
    assert (row["train_forget_v"], row["train_forget_kv"]) == (0, 0.5)
    assert (row["train_retain_v"], row["train_retain_kv"]) == (1, 0.5)
    assert (row["test_forget_v"], row["test_forget_kv"]) == (1, 0)
    assert (row["test_v"], row["test_kv"]) == (1, 0.5)
    assert row["tow"] == pytest.approx(0.5 * 0.5 * 0.5)
    assert row["js_forget"] == pytest.approx(0.5, abs=0.01)
    (row,) = comparison().gap(Judge(judge.labels, judge.forget, [0], judge.before, judge.oracle, judge.before.logits))
    assert row["js_forget"] > 0.1, "of the oracle, not of the model before"


# Models.


def test_rewinding_goes_to_the_epoch_whose_forget_error_is_nearest_to_the_held_out_error_of_the_last():
    z = {"train": [[1.0, 0.0]] * 2 + [[0.0, 1.0]] * 2, "test": [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]}
    own = comparison()
    own.rows, own.forget = torch.tensor([0, 1]), {"test": np.array([True, False, True])}
    head = linear_head(z, by_split([0, 0, 1, 1], [0, 1, 0]))
    knows, lost = torch.tensor([[1.0, 0], [0, 1], [0, 0]]), torch.tensor([[0, 1.0], [0, 1], [0, 0]])
    swapped = torch.tensor([[0, 1.0], [1, 0], [0, 0]])
    # The last epoch is wrong on one of two held-out items; forget errors of 0, 1 and 1: all as near, the last is taken.
    found = own.rewound(head, [knows, lost, swapped], {"lr": 1, "epoch": 7})
    assert (found.method, found.setting) == ("scrub+r", {"lr": 1, "epoch": 3})
    # Nothing held out is wrong in the end: back to the epoch that was wrong on no item to forget.
    own.forget = {"test": np.array([False, False, True])}
    found = own.rewound(head, [lost, knows, lost, swapped], {})
    assert (found.setting["epoch"], found.weights.tolist()) == (2, knows.tolist())


def test_a_class_without_its_column_has_a_logit_of_zero_and_without_its_logit_none():
    own = comparison(1)
    head = small.head()
    before = model(head, "none", head.weights)
    column, logit = own.controls(head, before)
    assert (column.method, logit.method) == ("column", "logit")
    assert column.logits["test"].tolist() == [[1.5, 0, 0], [0, 0, 0.5]]
    assert logit.logits["test"].tolist() == [[1.5, -torch.inf, 0], [0, -torch.inf, 0.5]]
    assert before.logits["test"].tolist() == [[1.5, 0.5, 0], [0, 1.5, 0.5]]


def test_what_is_passed_on_is_remembered_as_far_as_it_was_asked_for():
    into = []
    passes = remembered(iter([1, 2, 3]), into)
    assert next(passes) == 1
    assert into == [1]
    assert [*passes] == [2, 3]
    assert into == [1, 2, 3]


MASK = np.array([[True, False, False], [False, False, True]])


def test_an_emptied_pair_holds_zeros_and_the_head_keeps_its_own():
    weights = torch.arange(1.0, 13).view(6, 2)
    assert emptied(weights, MASK).tolist() == [[0, 0], [3, 4], [5, 6], [7, 8], [9, 10], [0, 0]]
    assert weights.min() == 1


def test_a_dropped_pair_is_no_vote_of_its_own_codebook():
    features = small.CodeFeatures(torch.tensor([[0, 0], [2, 2], [0, 2]], dtype=torch.int16), 3)
    assert without(features, MASK).tolist() == [[-1, 0], [2, -1], [-1, -1]]
    assert without(features, MASK).dtype == torch.int16


def test_the_erased_masks_are_at_the_n_that_is_best_on_the_training_items():
    # Class 0 falls with the first pair; a second takes class 1 with it.
    order = Budgeted(RemovalOrder(np.array([[0, 1, NEVER], [NEVER] * 3]), HITS, 2), [0, 1, 2])
    zero, drop = comparison().erased(small.head(), order)
    assert zero.setting == drop.setting == {"budget": 1, "pairs": 1}
    assert zero.logits["test"].tolist() == [[0, 0.5, 0], [0, 1.5, 0.5]]
    assert drop.logits["test"].tolist() == [[0, 1, 0], [0, 1.5, 0.5]]


def test_every_method_is_masked_at_its_own_n(watched):
    own = comparison(watched=watched, methods=SPEC["methods"] | {"uva": {"unit": "pairs", "grid": [1, 2, 3]}})
    own.hits, own.bench.total = np.array([[2, 0, 0], [0, 1, 1]]), np.array([[2, 1, 1], [0, 2, 2]])
    selections, attacked, judge = [], [], oracle_judge()
    found = {one.method: one for one in own.masked(small.head(), judge, selections, attacked)}
    names = ["uva", "uva per codebook", "uve", "uva by tau", "random", "uva zero", "uva drop"]
    assert [*found] == names
    assert found["uva"].setting == {"budget": 1, "pairs": 1}
    assert found["uva"].features["train"].codes.tolist() == [[1, 1], [1, 2], [2, 1], [1, 2]]
    assert found["uva by tau"].setting == {"budget": 3, "pairs": 3}
    assert found["random"].setting == {"budget": 1, "pairs": 1}
    assert {row["weight"] for row in selections} == {0.0, 0.5}
    assert {row["method"] for row in attacked} == {"uva", "uve", "uva by tau"}


# Unmasking.


def restored(watched, mask, *, hits=None, before=(0, 1)):
    own = comparison(watched=watched)
    own.hits = np.array([[5, 3, 0], [0, 0, 4]]) if hits is None else hits
    judge = oracle_judge()
    judge = Judge(judge.labels, judge.forget, [0], said([0, 1, 2, 0], list(before)), judge.oracle)
    (row,) = own.unmasked(judge, {"uva": np.array(mask)})
    assert (row["head"], row["method"], row["attack"], row["oracle"]) == ("values", "uva", "unmask", None)
    return row["value"]


def test_the_most_activated_pair_comes_back_first(watched):
    # Of two masked pairs the class needs the first key alone, which it hits most.
    assert restored(watched, [[True, True, False], [False] * 3]) == 1 / 2
    assert restored(watched, [[True, True, False], [False] * 3], hits=np.array([[1, 2, 0], [0, 0, 0]])) == 1
    assert restored(watched, [[True, True, False], [False, False, True]]) == 1 / 3


def test_a_class_that_never_left_needs_nothing_back(watched):
    assert restored(watched, [[False] * 3, [False, True, False]], hits=np.array([[0, 0, 0], [0, 1, 0]])) == 0
    assert restored(watched, [[False] * 3] * 2) == 0


def test_a_class_that_was_not_known_before_is_back_at_once(watched):
    assert restored(watched, [[True, True, False], [False] * 3], before=(1, 1)) == 0


def test_a_problem_without_the_class_is_what_the_oracle_is_trained_on():
    head = small.head()
    own = comparison(1)
    assert isinstance(head.problem(own.rows), Problem)
    judge = own.judge(head)
    assert judge.classes == [1]
    assert judge.oracle.logits["train"].argmax(1)[1] != 1
    assert judge.before.logits["train"].argmax(1).tolist() == [0, 1, 2, 0]
    assert judge.never is None
