"""Scores on GPUs: the fixed order of `dkvb.tiles`, so the same bits as on CPUs.

A score is the bias of its column, to which the products along the width are added one after the other, each by a fused
multiply-add. Sums of this package are written here and nowhere else.

n: items; c: codebooks; m: keys of a codebook; d_z: width of an embedding; d_k: width of a key.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
import triton.language as tl
from torch import Tensor
from torch.nn.functional import pad

from dkvb.errors import BadSetting
from dkvb.gpu.launch import kernel, launch, places
from dkvb.sizes import PROJECTED

ROWS, COLUMNS = 64, 64
"""Items and columns of a program of `_project`."""

GROUP = tl.constexpr(32)
"""Keys that lie side by side: the compiler then knows how far apart the loads are, and computes no addresses."""

WIDEST = 64
"""Width of the widest keys: an item's numbers are held in registers while all keys pass by."""


def check_width(d_k: int) -> None:
    """Check that kernels can hold items of this width; raises: BadSetting."""
    if d_k > WIDEST:
        raise BadSetting(f"d_k: found keys of width {d_k}, expected at most {WIDEST} on a GPU; compute on the CPU")


@dataclass(frozen=True, slots=True)
class Codebooks:
    """Projections and keys as kernels read them: what is computed side by side lies side by side."""

    directions: Tensor
    """(d_z, c * d_k) float32."""
    keys: Tensor
    """(c, groups, d_k, GROUP) float32, zeros past the last key."""
    bias: Tensor
    """(c, m) float32, -|k|^2 / 2; -inf for a key that is not selectable."""

    @classmethod
    def of(cls, projection: Tensor, keys: Tensor, selectable: Tensor | None) -> Self:
        """Lay out a model's parts: projection (c, d_z, d_k), keys (c, m, d_k), selectable (c, m) bool or None.

        raises: BadSetting.
        """
        check_width(keys.shape[2])
        bias = key_bias(keys)
        if selectable is not None:
            bias.masked_fill_(~selectable, -torch.inf)
        directions = projection.permute(1, 0, 2).reshape(projection.shape[1], -1).contiguous()
        return cls(directions, pack(keys), bias)

    def blocks(self, z: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Rows of embeddings z (n, d_z), block by block, with their projections: (c, d_k, rows) float32."""
        size = max(ROWS, PROJECTED // self.directions.shape[1] // ROWS * ROWS)
        for begin in range(0, len(z), size):
            rows = slice(begin, min(begin + size, len(z)))
            yield rows, project(z[rows], self.directions).view(len(self.keys), self.keys.shape[2], -1)


def pack(keys: Tensor) -> Tensor:
    """Keys (c, m, d_k) as kernels read them: (c, groups, d_k, GROUP)."""
    (c, m, d_k), size = keys.shape, GROUP.value
    return pad(keys, (0, 0, 0, -m % size)).view(c, -1, size, d_k).transpose(2, 3).contiguous()


def key_bias(keys: Tensor) -> Tensor:
    """-|k|^2 / 2 of keys (..., d_k) float32, squares rounded and then added: the bits of `dkvb.nearest.key_bias`."""
    square = torch.zeros_like(keys[..., 0])
    for d in range(keys.shape[-1]):
        square += keys[..., d] * keys[..., d]
    return square.mul_(-0.5)


def project(z: Tensor, directions: Tensor) -> Tensor:
    """Inner products of embeddings and directions.

    z: (n, d_z) float, of any precision; directions: (d_z, k) float32.
    returns: (k, n) float32.
    """
    (d_z, k), n = directions.shape, len(z)
    x = torch.empty(k, n, device=z.device)
    wide = z.T.float().contiguous()
    grid = (places(n, ROWS), places(k, COLUMNS))
    launch(_project, grid, wide, directions, x, n, k, d_z, ROWS=ROWS, COLUMNS=COLUMNS, num_warps=8)
    return x


@kernel
def _project(
    z: tl.tensor,
    directions: tl.tensor,
    x: tl.tensor,
    n: tl.tensor,
    k: tl.tensor,
    d_z: tl.tensor,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """Fill x (k, n) with the products of z (d_z, n) and directions (d_z, k)."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    items, along = z + rows, directions + columns
    score = tl.zeros((COLUMNS, ROWS), tl.float32)
    for _ in range(d_z):
        item, column = tl.load(items, rows < n, other=0.0), tl.load(along, columns < k, other=0.0)
        score = tl.fma(column[:, None], item[None, :], score)
        items += n
        along += k
    inside = (columns < k)[:, None] & (rows < n)[None, :]
    tl.store(x + columns[:, None].to(tl.int64) * n + rows[None, :], score, inside)


@kernel
def held(x: tl.tensor, n: tl.tensor, rows: tl.tensor, D_K: tl.constexpr) -> tl.tensor:
    """The d_k numbers of the items `rows` of x (d_k, n), a tuple: they stay in registers while keys pass by."""
    numbers = ()
    for d in tl.static_range(D_K):
        numbers = numbers + (tl.load(x + d * n + rows, rows < n, other=0.0),)  # type: ignore[assignment]  # noqa: RUF005
    return numbers


@kernel
def numbers_of_keys(m: tl.tensor, D_K: tl.constexpr) -> tl.tensor:
    """How many numbers the keys of a codebook take."""
    return tl.cdiv(m, GROUP) * GROUP * D_K


@kernel
def place(which: tl.tensor, D_K: tl.constexpr) -> tl.tensor:
    """Where the first numbers of keys lie in their codebook; the next ones follow GROUP apart."""
    return which // GROUP * (GROUP * D_K) + which % GROUP


@kernel
def scores(
    numbers: tl.tensor, keys: tl.tensor, bias: tl.tensor, m: tl.tensor, which: tl.tensor, D_K: tl.constexpr
) -> tl.tensor:
    """Scores of items and keys; -inf for what is no key.

    numbers: of each item, `held`; keys: (groups, d_k, GROUP); bias: (m,).
    which: numbers of keys, (1, keys) for all items or (items, keys) for each its own.
    returns: (items, keys).
    """
    score = tl.load(bias + which, which < m, other=float("-inf"))
    at = keys + place(which, D_K)
    for d in tl.static_range(D_K):
        score = tl.fma(numbers[d][:, None], tl.load(at + d * GROUP, which < m, other=0.0), score)
    return score
