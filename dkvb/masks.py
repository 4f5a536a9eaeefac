"""Masks: which pairs are taken away so that a class is forgotten. NumPy alone: a request waits for no torch.

Both methods remove pairs in a fixed order as their budget N grows, so both are described by one array:
``position`` (c, m) int64, the place of a pair in that order. The mask at N is ``position < N``; the masks are
nested, and a pair that is never removed stands at NEVER.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkvb.errors import BadBudget
from dkvb.seeds import numpy_generator

NEVER = int(np.iinfo(np.int64).max)
"""The position of a pair that no budget removes."""

SCOPES = ("global", "per-codebook")

TAU = 0.99
"""The rule for N, the same for both methods: the smallest N whose masked pairs hold this share of the forget class's
training activations. It reads training codes alone: no prediction, no test item. The share was chosen on the digits and
CIFAR-10 (docs/decisions/010); Tiny-ImageNet had no part in the choice."""


def activation_positions(counts: NDArray[Any], *, scope: str = "global") -> NDArray[np.int64]:
    """Unlearning via Activations: the most activated pairs go first.

    counts: (c, m) integer, hits of the forget class (or the sum over several) on every pair.
    scope: "global" ranks all pairs together; "per-codebook" removes the top N of every codebook.
    returns: (c, m) int64. Pairs with count 0 are never removed; ties go to the lower codebook, then the lower key.
    raises: BadBudget for an unknown scope.
    source: Shah et al., arXiv 2311.15268, Unlearning via Activations.
    """
    if scope not in SCOPES:
        raise BadBudget(f"scope: found {scope!r}, expected one of {', '.join(SCOPES)}")
    flat = counts.ravel()
    pairs = np.flatnonzero(flat)  # a class activates few pairs: only these are sorted
    hits = flat[pairs]
    order = np.argsort(_narrow(hits.max(initial=0) - hits), kind="stable")
    places = np.arange(len(pairs))
    if scope == "per-codebook":
        codebooks = pairs // counts.shape[1]
        order = order[np.argsort(_narrow(codebooks[order]), kind="stable")]
        first = np.searchsorted(codebooks, np.arange(counts.shape[0]))
        places -= first[codebooks[order]]
    position = np.full(counts.shape, NEVER)
    position.ravel()[pairs[order]] = places
    return position


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    """The same non-negative integers in 16 bits where they fit: NumPy sorts these by radix, ten times as fast."""
    return values.astype(np.uint16) if values.max(initial=0) <= np.iinfo(np.uint16).max else values


def activated_pairs(counts: NDArray[Any], *, scope: str = "global") -> int:
    """The largest N_a there is: how many pairs the forget class activates, or at most in one codebook.

    counts: (c, m) integer; scope: as in `activation_positions`.
    """
    activated = counts > 0
    return int(activated.sum() if scope == "global" else activated.sum(1).max())


def example_positions(codes: NDArray[Any], m: int, *, seed: int) -> NDArray[np.int64]:
    """Unlearning via Examples: every pair that an example selects goes with that example.

    codes: (n_f, c) integer, codes of the forget items; a negative code selects nothing.
    seed: draws the one permutation of which every N_e takes the first N_e items.
    returns: (c, m) int64, the place in the permutation of the first example that selects the pair.
    source: Shah et al., arXiv 2311.15268, Unlearning via Examples.
    """
    n, c = codes.shape
    order = np.argsort(numpy_generator(seed, "examples").random_raw(n), kind="stable")
    shuffled = codes[order].astype(np.int64)
    place, codebook = np.nonzero(shuffled >= 0)
    position = np.full((c, m), NEVER)
    np.minimum.at(position.ravel(), np.ravel_multi_index((codebook, shuffled[place, codebook]), (c, m)), place)
    return position


def budgets(grid: list[float], available: int, *, shares: bool, what: str) -> list[int]:
    """The numbers N of a grid.

    grid: absolute numbers, or shares in [0, 1] of what is available (rounded up).
    available: how many there are: activated pairs for UvA, items for UvE.
    what: names them in the error.
    raises: BadBudget when the grid asks for more than there is.
    """
    asked = [math.ceil(round(share * available, 6)) for share in grid] if shares else [int(n) for n in grid]
    if too_many := [n for n in asked if n > available]:
        raise BadBudget(
            f"N = {max(too_many)} is larger than the {available} {what}: give at most {available}, or give shares"
        )
    return asked


def steps_of(position: NDArray[np.int64], grid: list[int]) -> NDArray[np.int64]:
    """The grid step at which each pair is removed.

    position: (c, m) int64.
    grid: increasing numbers N.
    returns: (c, m) int64: the first index g with position < grid[g]; len(grid) when none has.
    """
    return np.searchsorted(np.asarray(grid, dtype=np.int64), position, side="right").astype(np.int64, copy=False)


def smallest_budget(counts: NDArray[Any], share: float) -> int:
    """The smallest N_a whose pairs hold a share of a class's activations: reads training counts only.

    counts: (c, m) integer, hits of the forget class.
    share: in [0, 1].
    """
    held = np.sort(counts[counts > 0])[::-1].cumsum(dtype=np.int64)
    wanted = math.ceil(round(share * int(held[-1]), 6)) if len(held) else 0
    return int((held < wanted).sum()) + 1 if wanted else 0


def smallest_holding(position: NDArray[np.int64], counts: NDArray[Any], share: float) -> int:
    """The smallest N whose masked pairs hold a share of a class's activations, for any order of removal.

    position: (c, m) int64, the place of a pair in the order (`activation_positions`, `example_positions`).
    counts: (c, m) integer, hits of the forget class on training items.
    share: in [0, 1].
    returns: N; 0 for a share that rounds to no activation, or without hits.
    raises: BadBudget where the whole order holds less than the share.
    """
    removable = position != NEVER
    held = np.bincount(position[removable], weights=counts[removable]).cumsum()
    total = int(counts.sum(dtype=np.int64))
    wanted = math.ceil(round(share * total, 6))
    if wanted > (held[-1] if len(held) else 0):
        raise BadBudget(f"share: found {share}, expected at most what all pairs of this order hold")
    return int((held < wanted).sum()) + 1 if wanted else 0


def holding(counts: NDArray[Any], share: float) -> NDArray[np.bool_]:
    """The mask of Unlearning via Activations by that rule.

    counts, share: as in `smallest_budget`.
    returns: (c, m) bool.
    """
    return activation_positions(counts) < smallest_budget(counts, share)


def hit_share(counts: NDArray[Any], mask: NDArray[np.bool_]) -> float:
    """Share of hits that fall on masked pairs, in [0, 1]; NaN without hits.

    counts: (c, m) integer; mask: (c, m) bool.
    """
    total = int(counts.sum(dtype=np.int64))
    return int(counts[mask].sum(dtype=np.int64)) / total if total else math.nan
