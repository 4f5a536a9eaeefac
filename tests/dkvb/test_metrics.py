"""Metrics on cases solved by hand."""

import math

import numpy as np
import pytest
import torch

from dkvb.metrics import accuracy, retain_predictions, right_by_class


def test_accuracy_is_the_share_of_right_predictions():
    assert accuracy(torch.tensor([0, 1, 2, 2, 1]), torch.tensor([0, 1, 1, 2, 0])) == pytest.approx(0.6)
    assert accuracy(torch.tensor([1, 1]), torch.tensor([1, 1])) == 1
    assert accuracy(torch.tensor([1, 1]), torch.tensor([0, 0])) == 0


def test_the_accuracy_of_no_items_is_not_a_number():
    empty = torch.empty(0, dtype=torch.int64)
    assert math.isnan(accuracy(empty, empty))


def test_retain_predictions_never_name_a_forget_class():
    logits = torch.tensor([[9.0, 1.0, 2.0, 5.0], [0.0, 8.0, 7.0, 6.0], [1.0, 2.0, 4.0, 3.0]])
    assert retain_predictions(logits, [0]).tolist() == [3, 1, 2]
    assert retain_predictions(logits, [0, 3]).tolist() == [2, 1, 2]
    assert retain_predictions(logits, []).tolist() == [0, 1, 2]


def test_retain_predictions_of_uniform_logits_are_the_lowest_retain_class():
    assert retain_predictions(torch.zeros(2, 5), [0, 1]).tolist() == [2, 2]


def test_retain_predictions_leave_the_logits_alone():
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    before = logits.clone()
    retain_predictions(logits, [2])
    assert torch.equal(logits, before)


@pytest.mark.parametrize(("models", "steps", "n", "v"), [(2, 3, 101, 5), (3, 1, 7, 11), (1, 5, 0, 3), (0, 2, 13, 3)])
def test_right_predictions_are_counted_by_class_and_negative_labels_are_no_items(models, steps, n, v):
    gen = torch.Generator().manual_seed(n)
    predictions = torch.randint(-1, v, (models, steps, n), generator=gen).to(torch.int16)
    labels = torch.randint(-2, v, (n,), generator=gen)
    expected = np.zeros((models, steps, v), np.int64)
    for f in range(models):
        for g in range(steps):
            for i in range(n):
                if labels[i] >= 0 and predictions[f, g, i] == labels[i]:
                    expected[f, g, labels[i]] += 1
    found = right_by_class(predictions, labels, v)
    assert found.dtype == np.int64
    assert found.shape == (models, steps, v)
    assert (found == expected).all()


def test_what_is_no_item_is_never_right_even_where_the_prediction_agrees():
    predictions = torch.tensor([[[-1, -2, 1]]], dtype=torch.int16)
    assert right_by_class(predictions, torch.tensor([-1, -2, 1]), 3).tolist() == [[[0, 1, 0]]]


def test_right_predictions_of_a_part_of_the_models_and_steps_are_that_part_of_all():
    gen = torch.Generator().manual_seed(3)
    predictions = torch.randint(5, (7, 3, 101), generator=gen).to(torch.int16)
    labels = torch.randint(-1, 5, (101,), generator=gen)
    whole = right_by_class(predictions, labels, 5)
    assert (right_by_class(predictions[::2, 1:], labels, 5) == whole[::2, 1:]).all()
