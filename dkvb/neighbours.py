"""Neighbours: the nearest selectable keys of an item in order, per codebook, along which a sweep walks.

n: items; c: codebooks; r: keys of a list; m: keys of a codebook, groups: ceil(m / 16); d_z: width of an embedding; d_k:
width of a key.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dkvb.codes import Codebooks, block_size, check_shapes
from dkvb.decoding import NO_VOTE
from dkvb.errors import ShapeMismatch
from dkvb.sizes import NEIGHBOURS as NEIGHBOURS
from dkvb.tiles import (
    LANES,
    each,
    fill_tiles,
    kernel,
    lowest_bit,
    maxima_of_tile,
    reaching,
    scores_of_item,
    scores_of_tile,
    widened,
)


def neighbours(z: Tensor, projection: Tensor, keys: Tensor, *, selectable: Tensor, r: int = NEIGHBOURS) -> Tensor:
    """The r nearest selectable keys of each item in order: squared L2, ties to the lowest index.

    z: (n, d_z) float on the CPU; projection: (c, d_z, d_k), keys: (c, m, d_k) float32; selectable: (c, m) bool.
    returns: (n, c, r) int16, NO_VOTE (-1) past the last selectable key; the first is the item's code (`codes.encode`).
    memory: the result, a copy of keys and projection, and 4 BLOCK d_z bytes a thread.
    raises: ShapeMismatch.
    """
    check_shapes(z, projection, keys, selectable)
    if r < 1:
        raise ShapeMismatch(f"r: found {r} neighbours, expected 1 or more")
    books = Codebooks.of(projection, keys, selectable)
    lists = torch.empty(len(z), len(keys), r, dtype=torch.int16)
    found, size = lists.numpy(), block_size(len(z))

    def list_block(begin: int) -> None:
        rows = slice(begin, begin + size)
        _list_block(widened(z[rows]), books.directions, books.keys, books.bias, found[rows])

    each(list_block, range(0, len(z), size))
    return lists


@kernel
def _list_block(z: Any, directions: Any, keys: Any, bias: Any, lists: Any) -> None:
    """Fill lists (n, c, r) with the ordered keys of one block of embeddings z (n, d_z)."""
    n, c, r = lists.shape
    groups = bias.shape[1]
    tiles = np.empty((-(-n // LANES), z.shape[1], LANES), np.float32)
    fill_tiles(z, tiles)
    x = np.empty((directions.shape[1] * LANES, LANES), np.float32)
    zero = np.zeros((directions.shape[1], LANES), np.float32)
    maxima = np.empty((groups, LANES), np.float32)
    coarse = np.empty((min(groups, 2 * r), LANES), np.float32)
    bounds = np.empty(LANES, np.float32)
    room = 4 * r // LANES * LANES + LANES  # more candidates than this are rare, and sorted on the way
    found = np.empty((LANES, room + LANES), np.float32)
    names, count = np.empty(found.shape, np.int16), np.empty(LANES, np.int64)
    scores, limit = np.empty((1, LANES), np.float32), np.empty(LANES, np.float32)
    for j in range(c):
        for t in range(len(tiles)):
            scores_of_tile(tiles[t], directions[j], zero, x)
            maxima_of_tile(x, keys[j], bias[j], maxima)
            _bounds(maxima, coarse, r, bounds)
            found[:], count[:] = -np.inf, 0
            for g in range(groups):
                items = reaching(maxima, g, bounds)
                while items:
                    lane = lowest_bit(items)
                    items &= items - 1
                    scores_of_item(x, lane, keys[j], bias[j], g, scores)
                    limit[:] = bounds[lane]
                    columns = reaching(scores, 0, limit)
                    while columns:
                        u = lowest_bit(columns)
                        columns &= columns - 1
                        found[lane, count[lane]], names[lane, count[lane]] = scores[0, u], g * LANES + u
                        count[lane] += 1
                    if count[lane] > room:
                        _sort(found[lane], names[lane], r)
                        count[lane] = r
            for lane in range(min(LANES, n - t * LANES)):
                _sort(found[lane], names[lane], r)
                lists[t * LANES + lane, j] = names[lane, :r]
                lists[t * LANES + lane, j, min(r, count[lane]) :] = NO_VOTE


@kernel
def _bounds(maxima: Any, coarse: Any, r: int, bounds: Any) -> None:
    """Fill bounds (16,) with a score for each item that at least r of its keys reach: no key below is in its list.

    It is the r-th largest among the maxima of 2 r parts of the groups, or the lowest number where there are fewer.
    maxima: (groups, 16), the largest score of each group; coarse: (2 r or groups, 16) is scratch.
    """
    bounds[:] = np.finfo(np.float32).min  # what is not selectable has a score of -inf, and reaches no bound
    if len(coarse) < r:
        return
    coarse[:] = -np.inf
    for g in range(len(maxima)):
        share = g % len(coarse)
        for lane in range(LANES):
            coarse[share, lane] = max(coarse[share, lane], maxima[g, lane])
    least = np.full(LANES, np.inf, np.float32)
    for i in range(len(coarse)):
        larger = np.zeros(LANES, np.int32)
        for k in range(len(coarse)):
            for lane in range(LANES):
                larger[lane] += coarse[k, lane] > coarse[i, lane]
        for lane in range(LANES):
            if larger[lane] < r and coarse[i, lane] < least[lane]:
                least[lane] = coarse[i, lane]
    for lane in range(LANES):
        bounds[lane] = max(bounds[lane], least[lane])


@kernel
def _sort(found: Any, names: Any, r: int) -> None:
    """Bring the r largest scores to the front in order, and their names with them; the others become -inf.

    Equal scores keep their order. For each score the larger ones are counted: no branch depends on the data, which for
    some 20 numbers is quicker than any sort.
    """
    count = len(found)
    while count and found[count - 1] == -np.inf:
        count -= 1
    padded = -(-count // LANES) * LANES
    best, which = np.full(r, -np.inf, np.float32), np.empty(r, np.int16)
    for i in range(count):
        place = 0
        for k in range(padded):
            place += found[k] > found[i]
        while place < r and best[place] == found[i]:
            place += 1
        if place < r:
            best[place], which[place] = found[i], names[i]
    found[:r], names[:r] = best, which
    found[r:] = -np.inf
