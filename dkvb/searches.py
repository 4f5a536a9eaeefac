"""Searches of a sweep: where an item goes in a codebook once all keys of its list have fallen (see `dkvb.sweep`).

An entry is an item, a forget set and a codebook. The entries of one codebook and forget set are searched together, 16
items at a time, among the keys that outlast their lists. These lie in segments, one a budget index, those that fall
last first: the nearest key that falls after a budget is the best of the first so many segments.

Shapes: n items, c codebooks, m keys of a codebook, r keys of a list, f forget sets, b budgets of the longest grid,
k searches. An axis of 16 is of items or keys that are computed side by side (`dkvb.tiles.pack`).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dkvb.bottleneck import Bottleneck
from dkvb.codes import pack_keys
from dkvb.decoding import NO_VOTE
from dkvb.tiles import LANES, fill_tiles, kernel, maxima_of_tile, pack, scores_of_item, scores_of_rows, widened

NEVER_INDEX = 255
"""The budget index of a pair that no budget removes; so a grid has at most 255 budgets."""

NEVER = np.uint8(NEVER_INDEX)
"""The same in the type of a table."""


class _Codebook(NamedTuple):
    """One codebook as its searches read it."""

    directions: NDArray[np.float32]
    """(groups, d_z, 16), of its projection."""
    keys: NDArray[np.float32]
    """(groups, d_k, 16)."""
    bias: NDArray[np.float32]
    """(groups, 16); minus infinity for what is no selectable key."""
    falls: NDArray[np.uint8]
    """(m, f) the budget index at which each forget set loses a key."""


class _Segments(NamedTuple):
    """The selectable keys that fall late, the last first; those of one budget index have groups of their own."""

    columns: NDArray[np.float32]
    """(groups, d_k, 16)."""
    bias: NDArray[np.float32]
    """(groups, 16); minus infinity where a group is not full."""
    names: NDArray[np.int32]
    """(groups * 16,) the key of each column, or NO_VOTE."""
    ends: NDArray[np.int64]
    """(budget indexes + 1,) where the groups of each end, from 0 on."""


def keys_beyond_lists(
    bottleneck: Bottleneck,
    z: Tensor,
    *,
    codes: NDArray[np.int16],
    lists: NDArray[np.int16],
    table: NDArray[np.uint8],
    budgets: int,
) -> NDArray[np.int16]:
    """The keys to which every entry falls whose whole list does.

    z: (n, d_z) float; codes: (n, c); lists: (n, c, r); table: (c, m, f); as `dkvb.sweep` has them.
    budgets: b.
    returns: (k, b) for such entries by item, forget set and codebook: the nearest key that falls at a later budget, or
        NO_VOTE. It is there for the budget at which the last of the list falls, and for each at which a key does that
        it leads to; all else is not filled in.
    """
    searches = _exhausted(codes, lists, table, budgets)
    beyond, rows = np.empty((len(searches), budgets), np.int16), widened(z) if len(searches) else None
    order = np.lexsort((searches[:, 1], searches[:, 2]))
    ends = np.searchsorted(searches[order, 2], np.arange(len(table) + 1))
    for j in np.unique(searches[:, 2]).tolist():
        places = order[ends[j] : ends[j + 1]]
        directions = pack(bottleneck.projection[j].numpy().T)
        codebook = _Codebook(directions, *pack_keys(bottleneck.keys[j], bottleneck.selectable[j]), table[j])
        _search(rows, codebook, searches[places], places, beyond)
    return beyond


@kernel
def _exhausted(codes: Any, lists: Any, table: Any, budgets: int) -> Any:
    """The entries whose whole list falls.

    returns: (k, 4) int32 of (item, forget set, codebook, budget index at which the last of the list falls), in order.
    """
    n, c, r = lists.shape
    sets = table.shape[2]
    searches, used = np.empty((1 << 10, 4), np.int32), 0
    last = np.empty((c, sets), np.uint8)  # of the own key and all of the list, the budget index at which the last falls
    for i in range(n):
        found = 0
        for j in range(c):
            if codes[i, j] < 0 or lists[i, j, r - 1] < 0:  # a list that is not full holds every key there is
                last[j] = NEVER
                continue
            last[j] = table[j, codes[i, j]]
            soonest = last[j].min()
            for place in range(r):
                if soonest >= budgets:
                    break
                falls, soonest = table[j, lists[i, j, place]], NEVER
                for f in range(sets):  # side by side: this is where the time goes
                    last[j, f] = max(last[j, f], falls[f])
                    soonest = min(soonest, last[j, f])
            for f in range(sets):
                found += last[j, f] < budgets
        while used + found > len(searches):
            more = np.empty((2 * len(searches), 4), np.int32)
            more[:used] = searches[:used]
            searches = more
        for f in range(sets if found else 0):
            for j in range(c):
                if last[j, f] < budgets:
                    searches[used, 0], searches[used, 1], searches[used, 2], searches[used, 3] = i, f, j, last[j, f]
                    used += 1
    return searches[:used]


@kernel
def _search(z: Any, codebook: Any, searches: Any, places: Any, beyond: Any) -> None:
    """The searches of one codebook: at each budget that an entry comes to, the nearest key that falls at a later one.

    z: (n, d_z) float32; codebook: see `_Codebook`; searches: (of this codebook, 4), see `_exhausted`, by forget set.
    places: of these among all; so many rows of beyond (k, b) are filled in, from the last of the list on, wherever the
        path of the entry leads.
    """
    budgets, d_k = beyond.shape[1], codebook.keys.shape[1]
    directions, falls = codebook.directions, codebook.falls
    chosen, rows = np.empty(LANES, np.int64), np.empty((LANES, len(directions) * LANES), np.float32)
    tile, scores = np.empty((1, d_k, LANES), np.float32), np.empty((1, LANES), np.float32)
    begin = 0
    while begin < len(searches):
        f, end, first = searches[begin, 1], begin, budgets
        while end < len(searches) and searches[end, 1] == f:
            first = min(first, searches[end, 3])
            end += 1
        falls_at = np.minimum(falls[:, f], np.uint8(budgets))
        segments = _segments(codebook, falls_at, first + 1, budgets)
        maxima = np.empty(segments.bias.shape, np.float32)
        best = np.empty((budgets - first, LANES), np.float32)
        for lo in range(begin, end, LANES):
            hi = min(lo + LANES, end)
            for lane in range(LANES):
                chosen[lane] = searches[min(lo + lane, hi - 1), 0]
            scores_of_rows(z, chosen, directions, rows)
            fill_tiles(rows[:, :d_k], tile)
            maxima_of_tile(tile[0], segments.columns, segments.bias, maxima)
            _running_maxima(maxima, segments.ends, best)
            for lane in range(hi - lo):
                g = np.int64(searches[lo + lane, 3])
                while g < budgets:
                    later = maxima[: segments.ends[budgets - g]]
                    key = _first_of(best[budgets - g - 1, lane], tile[0], lane, segments, later, scores)
                    beyond[places[lo + lane], g] = key
                    g = np.int64(falls_at[key]) if key >= 0 else budgets
        begin = end


@kernel
def _segments(codebook: Any, falls_at: Any, first: int, last: int) -> Any:
    """The selectable keys that fall at the budget indexes first..last, as `_Segments`; falls_at: (m,) uint8."""
    keys, bias = codebook.keys, codebook.bias
    sizes, place = np.zeros(last + 1, np.int64), np.zeros(last + 1, np.int64)
    for k in range(len(falls_at)):
        sizes[falls_at[k]] += bias[k // LANES, k % LANES] > -np.inf
    ends = np.zeros(last - first + 2, np.int64)
    for g in range(last, first - 1, -1):
        place[g] = ends[last - g] * LANES
        ends[last - g + 1] = ends[last - g] + -(-sizes[g] // LANES)
    columns = np.empty((ends[-1], keys.shape[1], LANES), np.float32)
    own_bias = np.full((ends[-1], LANES), -np.inf, np.float32)
    names = np.full(ends[-1] * LANES, NO_VOTE, np.int32)
    for k in range(len(falls_at)):
        if falls_at[k] >= first and bias[k // LANES, k % LANES] > -np.inf:
            group, lane = place[falls_at[k]] // LANES, place[falls_at[k]] % LANES
            place[falls_at[k]] += 1
            names[group * LANES + lane] = k
            own_bias[group, lane] = bias[k // LANES, k % LANES]
            for d in range(keys.shape[1]):
                columns[group, d, lane] = keys[k // LANES, d, k % LANES]
    for g in range(last, first - 1, -1):
        for spare in range(place[g], ends[last - g + 1] * LANES):
            columns[spare // LANES, :, spare % LANES] = 0
    return _Segments(columns, own_bias, names, ends)


@kernel
def _running_maxima(maxima: Any, ends: Any, best: Any) -> None:
    """best[s]: the largest score of each item among the keys of the first s + 1 segments."""
    largest = np.full(LANES, -np.inf, np.float32)
    for s in range(len(best)):
        for group in range(ends[s], ends[s + 1]):
            for lane in range(LANES):
                largest[lane] = max(largest[lane], maxima[group, lane])
        best[s] = largest


@kernel
def _first_of(score: Any, tile: Any, lane: int, segments: Any, maxima: Any, scores: Any) -> int:
    """The lowest key with that score in the groups whose maxima are given; NO_VOTE for a score of no key.

    tile: (d_k, 16) the items; lane: which of them; maxima: (groups, 16); scores: (1, 16), scratch.
    """
    names, lowest = segments.names, NO_VOTE
    if score > -np.inf:
        for group in range(len(maxima)):
            if maxima[group, lane] >= score:
                scores_of_item(tile, lane, segments.columns, segments.bias, group, scores)
                for u in range(LANES):
                    if scores[0, u] == score and (lowest < 0 or names[group * LANES + u] < lowest):
                        lowest = names[group * LANES + u]
    return lowest
