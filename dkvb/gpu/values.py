"""Training of values on GPUs: one pass forward and one step back, to the last bit those of `dkvb.values`.

Rows are added in the CPU's order: going forward codebook after codebook, going back item after item. What lies between,
the softmax, is torch's own on either device, so trained values agree within rounding.

Shapes: n items, c codebooks, m keys of a codebook, v columns: the classes of every head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
import triton.language as tl
from torch import Tensor

import dkvb.values
from dkvb.errors import BadSetting
from dkvb.gpu.launch import kernel, launch, places, power_of_two
from dkvb.training import Trained, TrainSettings
from dkvb.values import CodeFeatures

WIDEST = 1024
"""Columns of a program."""


def forward(codes: Tensor, weights: Tensor) -> Tensor:
    """The mean of the fetched rows: codes (n, c) int16, weights (c * m, v) float32 -> (n, v) float32."""
    (n, c), v = codes.shape, weights.shape[1]
    logits = torch.empty(n, v, device=weights.device)
    columns = min(WIDEST, power_of_two(v))
    rows = WIDEST // columns
    grid = (places(n, rows), places(v, columns))
    launch(_forward, grid, codes, weights, logits, n, c, len(weights) // c, v, ROWS=rows, COLUMNS=columns)
    return logits


@kernel
def _forward(
    codes: tl.tensor,
    weights: tl.tensor,
    logits: tl.tensor,
    n: tl.tensor,
    c: tl.tensor,
    m: tl.tensor,
    v: tl.tensor,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """Fill logits (n, v)."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    inside = (rows < n)[:, None] & (columns < v)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for j in range(c):
        pair = tl.load(codes + rows * c + j, rows < n, other=0).to(tl.int64) + j * m
        total += tl.load(weights + (pair * v)[:, None] + columns, inside, other=0.0)
    divisor = tl.zeros((ROWS, COLUMNS), tl.float32) + c
    tl.store(logits + (rows * v)[:, None] + columns, tl.div_rn(total, divisor), inside)


@dataclass(frozen=True, slots=True)
class ItemsByPair:
    """Transposed codes: which items select each pair."""

    items: Tensor
    """(c * n,) int32, sorted by pair; each pair's in order."""
    begins: Tensor
    """(c * m + 1,) int64, where each pair's items begin."""
    shares: Tensor
    """(c * m, heads) float32: one over the number of items of a pair and head; 0 where it has none."""

    @classmethod
    def of(cls, codes: Tensor, m: int, members: Tensor | None) -> Self:
        """Transpose codes (n, c) int16; members: (n, heads) bool, which items each head learns from; None: one, all."""
        n, c = codes.shape
        items = torch.empty(c, n, dtype=torch.int32, device=codes.device)
        counts = torch.empty(c, m, 1 if members is None else members.shape[1], dtype=torch.int64, device=codes.device)
        begins = torch.zeros(c * m + 1, dtype=torch.int64, device=codes.device)
        for j in range(c):
            column = codes[:, j].long()
            items[j] = column.argsort(stable=True)
            own = torch.bincount(column, minlength=m)
            begins[j * m + 1 : (j + 1) * m + 1] = own
            if members is None:
                counts[j, :, 0] = own
            else:
                for h in range(members.shape[1]):
                    counts[j, :, h] = torch.bincount(column[members[:, h]], minlength=m)
        shares = counts.double().reciprocal_().masked_fill_(counts == 0, 0).float()
        return cls(items.view(-1), begins.cumsum(0), shares.view(c * m, -1))

    def accelerate(self, weights: Tensor, velocity: Tensor, error: Tensor, *, lr: float, momentum: float) -> None:
        """One step of the weights (c * m, v) and their velocity against the errors (n, v), in place."""
        (pairs, v), heads = weights.shape, self.shares.shape[1]
        columns = min(WIDEST, power_of_two(v))
        grid = (pairs, places(v, columns))
        tables = (self.items, self.begins, self.shares, error, weights, velocity)
        warps = max(1, min(4, columns // 64))
        launch(_accelerate, grid, *tables, lr, momentum, v, heads, COLUMNS=columns, num_warps=warps)


@kernel
def _accelerate(
    items: tl.tensor,
    begins: tl.tensor,
    shares: tl.tensor,
    error: tl.tensor,
    weights: tl.tensor,
    velocity: tl.tensor,
    lr: tl.tensor,
    momentum: tl.tensor,
    v: tl.tensor,
    heads: tl.tensor,
    COLUMNS: tl.constexpr,
) -> None:
    """Move one row of the weights (c * m, v) and its velocity by the mean error of its items."""
    pair = tl.program_id(0).to(tl.int64)
    begin, end = tl.load(begins + pair), tl.load(begins + pair + 1)
    if begin < end:
        columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
        inside = columns < v
        total = tl.zeros((COLUMNS,), tl.float32)
        for at in range(begin, end):
            total += tl.load(error + tl.load(items + at).to(tl.int64) * v + columns, inside, other=0.0)
        share = tl.load(shares + pair * heads + columns // (v // heads), inside, other=0.0)
        move = lr * (total * share)
        place = pair * v + columns
        speed = tl.load(velocity + place, inside, other=0.0)
        tl.store(velocity + place, momentum * speed - move, inside)
        tl.store(weights + place, tl.load(weights + place, inside, other=0.0) - move, inside)


class PairFeatures(CodeFeatures):
    """`dkvb.values.CodeFeatures` on a GPU, by the kernels of this module."""

    def forward(self, weights: Tensor) -> Tensor:
        """The mean of the fetched values: (c * m, v) -> (n, v)."""
        self._check("weights (c * m, v)", weights, self.size)
        return forward(self.codes, weights)

    @cached_property
    def _by_pair(self) -> ItemsByPair:
        return ItemsByPair.of(self.codes, self.m, self.members)

    def accelerate(
        self, weights: Tensor, velocity: Tensor, error: Tensor, *, lr: float, momentum: float, decay: float = 0.0
    ) -> None:
        """One step against the direction, of the weights and of their velocity, in place; both (c * m, v).

        raises: BadSetting for a decay.
        """
        if decay:
            raise BadSetting(f"decay: found {decay}, expected none on a GPU; compute on the CPU")
        self._check("error (n, v)", error, len(self))
        self._check("weights (c * m, v)", weights, self.size)
        self._by_pair.accelerate(weights, velocity, error, lr=lr, momentum=momentum)


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
    """Train the values of a bottleneck by full-batch descent, as `dkvb.values.fit_values`; within rounding of it.

    codes: (n, c) integer in [0, m); labels: (n,) int64 in [0, v); on the device, as what recode takes and returns.
    returns: (c, m, v) float32 values, on the device, and how they were trained.
    memory: 8 c m v + 4 n v + 6 n c bytes.
    raises: ShapeMismatch; BadSetting for an optimizer other than nesterov, or a decay.
    """
    if settings.decay:
        raise BadSetting(f"decay: found {settings.decay}, expected none on a GPU; compute on the CPU")
    if settings.optimizer != "nesterov":
        raise BadSetting(f"optimizer: found {settings.optimizer}, expected nesterov on a GPU; compute on the CPU")
    return dkvb.values.fit_values(codes, labels, settings, m=m, v=v, seed=seed, recode=recode, kind=PairFeatures)
