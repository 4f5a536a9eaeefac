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
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

from dkvb import large_values
from dkvb.codes import check_m
from dkvb.counts import count_codes
from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.sizes import are_large
from dkvb.spilled import is_spilled, let_go, spilled_zeros
from dkvb.tiles import each
from dkvb.training import Saves, Trained, TrainSettings, accelerate, errors_, train
from dkvb.value_kernels import add_squares, descend_rows, mean_rows, move_rows, transpose

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
        """(c * m, v) float32 zeros; on a scratch file where they and as many velocities are large (`dkvb.spilled`).

        raises: OSError where there is no room for that file.
        """
        if self.codes.device.type == "cpu" and self.members is None and are_large(8 * self.size * v):
            return spilled_zeros(self.size, v)
        return torch.zeros(self.size, v, device=self.codes.device)

    def forward(self, weights: Tensor) -> Tensor:
        """The mean of the fetched values: (c * m, v) -> (n, v)."""
        if weights.device.type != "cpu":
            return embedding_bag(self.pairs, weights, mode="mean")
        n, v = len(self), weights.shape[1]
        self._check("weights (c * m, v)", weights, self.size)
        size = self._block(v)
        if is_spilled(weights) and n >= self.m:  # for a few items single rows are read from the disk
            return large_values.forward(self.codes, self.m, weights, block=size)
        logits = torch.empty(n, v)
        codes, table, out = self.codes.numpy(), weights.numpy(), logits.numpy()
        each(lambda begin: mean_rows(codes[begin : begin + size], table, out[begin : begin + size]), range(0, n, size))
        let_go(weights)
        return logits

    def _block(self, v: int) -> int:
        """How many items' logits are summed up together."""
        return max(1, min(CACHE // (4 * v), -(-len(self) // torch.get_num_threads())))

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
        each(lambda j: transpose(codes[:, j], begins[j], items[j]), range(c))
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
        return large_values.shares(counts)

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

    def update(self, weights: Tensor, velocity: Tensor, labels: Tensor, settings: TrainSettings) -> None:
        """One epoch of Nesterov's descent, in place; both (c * m, v)."""
        if not is_spilled(weights):
            weights.add_(velocity, alpha=settings.momentum)
            error = errors_(self.forward(weights), labels, settings.label_smoothing)
            how = {"lr": settings.step, "momentum": settings.momentum, "decay": settings.decay}
            self.accelerate(weights, velocity, error, **how)
            return
        self._check("weights (c * m, v)", weights, self.size)
        self._check("velocity (c * m, v)", velocity, self.size)
        tables = weights, velocity
        large_values.update(self.codes, self.m, tables, labels, settings, block=self._block(weights.shape[1]))

    def accelerate(
        self, weights: Tensor, velocity: Tensor, error: Tensor, *, lr: float, momentum: float, decay: float = 0.0
    ) -> None:
        """One step against the direction, of the weights and of their velocity, in place; both (c * m, v).

        decay: times the weights, added to the direction of the rows that items select.
        """
        if error.device.type != "cpu":
            direction = self.direction(error)
            if decay:
                direction.add_(weights, alpha=decay)  # rows that no item selects are 0
            accelerate(weights, velocity, direction, lr=lr, momentum=momentum)
            return
        self._check("error (n, v)", error, len(self))
        self._check("weights (c * m, v)", weights, self.size)
        (items, begins), shares = self._items_by_pair, self._shares
        c, v = self.codes.shape[1], weights.shape[1]
        w, u, e = weights.view(c, self.m, v).numpy(), velocity.view(c, self.m, v).numpy(), error.numpy()
        each(lambda j: move_rows(items[j], begins[j], shares[j], e, w[j], u[j], lr, momentum, decay), range(c))

    def descend(self, weights: Tensor, error: Tensor, *, lr: float, clip: float) -> None:
        """One plain step on the gradient of the mean loss, its norm clipped, in place."""
        n, c = self.codes.shape
        self._check("error (n, v)", error, n)
        if error.device.type == "cpu":
            descend_rows(self.codes.numpy(), error.numpy(), weights.view(c, self.m, -1).numpy(), lr, clip)
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
        add_squares(self.codes.numpy(), error.numpy(), total.view(self.codes.shape[1], self.m, -1).numpy())


def fit_values(
    codes: Tensor,
    labels: Tensor,
    settings: TrainSettings,
    *,
    m: int,
    v: int,
    seed: int,
    recode: Callable[[Tensor, Tensor], Tensor] | None = None,
    kind: type[CodeFeatures] = CodeFeatures,
    saves: Saves | None = None,
) -> tuple[Tensor, Trained]:
    """Train the values of a bottleneck.

    codes: (n, c) integer in [0, m), of the training items; labels: (n,) int64 in [0, v).
    recode: rows (k,) and the pairs that may be selected (c, m) bool -> codes (k, c). With it the epoch search judges
        held-out items as test items are judged: where no other item uses an item's pair, by the next used key. Without
        it such a pair, which nothing was ever learned for, votes zero.
    kind: the features to train on; those of `dkvb.gpu.values` train on a GPU.
    saves: where the training goes on from, and is saved.
    returns: (c, m, v) float32 values, and how they were trained.
    raises: ShapeMismatch.
    """
    if labels.shape != codes.shape[:1]:
        raise ShapeMismatch.between("labels (n,)", labels.shape, "codes (n, c)", codes.shape)
    held_out = None
    if recode is not None:

        def held_out(out: Tensor, rest: Tensor) -> CodeFeatures:
            return kind.of(recode(out, count_codes(codes[rest], m) > 0), m)

    trained = train(kind.of(codes, m), labels, settings, v=v, seed=seed, held_out=held_out, saves=saves)
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
        how = {"lr": settings.step, "momentum": settings.momentum, "decay": settings.decay}
        features.accelerate(weights, velocity, error.view(n, -1), **how)
    return weights.view(c, m, heads, v).permute(2, 0, 1, 3).contiguous()
