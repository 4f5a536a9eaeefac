"""Removal orders, and the rule for N: which key-value pairs are taken away, in which order, and how many.

Made with NumPy alone, so that a request waits for no torch. Every method removes pairs in a fixed order, so one array
describes it: ``position`` (c, m) int64, the place of a pair in that order. The mask at N is ``position < N``; masks are
nested, and the position of a pair that is never removed is NEVER. An order is made from training counts and codes
alone, from no prediction and no test item.

c: codebooks; m: keys of a codebook; n: items.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkvb.errors import BadBudget, ShapeMismatch
from dkvb.seeds import numpy_generator

NEVER = int(np.iinfo(np.int64).max)
"""The position of a pair that no budget removes."""

SCOPES = ("global", "per-codebook")

TAU = 0.99
"""The rule for N, the same for both methods: the smallest N whose masked pairs hold this share of the forget class's
training activations. It reads training codes alone: no prediction, no test item. The share was chosen on the digits and
CIFAR-10 (docs/decisions/010); Tiny-ImageNet had no part in the choice."""


@dataclass(frozen=True, slots=True)
class RemovalOrder:
    """An order in which pairs are removed, and the hits by which a budget N is chosen."""

    position: NDArray[np.int64]
    """(c, m), the place of each pair, NEVER where no budget removes it; pairs with the same place go together."""
    hits: NDArray[Any]
    """(c, m) integer, the training activations of which `smallest` takes a share."""
    available: int
    """The largest N."""

    def mask(self, n: int) -> NDArray[np.bool_]:
        """The pairs that a budget N removes: (c, m) bool."""
        return self.position < n

    def budgets(self, grid: list[float], *, shares: bool, what: str) -> list[int]:
        """The numbers N of a grid, as the function `budgets` finds them among those available."""
        return budgets(grid, self.available, shares=shares, what=what)

    def smallest(self, share: float) -> int:
        """The smallest N whose pairs hold a share of the hits.

        share: in [0, 1].
        returns: N; 0 for a share that rounds to no hit, or without hits.
        raises: BadBudget for a share outside [0, 1], or one that the whole order does not hold.
        """
        if not 0 <= share <= 1:
            raise BadBudget(f"share: found {share}, expected a number in [0, 1]")
        position, hits = self.position.ravel(), self.hits.ravel()
        removable = np.flatnonzero(position != NEVER)  # few pairs: their indexes are faster than a mask of all
        held = np.bincount(position[removable], weights=hits[removable]).cumsum()
        wanted = math.ceil(round(share * int(hits.sum(dtype=np.int64)), 6))
        if wanted > (held[-1] if len(held) else 0):
            raise BadBudget(f"share: found {share}, expected at most what all pairs of this order hold")
        return int((held < wanted).sum()) + 1 if wanted else 0


def by_activation(hits: NDArray[Any], *, scope: str = "global") -> RemovalOrder:
    """Unlearning via Activations: the most activated pairs go first.

    hits: (c, m) integer, hits of the forget class (or the sum over several) on every pair.
    scope: "global" ranks all pairs together; "per-codebook" removes the top N of every codebook.
    returns: pairs without hits are never removed; ties go to the lower codebook, then the lower key. Available are the
    `activated_pairs`.
    raises: BadBudget for an unknown scope.
    source: Shah et al., arXiv 2311.15268, Unlearning via Activations.
    """
    if scope not in SCOPES:
        raise BadBudget(f"scope: found {scope!r}, expected one of {', '.join(SCOPES)}")
    flat = hits.ravel()
    pairs = np.flatnonzero(flat)  # a class activates few pairs: only these are sorted
    counts = flat[pairs]
    order = np.argsort(_narrow(counts.max(initial=0) - counts), kind="stable")
    places = np.arange(len(pairs))
    if scope == "per-codebook":
        codebooks = pairs // hits.shape[1]
        order = order[np.argsort(_narrow(codebooks[order]), kind="stable")]
        first = np.searchsorted(codebooks, np.arange(hits.shape[0]))
        places -= first[codebooks[order]]
    position = np.full(hits.shape, NEVER)
    position.ravel()[pairs[order]] = places
    return RemovalOrder(position, hits, int(places.max(initial=-1)) + 1)


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    """The same non-negative integers in 16 bits where they fit: NumPy sorts these by radix, ten times as fast."""
    return values.astype(np.uint16) if values.max(initial=0) <= np.iinfo(np.uint16).max else values


def by_example(codes: NDArray[Any], hits: NDArray[Any], *, seed: int) -> RemovalOrder:
    """Unlearning via Examples: every pair that an example selects goes with that example.

    codes: (n, c) integer, codes of the forget items; a negative code selects nothing.
    hits: (c, m) integer, hits of these items on every pair.
    seed: draws the one permutation of which every N takes the first N items.
    returns: a pair's place is that of the first example that selects it; all pairs of an example go together. Available
    are the items.
    raises: ShapeMismatch; ValueError for a code that is no key.
    source: Shah et al., arXiv 2311.15268, Unlearning via Examples.
    """
    n, c = codes.shape
    if len(hits) != c:
        raise ShapeMismatch.between("hits (c, m)", hits.shape, "codes (n, c)", codes.shape)
    order = np.argsort(numpy_generator(seed, "examples").random_raw(n), kind="stable")
    shuffled = codes[order].astype(np.int64)
    place, codebook = np.nonzero(shuffled >= 0)
    position = np.full(hits.shape, NEVER)
    np.minimum.at(position.ravel(), np.ravel_multi_index((codebook, shuffled[place, codebook]), hits.shape), place)
    return RemovalOrder(position, hits, n)


def by_contrast(hits: NDArray[Any], others: NDArray[Any], *, weight: float) -> RemovalOrder:
    """The pairs that most set the forget class apart go first: by its hits less `weight` times those of all others.

    A share is one of the hits that the order can remove at all, not of all hits of the class: so every share can be
    reached, 1 takes each pair of positive contrast and needs no tuning, and at weight 0 the order is `by_activation`'s.

    hits: (c, m) integer, hits of the forget class (or the sum over several) on every pair.
    others: (c, m) integer, hits of all other classes together.
    weight: what a hit of another class costs, in hits of the forget class, 0 or more; to be fixed on other data sets
    than the one it is used on.
    returns: pairs that the class never hits, or whose contrast hits - weight * others is 0 or less, are never removed;
    ties go to the lower codebook, then the lower key. Available are the pairs of positive contrast.
    raises: ShapeMismatch; BadBudget for a weight below 0 or not finite.
    """
    if hits.shape != others.shape:
        raise ShapeMismatch.between("others (c, m)", others.shape, "hits (c, m)", hits.shape)
    if not 0 <= weight < math.inf:
        raise BadBudget(f"weight: found {weight}, expected a number, 0 or more")
    flat = hits.ravel()
    pairs = np.flatnonzero(flat)  # a class activates few pairs
    # Rounded, or 3 - 0.1 * 30 and its like would tie, or vanish, only as binary fractions permit.
    contrast = np.round(flat[pairs].astype(np.float64) - weight * others.ravel()[pairs].astype(np.float64), 6)
    pairs, contrast = pairs[contrast > 0], contrast[contrast > 0]
    position = np.full(hits.shape, NEVER)
    position.ravel()[pairs[np.argsort(-contrast, kind="stable")]] = np.arange(len(pairs))
    return RemovalOrder(position, np.where(position < NEVER, hits, 0), len(pairs))


def activated_pairs(hits: NDArray[Any], *, scope: str = "global") -> int:
    """The largest N of `by_activation`: how many pairs the forget class activates, in all or in a single codebook.

    hits: (c, m) integer; scope: as in `by_activation`.
    """
    activated = hits > 0
    return int(activated.sum() if scope == "global" else activated.sum(1).max(initial=0))


def budgets(grid: list[float], available: int, *, shares: bool, what: str) -> list[int]:
    """The numbers N of a grid.

    grid: absolute numbers, or shares in [0, 1] of what is available (rounded up).
    available: the largest N: activated pairs for UvA, items for UvE.
    what: names what is available in the error.
    raises: BadBudget when the grid asks for more than there is.
    """
    numbers = [math.ceil(round(share * available, 6)) for share in grid] if shares else [int(n) for n in grid]
    if too_many := [n for n in numbers if n > available]:
        raise BadBudget(
            f"N = {max(too_many)} is larger than the {available} {what}: give at most {available}, or give shares"
        )
    return numbers


def budget_indexes(position: NDArray[np.int64], grid: list[int]) -> NDArray[np.int64]:
    """The budget index at which each pair is removed.

    position: (c, m) int64.
    grid: increasing numbers N.
    returns: (c, m) int64: the first index g with position < grid[g]; len(grid) where there is none.
    """
    return np.searchsorted(np.asarray(grid, dtype=np.int64), position, side="right").astype(np.int64, copy=False)


def hit_share(hits: NDArray[Any], mask: NDArray[np.bool_]) -> float:
    """Share of hits that fall on masked pairs, in [0, 1]; NaN without hits.

    hits: (c, m) integer; mask: (c, m) bool.
    """
    total = int(hits.sum(dtype=np.int64))
    return int(hits[mask].sum(dtype=np.int64)) / total if total else math.nan
