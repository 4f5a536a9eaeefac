"""Overlap: how far classes share pairs, and what a mask takes from the others. Pure functions of counts."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.orders import hit_share


def jaccard(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Pairs that two classes both select, over pairs that either selects; of masks, pairs masked.

    a, b: (c, m) integer, hits of a class on every pair, or (c, m) bool, masks.
    returns: in [0, 1]; NaN when neither selects a pair.
    raises: ShapeMismatch.
    """
    _same_shape(a, b)
    one, other = a > 0, b > 0
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else math.nan


def weighted_overlap(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Mean over codebooks of the probability that two classes share: sum over the keys of min(p_a, p_b).

    p is a class's hits divided by its hits in that codebook.
    a, b: (c, m) integer, hits of a class on every pair.
    returns: in [0, 1], 1 for classes spread alike in every codebook. A codebook in which a class has no hits shares
    nothing; NaN where a class has none at all.
    raises: ShapeMismatch.
    """
    _same_shape(a, b)
    if not a.any() or not b.any():
        return math.nan
    return float(np.minimum(_spread(a), _spread(b)).sum(1).mean())


def _spread(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Hits as shares of their codebook's, zeros where it has none: (c, m)."""
    spread: NDArray[np.float64] = counts / np.maximum(counts.sum(1, dtype=np.int64, keepdims=True), 1)
    return spread


def exclusivity(own: NDArray[Any], total: NDArray[Any]) -> float:
    """Share of a class's hits on pairs that no other class hits.

    own: (c, m) integer, hits of the class on every pair.
    total: (c, m) integer, hits of all classes, this one among them.
    returns: in [0, 1]; NaN without hits.
    raises: ShapeMismatch; BadSetting where a class has more hits than all have.
    """
    _same_shape(own, total)
    if (own > total).any():
        raise BadSetting(
            "total: found fewer hits than the class alone has, expected the hits of all classes with its own"
        )
    return hit_share(own, own == total)


def collateral(counts: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of every class's hits that lie in a mask.

    The mean over a class's items of the share of their codebooks whose first choice is masked, when every codebook
    voted for every item; where some did not, the mean over its votes.
    counts: (classes, c, m) integer; mask: (c, m) bool.
    returns: (classes,) float64 in [0, 1]; NaN for a class without hits.
    raises: ShapeMismatch.
    """
    if counts.shape[1:] != mask.shape:
        raise ShapeMismatch.between("mask (c, m)", mask.shape, "counts (classes, c, m)", counts.shape)
    return np.array([hit_share(of_class, mask) for of_class in counts], np.float64)


def spearman(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Rank correlation, such as of the classes' collateral with their loss of accuracy.

    x, y: (n,) numbers; an item of which either is NaN is left out.
    returns: in [-1, 1], ties at their mean rank; NaN where x or y has no two different numbers.
    raises: ShapeMismatch.
    """
    _same_shape(x, y)
    known = ~(np.isnan(x) | np.isnan(y))
    x, y = x[known], y[known]
    if len(x) < 2 or (x == x[0]).all() or (y == y[0]).all():
        return math.nan
    from scipy import stats  # takes longer to load than most questions take to answer

    return float(stats.spearmanr(x, y).statistic)


def _same_shape(one: NDArray[Any], other: NDArray[Any]) -> None:
    if one.shape != other.shape:
        raise ShapeMismatch.between("the second argument", other.shape, "the first", one.shape)
