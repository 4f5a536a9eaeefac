"""Neighbours on GPUs: to the last bit those of `dkvb.neighbours`.

Keys lie in columns; the best key of each column is known from one pass. The best of these is the next of the list; then
its column alone is looked at again, for the best key after it. No more than a column is ever compared twice.

n: items; c: codebooks; r: keys of a list; m: keys of a codebook; d_z: width of an embedding; d_k: width of a key.
"""

import torch
import triton.language as tl
from torch import Tensor

from dkvb.codes import check_shapes
from dkvb.errors import ShapeMismatch
from dkvb.gpu.codes import first_of_largest
from dkvb.gpu.launch import kernel, launch, places, power_of_two
from dkvb.gpu.scores import Codebooks, held, numbers_of_keys, scores
from dkvb.neighbours import NEIGHBOURS

ROWS, COLUMNS = 8, 64
"""Items of a program, and columns of keys."""


def neighbours(z: Tensor, projection: Tensor, keys: Tensor, *, selectable: Tensor, r: int = NEIGHBOURS) -> Tensor:
    """The r nearest selectable keys of each item in order, as `dkvb.neighbours.neighbours`.

    z: (n, d_z) float; projection: (c, d_z, d_k), keys: (c, m, d_k) float32; selectable: (c, m) bool.
    returns: (n, c, r) int16, NO_VOTE (-1) past the last selectable key.
    memory: the result, a copy of keys and projection, and `dkvb.sizes.PROJECTED` numbers.
    raises: ShapeMismatch, BadSetting.
    """
    check_shapes(z, projection, keys, selectable)
    if r < 1:
        raise ShapeMismatch(f"r: found {r} neighbours, expected 1 or more")
    books = Codebooks.of(projection, keys, selectable)
    (c, m), d_k = books.bias.shape, books.keys.shape[2]
    lists = torch.empty(len(z), c, r, dtype=torch.int16, device=z.device)
    sizes = {"D_K": d_k, "ROWS": ROWS, "COLUMNS": COLUMNS, "LENGTH": power_of_two(places(m, COLUMNS))}
    for rows, x in books.blocks(z):
        out = lists[rows]
        launch(_list, (places(len(out), ROWS), c), x, books.keys, books.bias, out, len(out), m, c, r, **sizes)
    return lists


@kernel
def _list(
    x: tl.tensor,
    keys: tl.tensor,
    bias: tl.tensor,
    lists: tl.tensor,
    n: tl.tensor,
    m: tl.tensor,
    c: tl.tensor,
    r: tl.tensor,
    D_K: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    LENGTH: tl.constexpr,
) -> None:
    """Fill lists (n, c, r) of one codebook; LENGTH: keys of a column."""
    j = tl.program_id(1).to(tl.int64)
    rows, column = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, COLUMNS)[None, :]
    numbers = held(x + j * D_K * n, n, rows, D_K)
    keys += j * numbers_of_keys(m, D_K)
    bias += j * m
    best = tl.full((ROWS, COLUMNS), float("-inf"), tl.float32)
    name = tl.zeros((ROWS, COLUMNS), tl.int32)
    for first in range(0, m, COLUMNS):
        score = scores(numbers, keys, bias, m, first + column, D_K)
        better = score > best
        best, name = tl.where(better, score, best), tl.where(better, first + column, name)
    out = lists + (rows.to(tl.int64) * c + j) * r
    for place in range(r):
        found, top = first_of_largest(best, name, m)
        tl.store(out + place, found.to(tl.int16), rows < n)
        here = tl.maximum(found, 0) % COLUMNS
        which = tl.arange(0, LENGTH)[None, :] * COLUMNS + here[:, None]
        score = scores(numbers, keys, bias, m, which, D_K)
        after = (score < top[:, None]) | ((score == top[:, None]) & (which > found[:, None]))
        following, following_top = first_of_largest(tl.where(after, score, float("-inf")), which, m)
        its = column == here[:, None]
        best, name = tl.where(its, following_top[:, None], best), tl.where(its, following[:, None], name)
