"""Accuracies, on predictions that can be counted by hand."""

import numpy as np
import pytest
import torch

from jobs.comparison.accuracies import accuracies
from jobs.comparison.masks import Predictions
from tests.jobs.comparison.small import reached

LABELS = {"train": torch.tensor([0, 0, 1, 1, 2]), "test": torch.tensor([0, 1, 1, 2])}
FORGET = {split: (own == 0).numpy() for split, own in LABELS.items()}


def test_accuracies_are_counted_on_the_items_they_speak_of():
    predicted = {"train": np.array([0, 1, 1, 1, 0]), "test": np.array([1, 1, 2, 2])}
    among = {"train": np.array([1, 1, 1, 1, 2]), "test": np.array([1, 1, 1, 2])}
    found = accuracies(predicted, among, LABELS, FORGET)
    assert found.train_forget == 0.5
    assert found.train_retain == pytest.approx(2 / 3)
    assert found.train_retain_among_retain == 1.0
    assert found.test_forget == 0.0
    assert found.test_retain == pytest.approx(2 / 3)
    assert found.test_retain_among_retain == 1.0
    assert found.test == 0.5


def test_accuracies_of_a_grid_are_counted_budget_by_budget_and_no_items_give_no_number():
    train = np.array([[[0, 0, 1, 1, 2], [1, 1, 1, 1, 1]]])
    predicted = {"train": train, "test": np.zeros((1, 2, 4), int)}
    nobody = {"train": FORGET["train"], "test": np.zeros(4, bool)}
    found = Predictions(predicted, predicted).accuracies(0, 2, LABELS, nobody)
    assert [one.train_forget for one in found] == [1.0, 0.0]
    assert [one.train_retain for one in found] == [1.0, pytest.approx(2 / 3)]
    assert all(np.isnan(one.test_forget) for one in found)
    assert [one.test for one in found] == [0.25, 0.25]
    assert len(Predictions(predicted, predicted).accuracies(0, 1, LABELS, nobody)) == 1


def test_the_tug_of_war_multiplies_three_distances():
    one = reached(train_forget=0.5, train_retain=0.9, test=0.7, test_forget=0.1)
    other = reached(train_forget=0.0, train_retain=1.0, test=0.8, test_forget=0.9)
    assert one.tow(other) == pytest.approx(0.5 * 0.9 * 0.9)
    assert one.tow(one) == 1.0
