"""Codes on GPUs: to the last bit those of `dkvb.codes`, for embeddings that are finite or hold no number at all.

n: items; c: codebooks; m: keys of a codebook; d_z: width of an embedding; d_k: width of a key.
"""

import torch
import triton.language as tl
from torch import Tensor

from dkvb.codes import check_m, check_shapes
from dkvb.errors import ShapeMismatch
from dkvb.gpu.launch import kernel, launch, places
from dkvb.gpu.scores import GROUP, Codebooks, check_width, held, key_bias, numbers_of_keys, pack, scores

ROWS, COLUMNS = 32, GROUP.value
"""Items of a program, and keys that it looks at side by side: a thread holds 8 items, as registers allow."""


def nearest(x: Tensor, keys: Tensor, *, selectable: Tensor | None = None) -> Tensor:
    """Nearest selectable key of one codebook, as `dkvb.codes.nearest`.

    x: (n, d_k) float32, projected items; keys: (m, d_k) float32; selectable: (m,) bool, or None when every key is.
    returns: (n,) int64, NO_VOTE where nothing is selectable.
    raises: ShapeMismatch, BadSetting.
    """
    if x.ndim != 2 or keys.ndim != 2 or x.shape[1] != keys.shape[1]:
        raise ShapeMismatch.between("x (n, d_k)", x.shape, "keys (m, d_k)", keys.shape)
    check_m(len(keys))
    check_width(keys.shape[1])
    bias = key_bias(keys)
    if selectable is not None:
        bias.masked_fill_(~selectable, -torch.inf)
    return nearest_of_each(x.T.contiguous()[None], pack(keys[None]), bias[None])[:, 0].long()


def encode(z: Tensor, projection: Tensor, keys: Tensor, *, selectable: Tensor | None = None) -> Tensor:
    """Codes of items in every codebook, as `dkvb.codes.encode`.

    z: (n, d_z) float; projection: (c, d_z, d_k) float32; keys: (c, m, d_k) float32; selectable: (c, m) bool, or None.
    returns: (n, c) int16, NO_VOTE (-1) where a codebook has no selectable key.
    memory: the result, a copy of keys and projection, and `dkvb.sizes.PROJECTED` numbers.
    raises: ShapeMismatch, BadSetting.
    """
    check_shapes(z, projection, keys, selectable)
    books = Codebooks.of(projection, keys, selectable)
    codes = torch.empty(len(z), len(keys), dtype=torch.int16, device=z.device)
    for rows, x in books.blocks(z):
        codes[rows] = nearest_of_each(x, books.keys, books.bias)
    return codes


def nearest_of_each(x: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
    """Nearest keys of projected items x (c, d_k, n) among keys (`pack`) with their bias (c, m): (n, c) int16."""
    c, d_k, n = x.shape
    codes = torch.empty(n, c, dtype=torch.int16, device=x.device)
    grid = (places(n, ROWS), c)
    launch(_nearest, grid, x, keys, bias, codes, n, bias.shape[1], c, D_K=d_k, ROWS=ROWS, COLUMNS=COLUMNS)
    return codes


@kernel
def _nearest(
    x: tl.tensor,
    keys: tl.tensor,
    bias: tl.tensor,
    codes: tl.tensor,
    n: tl.tensor,
    m: tl.tensor,
    c: tl.tensor,
    D_K: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """Fill codes (n, c) of one codebook; a program looks at all keys, so many columns of them after each other."""
    j = tl.program_id(1).to(tl.int64)
    rows, column = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, COLUMNS)[None, :]
    numbers = held(x + j * D_K * n, n, rows, D_K)
    best = tl.full((ROWS, COLUMNS), float("-inf"), tl.float32)
    name = tl.zeros((ROWS, COLUMNS), tl.int32)
    for first in range(0, m, COLUMNS):
        score = scores(numbers, keys + j * numbers_of_keys(m, D_K), bias + j * m, m, first + column, D_K)
        better = score > best
        best, name = tl.where(better, score, best), tl.where(better, first + column, name)
    found, _ = first_of_largest(best, name, m)
    tl.store(codes + rows.to(tl.int64) * c + j, found.to(tl.int16), rows < n)


@kernel
def first_of_largest(best: tl.tensor, name: tl.tensor, m: tl.tensor) -> tl.tensor:
    """The lowest name among the largest of each row, NO_VOTE where that is -inf; and the largest.

    best: (rows, columns) float32; name: the same, int32 below m.
    """
    top = tl.max(best, 1)
    found = tl.min(tl.where(best == top[:, None], name, m), 1)
    return tl.where(top > float("-inf"), found, -1), top
