"""Metrics: pure functions of predictions and labels."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb.tiles import kernel


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


def right_by_class(predictions: Tensor, labels: Tensor, v: int) -> NDArray[np.int64]:
    """How many items of each class are predicted right, for many models at once.

    predictions: (models, steps, n) int16; labels: (n,) int64, negative for what is no item.
    returns: (models, steps, v) int64.
    """
    right = np.zeros((*predictions.shape[:2], v), np.int64)
    _count_right(predictions.numpy(), labels.numpy(), right)
    return right


@kernel
def _count_right(predictions: Any, labels: Any, right: Any) -> None:
    for f in range(predictions.shape[0]):
        for g in range(predictions.shape[1]):
            for i in range(len(labels)):
                if labels[i] >= 0 and predictions[f, g, i] == labels[i]:
                    right[f, g, labels[i]] += 1
