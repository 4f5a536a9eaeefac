"""The sweep: what a growing mask does to every item, budget after budget, exactly.

The masks of a sweep are nested, so an item's key in a codebook changes only when that key falls. Every watched item
keeps its nearest keys in order; its key at a grid step is the first of them that a later step removes, and the running
maximum of their steps along the list gives all changes at once. An item whose whole list falls is searched in full: the
keys are sorted by the step that removes them, and the running minimum over the segments, from the last one backwards,
is its key at every step. Only items whose own key is ever removed are looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dkvb.bottleneck import Bottleneck, decode
from dkvb.codes import BLOCK as TILE
from dkvb.codes import NO_VOTE
from dkvb.metrics import retain_predictions
from dkvb.projection import project

BLOCK = 1024
"""Rows of a distance tile."""

NEIGHBOURS = 16
"""Nearest keys that are kept for an item and codebook."""


def nearest_in_order(x: Tensor, keys: Tensor, *, selectable: Tensor, r: int) -> Tensor:
    """The nearest selectable keys of one codebook, in order: squared L2, ties to the lowest index.

    x: (n, d_k) float32, projected items; keys: (m, d_k) float32; selectable: (m,) bool.
    returns: (n, r) int16; -1 from where the order is not known: past the last selectable key, or in a tie with one that
        did not make the list.
    """
    bias = keys.square().sum(1).mul_(-0.5).masked_fill_(~selectable, -torch.inf)
    found = torch.full((len(x), r), -1, dtype=torch.int16, device=x.device)
    k = min(r + 1, len(keys))
    for rows, out in zip(x.split(TILE), found.split(TILE), strict=True):
        score, index = torch.addmm(bias, rows, keys.T).topk(k)
        last = score[:, r:] if k > r else -torch.inf
        index = index.masked_fill(score <= last, -1).short()
        tied = (score[:, 1:] == score[:, :-1]).any(1)
        if tied.any():  # topk gives ties in no fixed order
            by_index, place = index[tied].sort(1)
            order = score[tied].gather(1, place).argsort(dim=1, descending=True, stable=True)
            index[tied] = by_index.gather(1, order)
        out[:, : min(r, k)] = index[:, :r]
    return found


def codes_by_step(x: Tensor, keys: Tensor, step: Tensor, *, steps: int) -> Tensor:
    """The nearest remaining key at every grid step, in one codebook.

    x: (n, d_k) float32, projected items.
    keys: (m, d_k) float32.
    step: (m,) integer: the grid step that removes a key, ``steps`` for one that stays, -1 for one that was
        never selectable.
    returns: (n, steps) int16: at g, the nearest among the keys with step > g (ties to the lowest index);
        NO_VOTE where none is left.
    """
    order = step.argsort(stable=True)
    order = order[step[order] >= 0]
    sorted_keys = keys[order]
    bias = sorted_keys.square().sum(1).mul_(-0.5)
    edges = torch.searchsorted(step[order], torch.arange(steps + 2, device=x.device)).tolist()
    found = torch.empty(len(x), steps, dtype=torch.int16, device=x.device)
    for rows, out in zip(x.split(BLOCK), found.split(BLOCK), strict=True):
        scores = torch.addmm(bias, rows, sorted_keys.T)
        best = torch.full((len(rows),), -torch.inf, device=x.device)
        code = torch.full((len(rows),), NO_VOTE, device=x.device)
        for g in range(steps, -1, -1):
            if g < steps:
                out[:, g] = code
            lo, hi = edges[g], edges[g + 1]
            if lo == hi:
                continue
            score, index = scores[:, lo:hi].max(1)
            index = order[lo + index]
            wins = (score > best) | ((score == best) & (index < code))
            best = torch.where(wins, score, best)
            code = torch.where(wins, index, code)
    return found


@dataclass(slots=True)
class Items:
    """The items a sweep watches, and where they stand before anything is masked."""

    z: Tensor
    """(n, d_z) float, embeddings."""
    codes: Tensor
    """(n, c) int16, among the selectable keys."""
    logits: Tensor
    """(n, v) float32."""
    neighbours: Tensor
    """(c, n, r) int16, nearest keys in order, -1 from where it is not known."""


def watch(bottleneck: Bottleneck, z: Tensor, codes: Tensor) -> Items:
    """Prepare items for any number of sweeps over one model.

    z: (n, d_z) float; codes: (n, c) int16, the model's own codes of these items.
    memory: 2 * c * NEIGHBOURS bytes an item.
    """
    c = len(bottleneck.keys)
    neighbours = torch.empty(c, len(z), NEIGHBOURS, dtype=torch.int16, device=z.device)
    for j in range(c):
        x = project(z, bottleneck.projection[j])
        neighbours[j] = nearest_in_order(x, bottleneck.keys[j], selectable=bottleneck.selectable[j], r=NEIGHBOURS)
    return Items(z, codes, decode(codes, bottleneck.values), neighbours)


def walk(neighbours: Tensor, step: Tensor, *, steps: int) -> tuple[Tensor, Tensor]:
    """The key at every grid step, from ordered lists of keys.

    neighbours: (n, r) int16, nearest keys in order, -1 from where it is not known.
    step: (m,) integer, the grid step that removes a key.
    returns: (n, steps) int16 codes, and (n,) bool: whose list did not reach to the last step.
    """
    lists = neighbours.long()
    falls = torch.where(lists >= 0, step[lists.clamp(min=0)], -1)
    latest = falls.cummax(1).values.contiguous()
    grid = torch.arange(steps, device=step.device).expand(len(lists), -1).contiguous()
    place = torch.searchsorted(latest, grid, right=True)
    short = place[:, -1] == lists.shape[1]
    return neighbours.gather(1, place.clamp(max=lists.shape[1] - 1)), short


@dataclass(slots=True)
class Changes:
    """Every change of a code in a sweep, ordered by grid step."""

    row: Tensor
    codebook: Tensor
    old: Tensor
    new: Tensor
    ends: list[int]
    """Where each step's changes end."""


def changes(bottleneck: Bottleneck, items: Items, step: Tensor, *, steps: int) -> Changes:
    """Find every change of a code.

    step: (c, m) integer, the grid step that removes a pair, ``steps`` for never (`masks.steps_of`).
    memory: 13 bytes a change; a few changes for every item and codebook whose key falls.
    """
    step = step.masked_fill(~bottleneck.selectable, -1)
    parts: list[tuple[Tensor, ...]] = []
    for j in range(len(bottleneck.keys)):
        own = items.codes[:, j].long()
        falls = ((own >= 0) & (step[j][own] < steps)).nonzero()[:, 0]
        path = torch.empty(len(falls), steps + 1, dtype=torch.int16, device=own.device)
        path[:, 0] = own[falls]
        path[:, 1:], short = walk(items.neighbours[j, falls], step[j], steps=steps)
        if short.any():
            x = project(items.z[falls[short]], bottleneck.projection[j])
            path[short, 1:] = codes_by_step(x, bottleneck.keys[j], step[j], steps=steps)
        # A key that stands keeps its item: rounding in a tile of another shape must not move it.
        stands = step[j][own[falls], None] > torch.arange(steps, device=own.device)
        path[:, 1:] = torch.where(stands, path[:, :1], path[:, 1:])
        at, g = (path[:, 1:] != path[:, :-1]).nonzero(as_tuple=True)
        parts.append(
            (
                g.to(torch.int16),
                falls[at].int(),
                torch.full_like(at, j, dtype=torch.int16),
                path[at, g],
                path[at, g + 1],
            )
        )
    g, row, codebook, old, new = (torch.cat(column) for column in zip(*parts, strict=True))
    order = g.argsort(stable=True)
    ends = torch.searchsorted(g[order], torch.arange(steps, device=g.device), right=True).tolist()
    return Changes(row[order], codebook[order], old[order], new[order], ends)


def sweep(
    bottleneck: Bottleneck, items: Items, step: Tensor, *, steps: int, forget: list[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Predictions of every item at every grid step.

    step: (c, m) integer, the grid step that removes a pair, ``steps`` for never (`masks.steps_of`).
    forget: the forget classes.
    yields: for each grid step, predictions (n,) int64 and predictions among the retain classes (n,) int64.
        Both tensors are updated in place by the next step: reduce them before going on.
    The result equals the plain masked forward pass in codes, and in logits up to summation order.
    """
    found = changes(bottleneck, items, step, steps=steps)
    votes = (items.codes >= 0).sum(1)
    sums = items.logits * votes.clamp(min=1)[:, None]
    predicted, among_retain = sums.argmax(1), retain_predictions(sums, forget)
    begin = 0
    for end in found.ends:
        for lo in range(begin, end, 1 << 20):
            some = slice(lo, min(lo + (1 << 20), end))
            row, j = found.row[some].long(), found.codebook[some].long()
            old, new = found.old[some].long(), found.new[some].long()
            difference = torch.where((new >= 0)[:, None], bottleneck.values[j, new.clamp(min=0)], 0)
            sums.index_add_(0, row, difference.sub_(bottleneck.values[j, old]))
            votes.index_add_(0, row, (new >= 0).long() - 1)
        touched = found.row[begin:end].long().unique()
        mute = touched[votes[touched] == 0]
        sums[mute] = 0
        logits = sums[touched]
        predicted[touched] = logits.argmax(1)
        logits[:, forget] = -torch.inf
        among_retain[touched] = logits.argmax(1)
        yield predicted, among_retain
        begin = end
