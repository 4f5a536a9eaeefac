"""Stopping: where the training items say."""

from itertools import count

import pytest
import torch

from dkvb import stopping
from dkvb.baselines import ForgetTask
from dkvb.errors import BadSetting
from dkvb.linear import EmbeddingFeatures


@pytest.fixture
def task():
    """Two classes on one axis; the head gets both right."""
    z = torch.tensor([[2.0], [1.5], [-1.0], [-2.0], [-1.5]])
    labels = torch.tensor([0, 0, 1, 1, 1])
    return ForgetTask(EmbeddingFeatures.of(z), labels, torch.tensor([[1.0, -1.0], [0.0, 0.0]]), torch.tensor([0, 1]))


def weights(bias):
    """A head that leans to class 1 by so much: from 4 on nothing is class 0 any more."""
    return torch.tensor([[1.0, -1.0], [0.0, float(bias)]])


def test_the_best_epoch_is_the_first_of_the_best_score(task):
    kept = stopping.best_epoch(task, iter([weights(0), weights(5), weights(4.5), weights(0), weights(9)]))
    assert kept.epoch == 2
    assert kept.score == 1.0
    assert torch.equal(kept.weights, weights(5))


def test_a_method_is_stopped_after_two_epochs_without_a_better_score(task):
    asked = count()
    kept = stopping.best_epoch(task, (weights(5 if next(asked) == 1 else 0) for _ in range(50)))
    assert kept.history == (0.5, 1.0, 0.5, 0.5)
    assert next(asked) == 4, "an epoch was run that nobody looks at"


def test_scores_are_those_of_the_training_items(task):
    assert stopping.training_accuracies(task, task.weights) == (1.0, 1.0)
    assert stopping.training_accuracies(task, weights(5)) == (0.0, 1.0)
    # Everything is class 0: the other class is lost, and nothing forgotten.
    assert stopping.training_accuracies(task, weights(-5)) == (1.0, 0.0)
    assert stopping.best_epoch(task, iter([weights(-5)])).score == 0.0


def test_no_epoch_is_refused(task):
    with pytest.raises(BadSetting, match="found none"):
        stopping.best_epoch(task, iter([]))


def test_the_best_model_is_the_first_of_the_best_scores():
    assert stopping.best_model([1.0, 0.5, 0.0, 0.0], [0.9] * 4) == 2
    # Forgetting half at no cost: 1 / 1.5; all of it at the cost of half: 0.5 / 1.
    assert stopping.best_model([1.0, 0.5, 0.0], [1.0, 1.0, 0.5]) == 1


def test_a_loss_on_the_others_counts_from_the_model_before():
    # 1 / 2, 1 / 1.5 and 0.6 / 1; measured from the last, that would be best.
    assert stopping.best_model([1.0, 0.5, 0.0], [0.9, 0.9, 0.5]) == 1
    assert stopping.best_model([1.0, 0.5, 0.0], [0.9, 0.7, 0.6]) == 2
