"""Metrics: pure functions of predictions and labels."""

import math

import torch
from torch import Tensor


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Share of items predicted right, in [0, 1]; NaN for no items.

    predictions, labels: (n,) integer.
    """
    return (predictions == labels).double().mean().item() if len(labels) else math.nan


def retain_predictions(logits: Tensor, forget: list[int]) -> Tensor:
    """Predictions among the retain classes only.

    Removing a class raises retain accuracy by itself; this argmax has no such gift.
    logits: (n, v) float; forget: the forget classes.
    returns: (n,) int64.
    """
    kept = logits.clone()
    kept[:, forget] = -torch.inf
    return kept.argmax(1)
