"""Descent with momentum and weight decay, batch by batch, on a head that is a linear model of fixed features.

The gradient baselines (`dkvb.baselines`) and the recovery attack use it. The arithmetic is torch.optim.SGD's:
velocity = momentum * velocity + gradient + decay * weights, weights -= lr * velocity.

A batch selects a small part of a bottleneck's pairs. A row of values that no item of the batch selects moves by its
momentum and decay alone, and k such updates are the k-th power of one 2 x 2 matrix; so it is left as it is until an
item selects it again, and takes all the updates it missed at once.

n: items; b: items of a batch; c: codebooks; m: pairs of a codebook; v: classes; features: c * m, or d_z + 1.
"""

from math import inf
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.linear import EmbeddingFeatures
from dkvb.tiles import kernel
from dkvb.training import Features
from dkvb.values import CodeFeatures

STEPS = 1024
"""Updates that a row can miss before all rows are brought up to date."""


class Descent(Protocol):
    """A head while it descends; the weights that it began with are not changed."""

    def logits(self, rows: Tensor) -> Tensor:
        """Logits of some items: rows (b,) int64 -> (b, v) float32."""
        ...

    def step(self, rows: Tensor, error: Tensor) -> None:
        """Update the weights once.

        rows: (b,) int64, items; one may occur twice.
        error: (b, v) float32, derivative of the loss by their logits.
        raises: ShapeMismatch.
        """
        ...

    def set_lr(self, lr: float) -> None:
        """Change the learning rate from here on."""
        ...

    def weights(self) -> Tensor:
        """A copy of the weights: (features, v) float32."""
        ...


def descent(features: Features, weights: Tensor, *, lr: float, momentum: float = 0.0, decay: float = 0.0) -> Descent:
    """Begin a descent at some weights.

    weights: (features, v) float32, copied.
    lr: learning rate; decay: of the weights.
    raises: BadSetting for a learning rate, momentum or decay out of range; ShapeMismatch.
    """
    if not 0 < lr < inf or not 0 <= momentum < 1 or not 0 <= decay < inf:
        raise BadSetting(
            f"lr, momentum, decay: found {lr}, {momentum}, {decay}, expected lr > 0, momentum in [0, 1), decay >= 0"
        )
    if isinstance(features, CodeFeatures):
        c, m = features.codes.shape[1], features.m
        if len(weights) != features.size:
            raise ShapeMismatch.between("weights (c * m, v)", weights.shape, "pairs (c, m)", (c, m))
        return CodeDescent(features.codes, weights.reshape(c, m, weights.shape[1]), lr, momentum, decay)
    if isinstance(features, EmbeddingFeatures):
        return LinearDescent(features.x, weights, lr, momentum, decay)
    raise BadSetting(f"features: found {type(features).__name__}, expected codes or embeddings")


class LinearDescent:
    """Descent of a linear head, on embeddings."""

    def __init__(self, x: Tensor, weights: Tensor, lr: float, momentum: float, decay: float) -> None:
        if len(weights) != x.shape[1]:
            raise ShapeMismatch.between("weights (d_z + 1, v)", weights.shape, "x (n, d_z + 1)", x.shape)
        self._x, self._weights, self._velocity = x, weights.clone(), torch.zeros_like(weights)
        self._lr, self._momentum, self._decay = lr, momentum, decay

    def logits(self, rows: Tensor) -> Tensor:
        """See Descent."""
        return self._x[rows] @ self._weights

    def step(self, rows: Tensor, error: Tensor) -> None:
        """See Descent."""
        _check(rows, error, self._weights.shape[1])
        gradient = torch.addmm(self._weights, self._x[rows].T, error, beta=self._decay)
        self._velocity.mul_(self._momentum).add_(gradient)
        self._weights.sub_(self._velocity, alpha=self._lr)

    def set_lr(self, lr: float) -> None:
        """See Descent."""
        self._lr = lr

    def weights(self) -> Tensor:
        """See Descent."""
        return self._weights.clone()


class CodeDescent:
    """Descent of a bottleneck's values, on codes; a negative code is no vote, and only votes count in a mean."""

    def __init__(self, codes: Tensor, values: Tensor, lr: float, momentum: float, decay: float) -> None:
        """Begin with codes (n, c) int16 and values (c, m, v) float32, both on the CPU."""
        c, m, v = values.shape
        if codes.shape[1:] != (c,) or (codes.numel() and int(codes.max()) >= m):
            raise ShapeMismatch.between("codes (n, c) below m", codes.shape, "values (c, m, v)", values.shape)
        self._codes = codes
        self._state = np.zeros((c, m, 2, v), np.float32)  # a row and its velocity lie side by side
        self._state[:, :, 0] = values.numpy()
        self._votes = (codes >= 0).sum(1, keepdim=True).clamp(min=1)
        self._last, self._now = np.zeros((c, m), np.int32), 0
        self._momentum, self._decay = momentum, decay
        self.set_lr(lr)

    def logits(self, rows: Tensor) -> Tensor:
        """See Descent."""
        logits = torch.zeros(len(rows), self._state.shape[3])
        _fetch(self._codes[rows].numpy(), self._state, self._last, self._now, self._powers, logits.numpy())
        return logits / self._votes[rows]

    def step(self, rows: Tensor, error: Tensor) -> None:
        """See Descent."""
        _check(rows, error, self._state.shape[3])
        if self._now == STEPS:
            self._settle()
        share = (error / self._votes[rows]).numpy()
        how = self._lr, self._momentum, self._decay
        _move(self._codes[rows].numpy(), share, self._state, self._last, self._now, self._powers, *how)
        self._now += 1

    def set_lr(self, lr: float) -> None:
        """See Descent."""
        if self._now:
            self._settle()
        update = np.array([[1 - lr * self._decay, -lr * self._momentum], [self._decay, self._momentum]])
        powers = [np.eye(2)]
        for _ in range(STEPS):
            powers.append(powers[-1] @ update)
        self._powers, self._lr = np.stack(powers).astype(np.float32), np.float32(lr)

    def weights(self) -> Tensor:
        """See Descent."""
        self._settle()
        c, m, _, v = self._state.shape
        return torch.from_numpy(self._state[:, :, 0].reshape(c * m, v).copy())

    def _settle(self) -> None:
        """Bring every row up to date."""
        _catch_up_all(self._state, self._last, self._now, self._powers)
        self._last[:], self._now = 0, 0


def _check(rows: Tensor, error: Tensor, v: int) -> None:
    """Check that there is an error for each row: compiled code would read past the array."""
    if error.shape != (len(rows), v):
        raise ShapeMismatch.between("error (k, v)", error.shape, "rows and classes", (len(rows), v))


@kernel
def _catch_up(row: Any, power: Any) -> None:
    """Take the updates without a gradient that a row (2, v) of values and their velocity has missed."""
    for k in range(row.shape[1]):
        w, u = row[0, k], row[1, k]
        row[0, k] = power[0, 0] * w + power[0, 1] * u
        row[1, k] = power[1, 0] * w + power[1, 1] * u


@kernel
def _catch_up_all(state: Any, last: Any, now: int, powers: Any) -> None:
    """Bring all rows up to date.

    state: (c, m, 2, v), values and their velocity.
    last: (c, m) int32, the update up to which a row is done; now: the update up to which it is to be.
    powers: (STEPS + 1, 2, 2), that of k updates without a gradient at k.
    """
    for j in range(state.shape[0]):
        for k in range(state.shape[1]):
            if last[j, k] < now:
                _catch_up(state[j, k], powers[now - last[j, k]])


@kernel
def _fetch(codes: Any, state: Any, last: Any, now: int, powers: Any, logits: Any) -> None:
    """Add the rows that codes (b, c) select to logits (b, v), and bring these rows up to date.

    state, last, now, powers: as in `_catch_up_all`.
    """
    n, c = codes.shape
    for j in range(c):
        for i in range(n):
            k = codes[i, j]
            if k < 0:
                continue
            if last[j, k] < now:
                _catch_up(state[j, k], powers[now - last[j, k]])
                last[j, k] = now
            row = state[j, k, 0]
            for x in range(len(row)):
                logits[i, x] += row[x]


@kernel
def _move(
    codes: Any, share: Any, state: Any, last: Any, now: int, powers: Any, lr: float, momentum: float, decay: float
) -> None:
    """Update the rows that codes (b, c) select, once.

    share: (b, v), an item's error over the number of its votes.
    state, last, now, powers: as in `_catch_up_all`.
    """
    n, c = codes.shape
    v = state.shape[3]
    rate, keep, shrink = np.float32(lr), np.float32(momentum), np.float32(decay)
    place = np.full(state.shape[1], -1, np.int32)
    gradient = np.empty((n, v), np.float32)
    for j in range(c):
        rows = 0
        for i in range(n):
            k = codes[i, j]
            if k < 0:
                continue
            if place[k] < 0:
                place[k] = rows
                gradient[rows] = 0
                rows += 1
            total, item = gradient[place[k]], share[i]
            for x in range(v):
                total[x] += item[x]
        for i in range(n):
            k = codes[i, j]
            if k < 0 or place[k] < 0:
                continue
            if last[j, k] < now:
                _catch_up(state[j, k], powers[now - last[j, k]])
            row, total = state[j, k], gradient[place[k]]
            for x in range(v):
                row[1, x] = keep * row[1, x] + total[x] + shrink * row[0, x]
                row[0, x] -= rate * row[1, x]
            last[j, k] = now + 1
            place[k] = -1
