"""Values: a sparse linear model on cached codes.

Keys and backbone are frozen, so codes never change while values are trained: an item is its c selected pairs. Going
forward, an item's logits are the mean of the c rows it fetches; going back, a pair's row moves by the errors of the
items that select it, found through the transposed codes. Both read each row they need once and write each result once,
and a result is computed by one thread in one order, so its bits do not depend on the number of threads.

Shapes: n items, c codebooks, m keys of a codebook, v classes; where several heads are trained at once, v columns of
each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

from dkvb.codes import check_m
from dkvb.counts import count_codes
from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.tiles import each, kernel
from dkvb.training import Trained, TrainSettings, accelerate, errors_, train

CACHE = 1 << 18
"""Bytes of logits that are summed up together: they stay in a core's cache."""


@dataclass(frozen=True)
class CodeFeatures:
    """Items as the pairs they select: c ones in a row of c * m, divided by c."""

    codes: Tensor
    """(n, c) int16, each in [0, m)."""
    m: int
    """Pairs a codebook."""
    members: Tensor | None = None
    """(n, heads) bool, which items each of several heads learns from; None: one head, all items."""

    @classmethod
    def of(cls, codes: Tensor, m: int, members: Tensor | None = None) -> Self:
        """From codes.

        codes: (n, c) integer, each in [0, m).
        raises: ShapeMismatch when a code is negative (such an item has no place in training), or too large.
        """
        check_m(m)
        least, largest = (int(codes.min()), int(codes.max())) if codes.numel() else (0, 0)
        if least < 0:
            raise ShapeMismatch("codes: found items without a vote, expected a key for every item and codebook")
        if largest >= m:
            raise ShapeMismatch(f"codes: found key {largest}, expected keys below m = {m}")
        return cls(codes.short().contiguous(), m, members)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def size(self) -> int:
        """Number of pairs, c * m."""
        return self.codes.shape[1] * self.m

    def take(self, rows: Tensor) -> Self:
        """The same features of some items."""
        return type(self)(self.codes[rows], self.m, None if self.members is None else self.members[rows])

    def weights(self, v: int) -> Tensor:
        """(c * m, v) float32 zeros."""
        return torch.zeros(self.size, v, device=self.codes.device)

    def forward(self, weights: Tensor) -> Tensor:
        """The mean of the fetched values: (c * m, v) -> (n, v)."""
        if weights.device.type != "cpu":
            return embedding_bag(self.pairs, weights, mode="mean")
        n, v = len(self), weights.shape[1]
        self._check("weights (c * m, v)", weights, self.size)
        logits = torch.empty(n, v)
        codes, table, out = self.codes.numpy(), weights.numpy(), logits.numpy()
        size = max(1, min(CACHE // (4 * v), -(-n // torch.get_num_threads())))
        each(lambda begin: _forward(codes[begin : begin + size], table, out[begin : begin + size]), range(0, n, size))
        return logits

    def _check(self, what: str, found: Tensor, rows: int) -> None:
        """Compiled code reads what it is told to: better look before."""
        if len(found) != rows:
            raise ShapeMismatch(f"{what} has {len(found)} rows, expected {rows} for these codes")

    @property
    def pairs(self) -> Tensor:
        """(n, c) int64, flat index codebook * m + code."""
        c = self.codes.shape[1]
        return self.codes.long() + self.m * torch.arange(c, device=self.codes.device)

    @cached_property
    def _items_by_pair(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The transposed codes: (c, n) the items of each pair, and (c, m + 1) where each pair's items begin."""
        n, c = self.codes.shape
        items, begins, codes = np.empty((c, n), np.int32), np.empty((c, self.m + 1), np.int32), self.codes.numpy()
        each(lambda j: _transpose(codes[:, j], begins[j], items[j]), range(c))
        return items, begins

    @cached_property
    def _shares(self) -> NDArray[np.float32]:
        """(c, m, heads): one over the number of items of a pair and head; 0 where it has none."""
        items, begins = self._items_by_pair
        if self.members is None:
            counts = np.diff(begins)[:, :, None]
        else:
            counts = np.empty((*begins[:, 1:].shape, self.members.shape[1]), np.int64)
            members = self.members.numpy()
            for j in range(len(items)):
                below = np.concatenate([np.zeros_like(counts[0, :1]), members[items[j]].cumsum(0)])
                counts[j] = np.diff(below[begins[j]], axis=0)
        return np.divide(1, counts, where=counts > 0, out=np.zeros(counts.shape, np.float32), casting="unsafe")

    def direction(self, error: Tensor) -> Tensor:
        """The mean error of the items that select a pair.

        The gradient is their sum over c; its diagonal preconditioner is c over their number. The Hessian of the
        preconditioned model is an average of c projections, so its norm is at most that of the loss: a step of 1
        cannot overshoot.
        """
        if error.device.type != "cpu":
            order = self.pairs.flatten().argsort(stable=True)
            ends = torch.bincount(self.pairs.flatten(), minlength=self.size).cumsum(0)
            begins = torch.cat([ends.new_zeros(1), ends])
            items = order // self.codes.shape[1]
            return embedding_bag(items, error, begins, mode="mean", include_last_offset=True)
        weights, velocity = self.weights(error.shape[1]), self.weights(error.shape[1])
        self.accelerate(weights, velocity, error, lr=-1.0, momentum=0.0)
        return weights

    def accelerate(self, weights: Tensor, velocity: Tensor, error: Tensor, *, lr: float, momentum: float) -> None:
        """One step against the direction, of the weights and of their velocity, in place; both (c * m, v)."""
        if error.device.type != "cpu":
            accelerate(weights, velocity, self.direction(error), lr=lr, momentum=momentum)
            return
        self._check("error (n, v)", error, len(self))
        self._check("weights (c * m, v)", weights, self.size)
        (items, begins), shares = self._items_by_pair, self._shares
        c, v = self.codes.shape[1], weights.shape[1]
        w, u, e = weights.view(c, self.m, v).numpy(), velocity.view(c, self.m, v).numpy(), error.numpy()
        each(lambda j: _accelerate(items[j], begins[j], shares[j], e, w[j], u[j], lr, momentum), range(c))

    def descend(self, weights: Tensor, error: Tensor, *, lr: float, clip: float) -> None:
        """One plain step on the gradient of the mean loss, its norm clipped, in place."""
        n, c = self.codes.shape
        self._check("error (n, v)", error, n)
        if error.device.type == "cpu":
            _descend(self.codes.numpy(), error.numpy(), weights.view(c, self.m, -1).numpy(), lr, clip)
            return
        touched, place = self.pairs.flatten().unique(return_inverse=True)
        gradient = error.new_zeros(len(touched), error.shape[1])
        gradient.index_add_(0, place, error.repeat_interleave(c, 0), alpha=1 / (c * n))
        scale = (clip / (gradient.norm() + 1e-6)).clamp(max=1)
        weights.index_add_(0, touched, gradient * (-lr * scale))

    def add_squared_gradient(self, total: Tensor, error: Tensor) -> None:
        """Add the square of the gradient that an error (n, v), d loss / d logits, gives; total: (c * m, v)."""
        self._check("error (n, v)", error, len(self))
        self._check("total (c * m, v)", total, self.size)
        _add_squares(self.codes.numpy(), error.numpy(), total.view(self.codes.shape[1], self.m, -1).numpy())


@kernel
def _forward(codes: Any, weights: Any, logits: Any) -> None:
    """Mean rows (n, v) of weights (c * m, v) for one block of codes (n, c): one codebook after the other."""
    n, c = codes.shape
    m, v = len(weights) // c, weights.shape[1]
    logits[:] = 0
    for j in range(c):
        for i in range(n):
            row = weights[j * m + codes[i, j]]
            for k in range(v):
                logits[i, k] += row[k]
    for i in range(n):
        for k in range(v):
            logits[i, k] /= c


@kernel
def _transpose(codes: Any, begins: Any, items: Any) -> None:
    """Sort the items (n,) of one codebook by their code, each code's in order."""
    begins[:] = 0
    for code in codes:
        begins[code + 1] += 1
    for k in range(1, len(begins)):
        begins[k] += begins[k - 1]
    place = begins[:-1].copy()
    for i in range(len(codes)):
        items[place[codes[i]]] = i
        place[codes[i]] += 1


@kernel
def _accelerate(
    items: Any, begins: Any, shares: Any, error: Any, weights: Any, velocity: Any, lr: float, momentum: float
) -> None:
    """Move the rows (m, v) of one codebook and their velocity by the mean error of each pair's items."""
    m, v = weights.shape
    heads = shares.shape[1]
    width = v // heads
    step, keep = np.float32(lr), np.float32(momentum)
    total = np.empty(v, np.float32)
    for k in range(m):
        if begins[k] == begins[k + 1]:
            continue  # never moved, so its velocity is 0 as well
        total[:] = 0
        for i in items[begins[k] : begins[k + 1]]:
            row = error[i]
            for col in range(v):
                total[col] += row[col]
        for h in range(heads):
            for col in range(h * width, (h + 1) * width):
                move = step * (total[col] * shares[k, h])
                velocity[k, col] = keep * velocity[k, col] - move
                weights[k, col] -= move


@kernel
def _descend(codes: Any, error: Any, weights: Any, lr: float, clip: float) -> None:
    """Plain descent of weights (c, m, v) on a batch of codes (n, c), errors (n, v): first the norm of the whole
    gradient, then the step.

    A codebook's gradient has at most n rows; it is summed up twice rather than kept.
    """
    n, c = codes.shape
    m, v = weights.shape[1], weights.shape[2]
    place = np.full(m, -1, np.int32)
    gradient = np.empty((n, v), np.float32)
    square = 0.0
    for j in range(c):
        rows = _sum_by_key(codes, error, j, place, gradient)
        for row in range(rows):
            for k in range(v):
                square += np.float64(gradient[row, k]) ** 2
        for i in range(n):
            place[codes[i, j]] = -1
    norm = np.sqrt(square) / (c * n)
    scale = np.float32(lr / (c * n) * min(1.0, clip / (norm + 1e-6)))
    for j in range(c):
        _sum_by_key(codes, error, j, place, gradient)
        for i in range(n):
            if place[codes[i, j]] >= 0:
                row_of_key = gradient[place[codes[i, j]]]
                for k in range(v):
                    weights[j, codes[i, j], k] -= scale * row_of_key[k]
                place[codes[i, j]] = -1


@kernel
def _add_squares(codes: Any, error: Any, total: Any) -> None:
    """Add the squared gradient of a batch of codes (n, c), errors (n, v), to total (c, m, v)."""
    n, c = codes.shape
    v = total.shape[2]
    place = np.full(total.shape[1], -1, np.int32)
    gradient = np.empty((n, v), np.float32)
    for j in range(c):
        _sum_by_key(codes, error, j, place, gradient)
        for i in range(n):
            if place[codes[i, j]] >= 0:
                row, sums = gradient[place[codes[i, j]]], total[j, codes[i, j]]
                for k in range(v):
                    sums[k] += np.float32((row[k] / c) ** 2)
                place[codes[i, j]] = -1


@kernel
def _sum_by_key(codes: Any, error: Any, j: int, place: Any, gradient: Any) -> int:
    """Add up the errors (n, v) of the items that select the same key of codebook j, item after item.

    place: (m,) int32, -1 for every key; becomes the row of each key that is selected.
    gradient: (n, v) float32; its first rows become the sums.
    returns: how many rows.
    """
    rows = 0
    for i in range(len(codes)):
        if place[codes[i, j]] < 0:
            place[codes[i, j]] = rows
            gradient[rows] = 0
            rows += 1
        row = gradient[place[codes[i, j]]]
        for k in range(error.shape[1]):
            row[k] += error[i, k]
    return rows


def fit_values(
    codes: Tensor,
    labels: Tensor,
    settings: TrainSettings,
    *,
    m: int,
    v: int,
    seed: int,
    recode: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> tuple[Tensor, Trained]:
    """Train the values of a bottleneck.

    codes: (n, c) integer in [0, m), of the training items; labels: (n,) int64 in [0, v).
    recode: rows (k,) and the pairs that may be selected (c, m) bool -> codes (k, c). With it the epoch search judges
        held-out items as test items are judged: where no other item uses an item's pair, by the next used key. Without
        it such a pair, which nothing was ever learned for, votes zero.
    returns: (c, m, v) float32 values, and how they were trained.
    raises: ShapeMismatch.
    """
    if labels.shape != codes.shape[:1]:
        raise ShapeMismatch.between("labels (n,)", labels.shape, "codes (n, c)", codes.shape)
    held_out = None
    if recode is not None:

        def held_out(out: Tensor, rest: Tensor) -> CodeFeatures:
            return CodeFeatures.of(recode(out, count_codes(codes[rest], m) > 0), m)

    trained = train(CodeFeatures.of(codes, m), labels, settings, v=v, seed=seed, held_out=held_out)
    return trained.weights.view(codes.shape[1], m, v), trained


def fit_many_values(
    codes: Tensor, labels: Tensor, members: Tensor, settings: TrainSettings, *, m: int, v: int
) -> Tensor:
    """Train many bottlenecks' values at once on the same codes, each from its own share of the items.

    What oracles and membership attacks need: codes are read once for all heads, and rows are wide enough to be read at
    full speed. Each head equals the one `fit_values` trains on its share alone, up to the order of summation.

    codes: (n, c) integer in [0, m); labels: (n,) int64 in [0, v); members: (n, heads) bool.
    settings: of nesterov, with validation 0: the number of epochs is chosen before.
    returns: (heads, c, m, v) float32 values.
    memory: 8 heads c m v bytes while training, 4 n heads v for the errors, and the result.
    raises: ShapeMismatch, BadSetting.
    """
    n, c = codes.shape
    heads = members.shape[-1]
    if labels.shape != (n,):
        raise ShapeMismatch.between("labels (n,)", labels.shape, "codes (n, c)", codes.shape)
    if not n or not heads or members.shape != (n, heads):
        raise ShapeMismatch.between("members (n, heads)", members.shape, "codes (n, c)", codes.shape)
    if settings.optimizer != "nesterov" or settings.validation:
        raise BadSetting(
            f"optimizer and validation: found {settings.optimizer} and {settings.validation}, expected nesterov and 0 "
            "for many heads"
        )
    features = CodeFeatures.of(codes, m, members)
    weights, velocity = features.weights(heads * v), features.weights(heads * v)
    own = labels.repeat_interleave(heads)
    for _ in range(settings.epochs):
        weights.add_(velocity, alpha=settings.momentum)
        error = errors_(features.forward(weights).view(n * heads, v), own, settings.label_smoothing)
        error.view(n, heads, v).mul_(members[:, :, None])
        features.accelerate(weights, velocity, error.view(n, -1), lr=settings.step, momentum=settings.momentum)
    return weights.view(c, m, heads, v).permute(2, 0, 1, 3).contiguous()
