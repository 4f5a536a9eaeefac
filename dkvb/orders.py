"""Removal orders, and the rule for N: which key-value pairs are taken away, in which order, and how many.

Made with NumPy alone, so that a request waits for no torch. Every method removes pairs in a fixed order, so one array
describes it: ``position`` (c, m) int64, the place of a pair in that order. The mask at N is ``position < N``; masks are
nested, and the position of a pair that is never removed is NEVER. An order is made from training counts and codes, and
from values where pairs are ranked by these: from no prediction and no test item.

c: codebooks; m: keys of a codebook; n: items.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkvb.errors import BadBudget, ShapeMismatch
from dkvb.seeds import numpy_generator

NEVER = int(np.iinfo(np.int64).max)
"""The position of a pair that no budget removes."""

SCOPES = ("global", "per-codebook")

RANKS = ("activations", "values", "contrast")
"""What pairs are ranked by in Unlearning via Activations: `by_activation`, `by_vote`, `by_contrast`."""


def uva_method(rank: str) -> str:
    """What Unlearning via Activations is called where pairs are ranked by one of the `RANKS`."""
    return "uva" if rank == RANKS[0] else f"uva-{rank}"


CONTRAST = 0.02
"""The weight of `by_contrast` as a rank: the largest of those tried on the digits and CIFAR-10 (docs/decisions/026) by
which each class was still forgotten."""

UNIT = 2.0**-16
"""Of votes: whole multiples of it are ranked and added up, so that sums are exact, whatever their order."""

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
    mass: NDArray[Any] | None = None
    """(c, m) whole numbers of which `smallest` takes a share, where these are not the hits."""

    @property
    def ranked(self) -> NDArray[Any]:
        """(c, m) whole numbers of which `smallest` takes a share."""
        return self.hits if self.mass is None else self.mass

    def mask(self, n: int) -> NDArray[np.bool_]:
        """The pairs that a budget N removes: (c, m) bool."""
        return self.position < n

    def budgets(self, grid: list[float], *, shares: bool, what: str) -> list[int]:
        """The numbers N of a grid, as the function `budgets` finds them among those available."""
        return budgets(grid, self.available, shares=shares, what=what)

    def smallest(self, share: float) -> int:
        """The smallest N whose pairs hold a share of the hits, or of what else the order ranks by.

        share: in [0, 1].
        returns: N; 0 for a share that rounds to no hit, or without hits.
        raises: BadBudget for a share outside [0, 1], or one that the whole order does not hold.
        """
        if not 0 <= share <= 1:
            raise BadBudget(f"share: found {share}, expected a number in [0, 1]")
        position, hits = self.position.ravel(), self.ranked.ravel()
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
    flat = hits.ravel()
    pairs = np.flatnonzero(flat)  # a class activates few pairs: only these are sorted
    counts = flat[pairs]
    order = np.argsort(_narrow(counts.max(initial=0) - counts), kind="stable")
    return _removal(pairs, order, hits, scope)


def _removal(
    pairs: NDArray[np.int64],
    order: NDArray[np.int64],
    hits: NDArray[Any],
    scope: str,
    mass: NDArray[np.int64] | None = None,
) -> RemovalOrder:
    """The removal order of some pairs.

    pairs: (k,) flat indexes of those that are removed, increasing; order: (k,) which of them goes first, second, ...
    """
    shape = hits.shape
    if scope not in SCOPES:
        raise BadBudget(f"scope: found {scope!r}, expected one of {', '.join(SCOPES)}")
    places = np.arange(len(pairs))
    if scope == "per-codebook":
        codebooks = pairs // shape[1]
        order = order[np.argsort(_narrow(codebooks[order]), kind="stable")]
        first = np.searchsorted(codebooks, np.arange(shape[0]))
        places -= first[codebooks[order]]
    position = np.full(shape, NEVER)
    position.ravel()[pairs[order]] = places
    return RemovalOrder(position, hits, int(places.max(initial=-1)) + 1, mass)


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


def votes(hits: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """What pairs add to the logit of a class, over all its training items: hits * max(value, 0), times c.

    hits: (k,) integer, hits of the class on some pairs; values: (k,) float32, the values of these pairs for the class.
    Training keeps the sum of a row of values at 0, so the value for a class is (v - 1) / v of what it exceeds the mean
    of the other classes by: a vote for the class is one against the others.
    """
    return np.asarray(hits * np.maximum(values, 0).astype(np.float64))


def by_vote(hits: NDArray[Any], given: NDArray[np.float64], *, scope: str = "global") -> RemovalOrder:
    """The pairs that vote most for the forget class go first: by its hits times their value for it.

    A share is one of all votes for the class, which `smallest` takes of all its training items together.

    hits: (c, m) integer, hits of the forget class (or the sum over several) on every pair.
    given: (c, m) `votes` for the class (or the sum over several); 0 where there are none.
    scope: as in `by_activation`.
    returns: pairs without a vote, which is less than half a `UNIT`, are never removed; ties go to the lower codebook,
    then the lower key. Available are the others.
    raises: ShapeMismatch; BadBudget for an unknown scope.
    """
    if hits.shape != given.shape:
        raise ShapeMismatch.between("votes (c, m)", given.shape, "hits (c, m)", hits.shape)
    mass = np.rint(given / UNIT).astype(np.int64)
    pairs = np.flatnonzero(mass)
    order = np.argsort(-mass.ravel()[pairs], kind="stable")
    return _removal(pairs, order, hits, scope, mass)


def by_rank(
    rank: str,
    hits: NDArray[Any],
    *,
    scope: str,
    votes: Callable[[], NDArray[np.float64]],
    others: Callable[[], NDArray[Any]],
) -> RemovalOrder:
    """The order of Unlearning via Activations, by one of the `RANKS`.

    hits, scope: as in `by_activation`; votes, others: give what `by_vote` and `by_contrast` are given, where needed.
    raises: BadBudget for an unknown rank or scope.
    """
    if rank not in RANKS:
        raise BadBudget(f"rank: found {rank!r}, expected one of {', '.join(RANKS)}")
    if rank == "values":
        return by_vote(hits, votes(), scope=scope)
    if rank == "contrast":
        return by_contrast(hits, others(), weight=CONTRAST, scope=scope)
    return by_activation(hits, scope=scope)


def by_contrast(hits: NDArray[Any], others: NDArray[Any], *, weight: float, scope: str = "global") -> RemovalOrder:
    """The pairs that most set the forget class apart go first: by its hits less `weight` times those of all others.

    A share is one of the hits that the order can remove at all, not of all hits of the class: so every share can be
    reached, 1 takes each pair of positive contrast and needs no tuning, and at weight 0 the order is `by_activation`'s.

    hits: (c, m) integer, hits of the forget class (or the sum over several) on every pair.
    others: (c, m) integer, hits of all other classes together.
    weight: what a hit of another class costs, in hits of the forget class, 0 or more; to be fixed on other data sets
    than the one it is used on.
    scope: as in `by_activation`.
    returns: pairs that the class never hits, or whose contrast hits - weight * others is 0 or less, are never removed;
    ties go to the lower codebook, then the lower key. Available are the pairs of positive contrast.
    raises: ShapeMismatch; BadBudget for a weight below 0 or not finite, or an unknown scope.
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
    mass = np.zeros(hits.shape, np.int64)
    mass.ravel()[pairs] = flat[pairs]
    return _removal(pairs, np.argsort(-contrast, kind="stable"), hits, scope, mass)


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
