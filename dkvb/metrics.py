"""Metrics: pure functions of predictions, labels and counts."""

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


def hit_share(counts: Tensor, mask: Tensor) -> float:
    """Share of hits that fall on masked pairs, in [0, 1]; NaN without hits.

    counts: (c, m) integer; mask: (c, m) bool.
    """
    total = counts.sum().item()
    return counts[mask].sum().item() / total if total else math.nan
