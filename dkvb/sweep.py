"""The sweep: what growing masks do to every item, budget after budget, exactly, for many forget sets at once.

The masks of a sweep are nested, so an item's key in a codebook changes only when that key falls: when a budget removes
it. The keys of an item stand in order (`dkvb.neighbours`): its key at a budget is the first of them that falls at a
later one. An entry (an item, a forget set and a codebook) whose whole list falls is searched before, among all keys
that outlast the list (`dkvb.searches`). Then, item by item and forget set by forget set, the walk along the lists gives
all changes of codes, value differences are added to the running sums budget by budget, and the argmax is taken anew
where something changed. Only entries whose own key ever falls are walked, and an item meets all forget sets before the
next item comes, so the rows of values it touches are read from memory once.

A score depends on its item and key alone (`dkvb.tiles`), so codes equal those of the plain masked forward pass
exactly; sums equal it up to the order of summation.

Shapes: n items, c codebooks, m keys of a codebook, v classes, r keys of a list, f forget sets, b budgets of the longest
grid, k searches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb.bottleneck import Bottleneck
from dkvb.codes import check_below
from dkvb.decoding import NO_VOTE
from dkvb.errors import BadBudget, ShapeMismatch
from dkvb.orders import budget_indexes
from dkvb.searches import NEVER_INDEX, keys_beyond_lists
from dkvb.tiles import LANES, add_row, each, exchange, kernel, largest_of, lowest_bit, reaching

ENTRIES = 1 << 17
"""Items times forget sets of a block: bounds the memory of its searches, and lets many of them share a codebook."""


@dataclass(frozen=True, slots=True)
class Items:
    """The items that are swept."""

    z: Tensor
    """(n, d_z) float, embeddings; read for the few entries that are searched in full."""
    codes: Tensor
    """(n, c) int16, among the selectable keys."""
    neighbours: Tensor
    """(n, c, r) int16, nearest selectable keys in order, -1 past the last."""

    def take(self, rows: slice) -> "Items":
        """Some of the items."""
        return Items(self.z[rows], self.codes[rows], self.neighbours[rows])


def budget_table(positions: Sequence[NDArray[np.int64]], grids: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    """When each forget set loses each pair.

    positions: for each forget set (c, m) int64, the place of a pair in its order of removal (`dkvb.orders`).
    grids: for each its increasing numbers N, at most 255 of them.
    returns: (c, m, f) uint8: the first index g with position < grid[g], NEVER_INDEX where none has.
    raises: BadBudget for a longer grid.
    """
    table = np.empty((*positions[0].shape, len(positions)), np.uint8)
    for k, (position, grid) in enumerate(zip(positions, grids, strict=True)):
        if len(grid) > NEVER_INDEX:
            raise BadBudget(f"grid: found {len(grid)} budgets, expected at most {NEVER_INDEX}")
        index = budget_indexes(position, list(grid))
        table[:, :, k] = np.where(index == len(grid), NEVER_INDEX, index)
    return table


def sweep(
    bottleneck: Bottleneck, items: Items, table: NDArray[np.uint8], *, budgets: int, forget: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """Predictions of every item at every budget, for every forget set.

    table: (c, m, f) uint8, the budget index at which each forget set loses a pair (`budget_table`).
    budgets: their number b; a forget set with a shorter grid stays as its last budget left it.
    forget: the classes of each forget set.
    returns: predictions (f, b, n) int16, and predictions among the retain classes (f, b, n) int16. An item without any
        vote has uniform logits: the first class, and the first retain class.
    memory: the results, and for each thread 2 b + 16 bytes a search, of which there can be ENTRIES * c at most.
    raises: ShapeMismatch.
    """
    n, gone = len(items.codes), check_sweep(bottleneck, items, table, forget)
    predicted = np.empty((len(forget), budgets, n), np.int16)
    among_retain = np.empty_like(predicted)
    size = max(LANES, min(8192, ENTRIES // len(forget), -(-n // torch.get_num_threads())))

    def sweep_block(begin: int) -> None:
        rows = slice(begin, begin + size)
        paths = _paths(bottleneck, items.take(rows), table, budgets)
        _predict(paths, bottleneck.values.numpy(), gone, predicted[:, :, rows], among_retain[:, :, rows])

    each(sweep_block, range(0, n, size))
    return torch.from_numpy(predicted), torch.from_numpy(among_retain)


def check_sweep(
    bottleneck: Bottleneck, items: Items, table: NDArray[np.uint8], forget: Sequence[Sequence[int]]
) -> NDArray[np.int64]:
    """Check that what a sweep is given fits together; arguments as of `sweep`.

    returns: (f, most) int64, the classes of each forget set, then -1.
    raises: ShapeMismatch.
    """
    n, c = items.codes.shape
    if table.shape[:2] != tuple(bottleneck.selectable.shape) or table.shape[2] != len(forget):
        raise ShapeMismatch.between("table (c, m, f)", table.shape, "selectable (c, m)", bottleneck.selectable.shape)
    if items.neighbours.shape[:2] != (n, c) or c != len(table):
        raise ShapeMismatch.between("codes (n, c)", items.codes.shape, "neighbours (n, c, r)", items.neighbours.shape)
    if len(items.z) != n or items.z.shape[1] != bottleneck.projection.shape[1]:
        raise ShapeMismatch.between("z (n, d_z)", items.z.shape, "codes (n, c)", items.codes.shape)
    m, v = bottleneck.values.shape[1:]
    check_below("codes", items.codes, m)
    check_below("neighbours", items.neighbours, m)
    gone = np.full((len(forget), max(map(len, forget))), -1)
    for k, classes in enumerate(forget):
        gone[k, : len(classes)] = classes
    check_below("forget", torch.from_numpy(gone), v)
    return gone


def codes_by_budget(bottleneck: Bottleneck, items: Items, table: NDArray[np.uint8], *, budgets: int) -> Tensor:
    """The codes that a sweep gives every item: (f, b, n, c) int16; arguments as of `sweep`."""
    codes = np.empty((table.shape[2], budgets, *items.codes.shape), np.int16)
    _fill_codes(_paths(bottleneck, items, table, budgets), codes)
    return torch.from_numpy(codes)


class _Paths(NamedTuple):
    """All that `_walk` reads: by which keys each entry comes."""

    codes: NDArray[np.int16]
    """(n, c) before anything is removed."""
    lists: NDArray[np.int16]
    """(n, c, r) the nearest selectable keys in order, -1 past the last."""
    table: NDArray[np.uint8]
    """(c, m, f) the budget index at which a pair falls."""
    beyond: NDArray[np.int16]
    """(k, b) the keys past the lists of the entries that are searched, see `dkvb.searches.keys_beyond_lists`."""


def _paths(bottleneck: Bottleneck, items: Items, table: NDArray[np.uint8], budgets: int) -> _Paths:
    codes, lists = items.codes.numpy(), items.neighbours.numpy()
    beyond = keys_beyond_lists(bottleneck, items.z, codes=codes, lists=lists, table=table, budgets=budgets)
    return _Paths(codes, lists, table, beyond)


@kernel
def _walk(paths: Any, i: int, f: int, search: int, last: Any, changes: Any) -> int:
    """All changes of one item under one forget set.

    search: the first row of `_Paths.beyond` that is this item's and set's, or a later one's.
    last: (b,) the last change at each budget, a row of changes (any, 3): codebook * m + old key, the same of the new or
        NO_VOTE, and the change before it at the same budget or -1. Both are filled in.
    returns: the first row of `_Paths.beyond` that is a later one's.
    """
    codes, lists, table = paths.codes, paths.lists, paths.table
    c, r, m, budgets = lists.shape[1], lists.shape[2], table.shape[1], len(last)
    last[:] = -1
    used = 0
    for j in range(c):
        key = np.int64(codes[i, j])
        if key < 0 or table[j, key, f] >= budgets:
            continue
        g, place = np.int64(table[j, key, f]), 0
        while g < budgets:
            while place < r and lists[i, j, place] >= 0 and table[j, lists[i, j, place], f] <= g:
                place += 1
            new = np.int64(lists[i, j, place] if place < r else paths.beyond[search, g])
            changes[used, 0], changes[used, 2] = j * m + key, last[g]
            changes[used, 1] = j * m + new if new >= 0 else NO_VOTE
            last[g] = used
            used += 1
            if new < 0:
                break
            key, g = new, np.int64(table[j, new, f])
        if place == r:
            search += 1
    return search


@kernel
def _fill_codes(paths: Any, out: Any) -> None:
    """The codes of every item at every budget: out (f, b, n, c) int16."""
    n, c = paths.codes.shape
    m, budgets = paths.table.shape[1], out.shape[1]
    last, changes = np.empty(budgets, np.int32), np.empty((c * budgets, 3), np.int32)
    search = 0
    for i in range(n):
        for f in range(out.shape[0]):
            search = _walk(paths, i, f, search, last, changes)
            for g in range(budgets):
                out[f, g, i] = out[f, g - 1, i] if g else paths.codes[i]
                change = last[g]
                while change >= 0:
                    j, new = changes[change, 0] // m, changes[change, 1]
                    out[f, g, i, j] = new % m if new >= 0 else NO_VOTE
                    change = changes[change, 2]


@kernel
def _predict(paths: Any, values: Any, gone: Any, predicted: Any, among_retain: Any) -> None:
    """Add up the changes of every item, forget set by forget set, budget by budget.

    values: (c, m, v) float32; gone: (f, any) int64, the classes of each forget set, then -1.
    predicted, among_retain: (f, b, n) int16, filled in.
    """
    codes = paths.codes
    n, c = codes.shape
    m, v = values.shape[1], values.shape[2]
    sets, budgets = predicted.shape[0], predicted.shape[1]
    pairs = values.reshape(-1, v)
    last, changes = np.empty(budgets, np.int32), np.empty((c * budgets, 3), np.int32)
    start = np.full((-(-v // LANES), LANES), -np.inf, np.float32)
    sums, bound = start.copy(), np.empty(LANES, np.float32)
    search = 0
    for i in range(n):
        start.reshape(-1)[:v] = 0
        votes = 0
        for j in range(c):
            if codes[i, j] >= 0:
                votes += 1
                add_row(start, pairs, j * m + codes[i, j])
        before = _argmax(start, bound)
        for f in range(sets):
            search = _walk(paths, i, f, search, last, changes)
            now, among, left = before, _argmax_among(start, before, gone[f], bound), votes
            sums[:] = start
            for g in range(budgets):
                change = last[g]
                if change >= 0:
                    while change >= 0:
                        old, new = changes[change, 0], changes[change, 1]
                        if new >= 0:
                            exchange(sums, pairs, new, old)
                        else:
                            left -= 1
                            for k in range(v):
                                sums[k // LANES, k % LANES] -= pairs[old, k]
                        change = changes[change, 2]
                    if left == 0:
                        sums.reshape(-1)[:v] = 0
                    now = _argmax(sums, bound)
                    among = _argmax_among(sums, now, gone[f], bound)
                predicted[f, g, i] = now
                among_retain[f, g, i] = among


@kernel
def _argmax(sums: Any, bound: Any) -> Any:
    """The first of the largest of (blocks, 16); bound (16,) is scratch."""
    bound[:] = largest_of(sums)
    for b in range(len(sums)):
        bits = reaching(sums, b, bound)
        if bits:
            return b * LANES + lowest_bit(bits)
    return 0  # of numbers that are none


@kernel
def _argmax_among(sums: Any, best: int, gone: Any, bound: Any) -> Any:
    """The first of the largest that is not gone; best: the first of the largest of all."""
    for k in gone:
        if k == best:
            kept = sums.copy()
            for out in gone:
                if out >= 0:
                    kept[out // LANES, out % LANES] = -np.inf
            return _argmax(kept, bound)
    return best
