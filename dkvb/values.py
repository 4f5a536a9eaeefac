"""Values: a sparse linear model on cached codes.

Keys and backbone are frozen, so codes never change while values are trained: an item is its c selected pairs.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from dkvb.errors import ShapeMismatch
from dkvb.training import Trained, TrainSettings, train


@dataclass(frozen=True)
class CodeFeatures:
    """Items as the pairs they select: c ones in a row of c * m, divided by c."""

    pairs: Tensor
    """(n, c) int64, flat index codebook * m + code."""
    size: int
    """c * m."""

    @classmethod
    def of(cls, codes: Tensor, m: int) -> Self:
        """From codes.

        codes: (n, c) integer, each >= 0.
        raises: ShapeMismatch when a code is negative: such an item has no place in training.
        """
        if (codes < 0).any():
            raise ShapeMismatch("codes: found items without a vote, expected a key for every item and codebook")
        c = codes.shape[1]
        return cls(codes.long() + m * torch.arange(c, device=codes.device), c * m)

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, rows: Tensor) -> Self:
        """The same features of some items."""
        return type(self)(self.pairs[rows], self.size)

    def weights(self, v: int) -> Tensor:
        """(c * m, v) float32 zeros."""
        return torch.zeros(self.size, v, device=self.pairs.device)

    def forward(self, weights: Tensor) -> Tensor:
        """The mean of the fetched values."""
        return embedding_bag(self.pairs, weights, mode="mean")

    @cached_property
    def _items_by_pair(self) -> tuple[Tensor, Tensor]:
        """The transposed matrix: the items of each pair, and where each pair's items begin (c * m + 1)."""
        order = self.pairs.flatten().argsort(stable=True)
        ends = torch.bincount(self.pairs.flatten(), minlength=self.size).cumsum(0)
        return order // self.pairs.shape[1], torch.cat([ends.new_zeros(1), ends])

    def direction(self, error: Tensor) -> Tensor:
        """The mean error of the items that select a pair.

        The gradient is their sum over c; its diagonal preconditioner is c over their number. The Hessian of the
        preconditioned model is an average of c projections, so its norm is at most that of the loss: a step of 1
        cannot overshoot.
        """
        items, begins = self._items_by_pair
        return embedding_bag(items, error, begins, mode="mean", include_last_offset=True)

    def descend(self, weights: Tensor, error: Tensor, *, lr: float, clip: float) -> None:
        """One plain step on the gradient of the mean loss, its norm clipped, in place."""
        n, c = self.pairs.shape
        touched, place = self.pairs.flatten().unique(return_inverse=True)
        gradient = error.new_zeros(len(touched), error.shape[1])
        gradient.index_add_(0, place, error.repeat_interleave(c, 0), alpha=1 / (c * n))
        scale = (clip / (gradient.norm() + 1e-6)).clamp(max=1)
        weights.index_add_(0, touched, gradient * (-lr * scale))


def fit_values(
    codes: Tensor, labels: Tensor, settings: TrainSettings, *, m: int, v: int, seed: int
) -> tuple[Tensor, Trained]:
    """Train the values of a bottleneck.

    codes: (n, c) integer >= 0, of the training items; labels: (n,) int64 in [0, v).
    returns: (c, m, v) float32 values, and how they were trained.
    raises: ShapeMismatch.
    """
    if labels.shape != codes.shape[:1]:
        raise ShapeMismatch.between("labels (n,)", labels.shape, "codes (n, c)", codes.shape)
    trained = train(CodeFeatures.of(codes, m), labels, settings, v=v, seed=seed)
    return trained.weights.view(codes.shape[1], m, v), trained
