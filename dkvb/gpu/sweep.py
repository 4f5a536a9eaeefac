"""The sweep on GPUs: predictions to the last bit those of `dkvb.sweep`.

A program walks one item through all forget sets, budget after budget, with its codebooks side by side. Value
differences are added in the CPU's order: at each budget from the last codebook to the first. An entry whose whole list
has fallen is searched on the spot, among all keys that fall later.

Shapes: n items, c codebooks, m keys of a codebook, v classes, r keys of a list, f forget sets, b budgets.
"""

from collections.abc import Sequence

import numpy as np
import torch
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from dkvb.bottleneck import Bottleneck
from dkvb.gpu.launch import kernel, launch, power_of_two
from dkvb.gpu.scores import GROUP, Codebooks, numbers_of_keys, place
from dkvb.sweep import Items, check_sweep

SEARCHED = tl.constexpr(256)
"""Keys that a search looks at side by side."""


def sweep(
    bottleneck: Bottleneck, items: Items, table: NDArray[np.uint8], *, budgets: int, forget: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """Predictions of every item at every budget, for every forget set, as `dkvb.sweep.sweep`.

    bottleneck and items are on the device; table: (c, m, f) uint8, as `dkvb.sweep.budget_table` made it.
    returns: predictions (f, b, n) int16, and predictions among the retain classes (f, b, n) int16, on the device.
    memory: the results, table, a copy of keys and projection, and `dkvb.sizes.PROJECTED` numbers.
    raises: ShapeMismatch, BadSetting.
    """
    device, (n, c) = items.z.device, items.codes.shape
    gone = torch.from_numpy(check_sweep(bottleneck, items, table, forget)).to(device, torch.int32)
    (m, v), (sets, most), r = bottleneck.values.shape[1:], gone.shape, items.neighbours.shape[2]
    books = Codebooks.of(bottleneck.projection, bottleneck.keys, bottleneck.selectable)
    falls = torch.from_numpy(np.ascontiguousarray(table)).to(device)
    values = bottleneck.values.contiguous()
    predicted = torch.empty(sets, budgets, n, dtype=torch.int16, device=device)
    among_retain = torch.empty_like(predicted)
    wide = {"C": power_of_two(c), "V": power_of_two(v), "B": power_of_two(budgets), "D_K": books.keys.shape[2]}
    for rows, x in books.blocks(items.z):
        part = items.take(rows)
        codes, lists = part.codes.contiguous(), part.neighbours.contiguous()
        tables = (lists, falls, x, books.keys, books.bias, values, gone)
        out = (predicted[:, :, rows], among_retain[:, :, rows])
        launch(_sweep, (len(codes),), codes, *tables, *out, n, len(codes), c, m, v, r, sets, budgets, most, **wide)
    return predicted, among_retain


@kernel
def _sweep(
    codes: tl.tensor,
    lists: tl.tensor,
    falls: tl.tensor,
    x: tl.tensor,
    keys: tl.tensor,
    bias: tl.tensor,
    values: tl.tensor,
    gone: tl.tensor,
    predicted: tl.tensor,
    among_retain: tl.tensor,
    apart: tl.tensor,
    n: tl.tensor,
    c: tl.tensor,
    m: tl.tensor,
    v: tl.tensor,
    r: tl.tensor,
    sets: tl.tensor,
    budgets: tl.tensor,
    most: tl.tensor,
    C: tl.constexpr,
    V: tl.constexpr,
    B: tl.constexpr,
    D_K: tl.constexpr,
) -> None:
    """One item under all forget sets.

    codes: (n, c); lists: (n, c, r); falls: (c, m, f) uint8; x: (c, d_k, n); keys: (c, groups, d_k, GROUP);
    bias: (c, m); values: (c, m, v); gone: (f, most) int32, the classes of each forget set, then -1.
    predicted, among_retain: (f, b, n) int16 within arrays of `apart` items.
    """
    i = tl.program_id(0).to(tl.int64)
    books, classes, budget = tl.arange(0, C), tl.arange(0, V), tl.arange(0, B)
    real = classes < v
    code = tl.load(codes + i * c + books, books < c, other=-1).to(tl.int32)
    start = tl.where(real, 0.0, float("-inf"))
    votes = 0
    for j in range(c):
        key = tl.load(codes + i * c + j).to(tl.int64)
        if key >= 0:
            start += tl.load(values + (j * m + key) * v + classes, real, other=0.0)
            votes += 1
    before = _argmax(start, classes, V)
    for f in range(sets):
        its = classes < 0
        for k in range(most):
            its |= classes == tl.load(gone + f * most + k)
        sums, left, key = start, votes, code
        fall = tl.load(falls + (books.to(tl.int64) * m + key) * sets + f, key >= 0, other=255).to(tl.int32)
        now = tl.full((B,), 0, tl.int32) + before
        among = tl.full((B,), 0, tl.int32) + _argmax(tl.where(its, float("-inf"), start), classes, V)
        g = tl.min(fall, 0)
        while g < budgets:
            moved = fall == g
            new, new_fall = _first_later(lists + i * c * r, falls + f, books, moved, g, m, r, sets, C)
            past = tl.max(tl.where(new == -2, books, -1), 0)
            while past >= 0:
                at = past.to(tl.int64)
                found = _search(
                    x + at * D_K * n + i,
                    keys + at * numbers_of_keys(m, D_K),
                    bias + at * m,
                    falls + at * m * sets + f,
                    g,
                    n,
                    m,
                    sets,
                    D_K,
                )
                found_fall = tl.load(falls + (at * m + found) * sets + f, found >= 0, other=255).to(tl.int32)
                new, new_fall = tl.where(books == past, found, new), tl.where(books == past, found_fall, new_fall)
                past = tl.max(tl.where(new == -2, books, -1), 0)
            j = tl.max(tl.where(moved, books, -1), 0)
            while j >= 0:
                old_key = tl.sum(tl.where(books == j, key, 0), 0)
                new_key = tl.sum(tl.where(books == j, new, 0), 0)
                row = values + j.to(tl.int64) * m * v + classes
                taken = tl.load(row + old_key.to(tl.int64) * v, real, other=0.0)
                if new_key >= 0:
                    sums += tl.load(row + new_key.to(tl.int64) * v, real, other=0.0) - taken
                else:
                    sums -= taken
                    left -= 1
                j = tl.max(tl.where(moved & (books < j), books, -1), 0)
            if left == 0:
                sums = tl.where(real, 0.0, float("-inf"))
            key, fall = tl.where(moved, new, key), tl.where(moved, new_fall, fall)
            now = tl.where(budget >= g, _argmax(sums, classes, V), now)
            among = tl.where(budget >= g, _argmax(tl.where(its, float("-inf"), sums), classes, V), among)
            g = tl.min(fall, 0)
        out = (f * budgets + budget).to(tl.int64) * apart + i
        tl.store(predicted + out, now.to(tl.int16), budget < budgets)
        tl.store(among_retain + out, among.to(tl.int16), budget < budgets)


@kernel
def _argmax(sums: tl.tensor, classes: tl.tensor, V: tl.constexpr) -> tl.tensor:
    """The first of the largest sums (V,); 0 of numbers that are none."""
    first = tl.min(tl.where(sums == tl.max(sums, 0), classes, V), 0)
    return tl.where(first < V, first, 0)


@kernel
def _first_later(
    lists: tl.tensor,
    falls: tl.tensor,
    books: tl.tensor,
    moved: tl.tensor,
    g: tl.tensor,
    m: tl.tensor,
    r: tl.tensor,
    sets: tl.tensor,
    C: tl.constexpr,
) -> tl.tensor:
    """Where the moved codebooks of an item go at budget g: the first key of their lists (c, r) that falls later.

    returns: keys (C,), -1 where a list ends before, -2 where all of it has fallen, and -1 for what has not moved; and
        the budgets at which these keys fall, 255 for no key.
    """
    new, fall = tl.where(moved, -2, -1), tl.full((C,), 255, tl.int32)
    for at in range(r):
        open_ = new == -2
        listed = tl.load(lists + books * r + at, open_, other=-1).to(tl.int32)
        when = tl.load(falls + (books.to(tl.int64) * m + listed) * sets, open_ & (listed >= 0), other=255).to(tl.int32)
        taken = open_ & (when > g)
        new, fall = tl.where(taken, listed, new), tl.where(taken, when, fall)
    return new, fall


@kernel
def _search(
    x: tl.tensor,
    keys: tl.tensor,
    bias: tl.tensor,
    falls: tl.tensor,
    g: tl.tensor,
    n: tl.tensor,
    m: tl.tensor,
    sets: tl.tensor,
    D_K: tl.constexpr,
) -> tl.tensor:
    """The nearest selectable key of one item that falls after budget g; -1 where there is none.

    x: (d_k,), n apart; keys: (groups, d_k, GROUP); bias: (m,); falls: (m,), so many sets apart.
    """
    best, name = float("-inf"), -1
    for first in range(0, m, SEARCHED):
        which = first + tl.arange(0, SEARCHED)
        score = tl.load(bias + which, which < m, other=float("-inf"))
        for d in tl.static_range(D_K):
            score = tl.fma(
                tl.load(x + d * n), tl.load(keys + place(which, D_K) + d * GROUP, which < m, other=0.0), score
            )
        later = tl.load(falls + which.to(tl.int64) * sets, which < m, other=0).to(tl.int32) > g
        score = tl.where(later, score, float("-inf"))
        top = tl.max(score, 0)
        if top > best:
            best, name = top, tl.min(tl.where(score == top, which, m), 0)
    return name
