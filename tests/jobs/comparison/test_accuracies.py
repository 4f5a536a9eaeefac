"""Accuracies and the choice of N, on predictions that can be counted by hand."""

import numpy as np
import pytest
import torch

from jobs.comparison.judge import tow
from jobs.comparison.masks import accuracies, best_step

LABELS = {"train": torch.tensor([0, 0, 1, 1, 2]), "test": torch.tensor([0, 1, 1, 2])}
FORGET = {split: (own == 0).numpy() for split, own in LABELS.items()}


def test_accuracies_are_counted_on_the_items_they_speak_of():
    predicted = {"train": np.array([0, 1, 1, 1, 0]), "test": np.array([1, 1, 2, 2])}
    among = {"train": np.array([1, 1, 1, 1, 2]), "test": np.array([1, 1, 1, 2])}
    found = accuracies(predicted, among, LABELS, FORGET)
    assert found["train_forget"] == 0.5
    assert found["train_retain"] == pytest.approx(2 / 3)
    assert found["train_retain_among_retain"] == 1.0
    assert found["test_forget"] == 0.0
    assert found["test_retain"] == pytest.approx(2 / 3)
    assert found["test_retain_among_retain"] == 1.0
    assert found["test"] == 0.5


def test_a_grid_is_counted_step_by_step_and_no_items_give_no_number():
    predicted = {"train": np.array([[0, 0, 1, 1, 2], [1, 1, 1, 1, 1]]), "test": np.zeros((2, 4), int)}
    nobody = {"train": FORGET["train"], "test": np.zeros(4, bool)}
    found = accuracies(predicted, predicted, LABELS, nobody)
    assert found["train_forget"].tolist() == [1.0, 0.0]
    assert found["train_retain"].tolist() == [1.0, pytest.approx(2 / 3)]
    assert np.isnan(found["test_forget"]).all()
    assert found["test"].tolist() == [0.25, 0.25]


def test_the_best_n_is_the_smallest_of_the_best_training_scores():
    grid = {"train_forget": np.array([1.0, 0.5, 0.0, 0.0]), "train_retain": np.array([0.9, 0.9, 0.9, 0.9])}
    assert best_step(grid) == 2
    # Forgetting half at no cost: 1 / 1.5; all of it at the cost of half: 0.5 / 1.
    grid = {"train_forget": np.array([1.0, 0.5, 0.0]), "train_retain": np.array([1.0, 1.0, 0.5])}
    assert best_step(grid) == 1


def test_the_tug_of_war_multiplies_three_distances():
    one = {"train_forget": 0.5, "train_retain": 0.9, "test": 0.7, "test_forget": 0.1}
    other = {"train_forget": 0.0, "train_retain": 1.0, "test": 0.8, "test_forget": 0.9}
    assert tow(one, other) == pytest.approx(0.5 * 0.9 * 0.9)
    assert tow(one, one) == 1.0
