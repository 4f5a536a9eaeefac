"""Metrics on cases solved by hand."""

import math

import pytest
import torch

from dkvb.metrics import accuracy, retain_predictions


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
