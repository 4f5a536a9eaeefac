"""The sweep: what growing masks do to every item, budget after budget, exactly, for many forget sets at once.

The masks of a sweep are nested, so an item's key in a codebook changes only when that key falls. The keys of an item
stand in order (`dkvb.neighbours`): its key at a grid step is the first of them that a later step removes. An entry
whose whole list falls is searched before, among all keys that outlast the list. Then, item by item and forget set by
forget set, the walk along the lists gives all changes of codes, value differences are added to the running sums step
by step, and the argmax is taken anew where something changed. Only entries whose own key ever falls are walked, and an
item meets all forget sets before the next item comes, so the rows of values it touches are read from memory once.

A score depends on its item and key alone (`dkvb.tiles`), so codes equal those of the plain masked forward pass
exactly; sums equal it up to the order of summation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb.bottleneck import Bottleneck
from dkvb.codes import NO_VOTE, check_below, pack_keys
from dkvb.errors import BadBudget, ShapeMismatch
from dkvb.orders import steps_of
from dkvb.tiles import (
    LANES,
    add_row,
    each,
    exchange,
    fill_tiles,
    kernel,
    largest_of,
    lowest_bit,
    maxima_of_tile,
    pack,
    reaching,
    scores_of_item,
    scores_of_rows,
    widened,
)

NEVER_STEP = 255
"""The grid step of a pair that no budget removes; so a grid has at most 255 steps."""

ENTRIES = 1 << 16
"""Items times forget sets of a block: bounds the memory of its searches, and lets many of them share a codebook."""


@dataclass(frozen=True, slots=True)
class Items:
    """The items a sweep watches."""

    z: Tensor
    """(n, d_z) float, embeddings; read for the few entries that are searched in full."""
    codes: Tensor
    """(n, c) int16, among the selectable keys."""
    neighbours: Tensor
    """(n, c, r) int16, nearest selectable keys in order, -1 past the last."""

    def take(self, rows: slice) -> "Items":
        """Some of the items."""
        return Items(self.z[rows], self.codes[rows], self.neighbours[rows])


def step_table(positions: Sequence[NDArray[np.int64]], grids: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    """When each forget set loses each pair.

    positions: for each forget set (c, m) int64, the place of a pair in its order of removal (`dkvb.orders`).
    grids: for each its increasing numbers N, at most 255 of them.
    returns: (c, m, f) uint8: the first index g with position < grid[g], NEVER_STEP where none has.
    raises: BadBudget for a longer grid.
    """
    table = np.empty((*positions[0].shape, len(positions)), np.uint8)
    for k, (position, grid) in enumerate(zip(positions, grids, strict=True)):
        if len(grid) > NEVER_STEP:
            raise BadBudget(f"grid: found {len(grid)} budgets, expected at most {NEVER_STEP}")
        step = steps_of(position, list(grid))
        table[:, :, k] = np.where(step == len(grid), NEVER_STEP, step)
    return table


def sweep(
    bottleneck: Bottleneck, items: Items, table: NDArray[np.uint8], *, steps: int, forget: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """Predictions of every item at every grid step, for every forget set.

    table: (c, m, f) uint8, the grid step at which each forget set loses a pair (`step_table`).
    steps: number of grid steps; a forget set with a shorter grid stays as its last step left it.
    forget: the classes of each forget set.
    returns: predictions (f, steps, n) int16, and predictions among the retain classes (f, steps, n) int16. An item
        without any vote has uniform logits: the first class, and the first retain class.
    memory: the results, and for each thread 2 steps + 16 bytes a search, of which there can be ENTRIES * c at most.
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
    predicted = np.empty((len(forget), steps, n), np.int16)
    among_retain = np.empty_like(predicted)
    size = max(LANES, min(8192, ENTRIES // len(forget), -(-n // torch.get_num_threads())))

    def sweep_block(begin: int) -> None:
        rows = slice(begin, begin + size)
        outputs = predicted[:, :, rows], among_retain[:, :, rows]
        _apply(*_paths(bottleneck, items.take(rows), table, steps), bottleneck.values.numpy(), gone, *outputs)

    each(sweep_block, range(0, n, size))
    return torch.from_numpy(predicted), torch.from_numpy(among_retain)


def codes_by_step(bottleneck: Bottleneck, items: Items, table: NDArray[np.uint8], *, steps: int) -> Tensor:
    """The codes that a sweep gives every item: (f, steps, n, c) int16; arguments as of `sweep`."""
    codes = np.empty((table.shape[2], steps, *items.codes.shape), np.int16)
    _codes_by_step(*_paths(bottleneck, items, table, steps), codes)
    return torch.from_numpy(codes)


def _paths(bottleneck: Bottleneck, items: Items, table: NDArray[np.uint8], steps: int) -> tuple[Any, ...]:
    """What `_path` reads: codes, lists, table, and the searches of the entries whose whole list falls."""
    codes, lists = items.codes.numpy(), items.neighbours.numpy()
    searches = _exhausted(codes, lists, table, steps)
    found, z = np.empty((len(searches), steps), np.int16), widened(items.z) if len(searches) else None
    order = np.lexsort((searches[:, 1], searches[:, 2]))
    ends = np.searchsorted(searches[order, 2], np.arange(len(table) + 1))
    for j in np.unique(searches[:, 2]).tolist():
        part = order[ends[j] : ends[j + 1]]
        directions = pack(bottleneck.projection[j].numpy().T)
        keys, bias = pack_keys(bottleneck.keys[j], bottleneck.selectable[j])
        _search(z, directions, searches[part], keys, bias, table[j], part, found)
    return codes, lists, table, searches, found


@kernel
def _exhausted(codes: Any, lists: Any, table: Any, steps: int) -> Any:
    """The entries whose whole list falls: (k, 4) int32 of (item, forget set, codebook, step of the last to fall)."""
    n, c, r = lists.shape
    searches, used = np.empty((1 << 10, 4), np.int32), 0
    for i in range(n):
        for f in range(table.shape[2]):
            for j in range(c):
                own = codes[i, j]
                if own < 0 or table[j, own, f] >= steps:
                    continue
                last, place = table[j, own, f], 0
                while place < r and lists[i, j, place] >= 0 and table[j, lists[i, j, place], f] < steps:
                    last = max(last, table[j, lists[i, j, place], f])
                    place += 1
                if place == r:
                    if used == len(searches):
                        more = np.empty((2 * used, 4), np.int32)
                        more[:used] = searches
                        searches = more
                    searches[used, 0], searches[used, 1], searches[used, 2], searches[used, 3] = i, f, j, last
                    used += 1
    return searches[:used]


@kernel
def _search(z: Any, directions: Any, searches: Any, keys: Any, bias: Any, table: Any, part: Any, found: Any) -> None:
    """The searches of one codebook, by forget set: at each step that an entry comes to, the key it falls to.

    z: (n, d_z), all items; directions, keys and bias packed; table: (m, f).
    part: (k,) the rows of found (all searches, steps) int16 that are filled in: the nearest key that a later step
        removes, from the step of the search on, wherever the entry's path leads.
    """
    steps, d_k = found.shape[1], keys.shape[1]
    chosen, rows = np.empty(LANES, np.int64), np.empty((LANES, len(directions) * LANES), np.float32)
    tile, scores = np.empty((1, d_k, LANES), np.float32), np.empty((1, LANES), np.float32)
    begin = 0
    while begin < len(searches):
        f, end, first = searches[begin, 1], begin, steps
        while end < len(searches) and searches[end, 1] == f:
            first = min(first, searches[end, 3])
            end += 1
        step = np.minimum(table[:, f], np.uint8(steps))
        columns, some, names, ends = _segments(keys, bias, step, first + 1, steps)
        maxima, best = np.empty(some.shape, np.float32), np.empty((steps - first, LANES), np.float32)
        for lo in range(begin, end, LANES):
            hi = min(lo + LANES, end)
            for lane in range(LANES):
                chosen[lane] = searches[min(lo + lane, hi - 1), 0]
            scores_of_rows(z, chosen, directions, rows)
            fill_tiles(rows[:, :d_k], tile)
            maxima_of_tile(tile[0], columns, some, maxima)
            _running_maxima(maxima, ends, best)
            for lane in range(hi - lo):
                now = np.int64(searches[lo + lane, 3])
                while now < steps:
                    later = maxima[: ends[steps - now]]
                    new = _first_of(best[steps - now - 1, lane], tile[0], lane, columns, some, names, later, scores)
                    found[part[lo + lane], now] = new
                    now = np.int64(step[new]) if new >= 0 else steps
        begin = end


@kernel
def _segments(keys: Any, bias: Any, step: Any, first: int, last: int) -> Any:
    """The selectable keys that fall at the steps first..last, the last first, each step's in groups of their own.

    returns: columns (groups, d_k, 16), bias (groups, 16), names (groups * 16,) of the keys, and where the groups of
        each step end, (last - first + 2,) from 0.
    """
    sizes, place = np.zeros(last + 1, np.int64), np.zeros(last + 1, np.int64)
    for k in range(len(step)):
        sizes[step[k]] += bias[k // LANES, k % LANES] > -np.inf
    ends = np.zeros(last - first + 2, np.int64)
    for s in range(last, first - 1, -1):
        place[s] = ends[last - s] * LANES
        ends[last - s + 1] = ends[last - s] + -(-sizes[s] // LANES)
    columns = np.empty((ends[-1], keys.shape[1], LANES), np.float32)
    some = np.full((ends[-1], LANES), -np.inf, np.float32)
    names = np.full(ends[-1] * LANES, NO_VOTE, np.int32)
    for k in range(len(step)):
        if step[k] >= first and bias[k // LANES, k % LANES] > -np.inf:
            g, u = place[step[k]] // LANES, place[step[k]] % LANES
            place[step[k]] += 1
            names[g * LANES + u] = k
            some[g, u] = bias[k // LANES, k % LANES]
            for d in range(keys.shape[1]):
                columns[g, d, u] = keys[k // LANES, d, k % LANES]
    for s in range(last, first - 1, -1):
        for spare in range(place[s], ends[last - s + 1] * LANES):
            columns[spare // LANES, :, spare % LANES] = 0
    return columns, some, names, ends


@kernel
def _running_maxima(maxima: Any, ends: Any, best: Any) -> None:
    """best[s]: the largest score of each item among the keys of the first s + 1 segments."""
    largest = np.full(LANES, -np.inf, np.float32)
    for s in range(len(best)):
        for g in range(ends[s], ends[s + 1]):
            for lane in range(LANES):
                largest[lane] = max(largest[lane], maxima[g, lane])
        best[s] = largest


@kernel
def _first_of(score: Any, x: Any, lane: int, columns: Any, bias: Any, names: Any, maxima: Any, scores: Any) -> int:
    """The lowest key with that score in the groups whose maxima are given; NO_VOTE for a score of no key."""
    found = NO_VOTE
    if score > -np.inf:
        for g in range(len(maxima)):
            if maxima[g, lane] >= score:
                scores_of_item(x, lane, columns, bias, g, scores)
                for u in range(LANES):
                    if scores[0, u] == score and (found < 0 or names[g * LANES + u] < found):
                        found = names[g * LANES + u]
    return found


@kernel
def _path(
    codes: Any,
    lists: Any,
    table: Any,
    searches: Any,
    found: Any,
    i: int,
    f: int,
    search: int,
    last: Any,
    changes: Any,
) -> int:
    """All changes of one item under one forget set.

    search: the first row of the searches that is this item's and set's, or a later one's.
    last: (steps,) the last change of each step, a row of changes (k, 3): codebook * m + old key, the same of the new or
        NO_VOTE, and the change before it at the same step or -1. Both are filled in.
    returns: the first row of the searches that is a later one's.
    """
    c, r, m, steps = lists.shape[1], lists.shape[2], table.shape[1], len(last)
    last[:] = -1
    used = 0
    for j in range(c):
        key = np.int64(codes[i, j])
        if key < 0 or table[j, key, f] >= steps:
            continue
        step, place = np.int64(table[j, key, f]), 0
        while step < steps:
            while place < r and lists[i, j, place] >= 0 and table[j, lists[i, j, place], f] <= step:
                place += 1
            new = np.int64(lists[i, j, place] if place < r else found[search, step])
            changes[used, 0], changes[used, 2] = j * m + key, last[step]
            changes[used, 1] = j * m + new if new >= 0 else NO_VOTE
            last[step] = used
            used += 1
            if new < 0:
                break
            key, step = new, np.int64(table[j, new, f])
        if place == r:
            search += 1
    return search


@kernel
def _codes_by_step(codes: Any, lists: Any, table: Any, searches: Any, found: Any, out: Any) -> None:
    n, c, m = codes.shape[0], codes.shape[1], table.shape[1]
    last, changes = np.empty(out.shape[1], np.int32), np.empty((c * out.shape[1], 3), np.int32)
    search = 0
    for i in range(n):
        for f in range(out.shape[0]):
            search = _path(codes, lists, table, searches, found, i, f, search, last, changes)
            for g in range(len(last)):
                out[f, g, i] = out[f, g - 1, i] if g else codes[i]
                change = last[g]
                while change >= 0:
                    j, new = changes[change, 0] // m, changes[change, 1]
                    out[f, g, i, j] = new % m if new >= 0 else NO_VOTE
                    change = changes[change, 2]


@kernel
def _apply(
    codes: Any,
    lists: Any,
    table: Any,
    searches: Any,
    found: Any,
    values: Any,
    gone: Any,
    predicted: Any,
    among_retain: Any,
) -> None:
    """Add up the changes of every item, forget set by forget set, step by step."""
    n, c = codes.shape
    m, v = values.shape[1], values.shape[2]
    sets, steps = predicted.shape[0], predicted.shape[1]
    pairs = values.reshape(-1, v)
    last, changes = np.empty(steps, np.int32), np.empty((c * steps, 3), np.int32)
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
            search = _path(codes, lists, table, searches, found, i, f, search, last, changes)
            now, among, left = before, _argmax_among(start, before, gone[f], bound), votes
            sums[:] = start
            for g in range(steps):
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
