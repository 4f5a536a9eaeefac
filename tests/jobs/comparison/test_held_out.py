"""Laws of masks that stop where forgotten items are known as items that were never seen."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dkvb.orders import RemovalOrder
from jobs.comparison.held_out import half_of_class, stop, stopped_at_held_out, unseen
from jobs.comparison.judge import Judge
from jobs.comparison.masks import Budgeted
from tests.jobs.comparison.small import by_split, reached, said


def test_half_of_the_test_items_of_the_class_choose():
    labels = torch.tensor([0, 1] * 10)
    chosen = half_of_class(labels, 1, seed=0)
    assert chosen.sum() == 5
    assert set(labels[torch.from_numpy(chosen)].tolist()) == {1}
    assert half_of_class(labels, 1, seed=1).tolist() != chosen.tolist()
    assert not half_of_class(torch.tensor([0, 1]), 1, seed=0).any(), "nothing would be left to judge"


def test_a_model_is_stopped_where_both_accuracies_meet_and_not_where_nothing_is_left():
    assert stop([1.0, 0.8, 0.6, 0.0], [0.7, 0.7, 0.65, 0.6]) == 2
    assert stop([1.0, 0.8, 0.8], [0.8, 0.8, 0.8]) == 1
    assert stop([0.5, 0.4], [0.6, 0.5]) == 0


LABELS = by_split([0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 1])
FORGET = {"train": np.array([True, True, False, False, False]), "test": np.zeros(6, bool)}
RETAIN = {"train": ~FORGET["train"], "test": np.ones(6, bool)}


def judge():
    before = said([0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 1], method="none")
    oracle = said([0, 1, 0, 0, 1], [0, 0, 1, 1, 1, 1], method="retrain")
    return Judge(LABELS, FORGET, [], before, oracle, retain=RETAIN)


class Swept:
    """At N = 0, 1, 2 the forgotten items are known to 1, 1/2, 0; the held-out ones to 1/2 from 1 on."""

    def predictions(self, orders, forget):
        self.asked = orders, forget
        return self

    def accuracies(self, order, budgets, labels, forget):
        self.held_out = forget["test"]
        assert forget["train"].tolist() == FORGET["train"].tolist()
        shares = [(1.0, 1.0), (0.5, 0.5), (0.0, 0.5)]
        return [reached(train_forget=one, test_forget=other) for one, other in shares[:budgets]]


def test_no_item_that_chose_is_in_any_figure():
    swept: Any = Swept()
    order = RemovalOrder(np.array([[0, 1, 2]]), np.ones((1, 3), int), 3)
    masked = []

    def mask(name, pairs, setting):
        masked.append((name, pairs.tolist(), setting))
        return said([0, 1, 0, 0, 1], [1, 1, 1, 1, 0, 0], method=name)

    orders = {"uva": Budgeted(order, [0, 1, 3])}
    own, (one,) = stopped_at_held_out(judge(), swept, orders=orders, masked=mask, k=0, seed=7)
    assert masked == [("uva to held-out", [[False, False, False]], {"budget": 0, "pairs": 0})], "ties to the first"
    chose = half_of_class(LABELS["test"], 0, seed=7)
    assert swept.held_out.tolist() == chose.tolist()
    assert own.labels["test"].tolist() == [0, 0, 1, 1]
    assert len(one.logits["test"]) == len(own.oracle.logits["test"]) == len(own.forget["test"]) == 4
    verdict = own.verdict(one)
    assert (verdict.accuracies.test, verdict.accuracies.train_forget) == (0, 0.5)
    left = 1 - abs(0 - own.accuracies(own.oracle.logits).test)
    assert verdict.tow == left


def test_a_class_without_two_test_items_has_nobody_to_choose():
    few = replace(judge(), labels={**LABELS, "test": torch.tensor([0, 1, 1, 1, 1, 1])})
    nobody: Any = None
    assert stopped_at_held_out(few, nobody, orders={}, masked=nobody, k=0, seed=0) == (few, [])


def test_a_judge_without_some_items_is_that_judge_on_the_others():
    kept = unseen(judge(), np.array([True, False, False, True, False, False]))
    assert kept.accuracies(kept.oracle.logits).test == 3 / 4
    assert kept.retain is not None
    assert kept.retain["test"].tolist() == [True] * 4
    assert unseen(replace(judge(), retain=None), np.zeros(6, bool)).retain is None
