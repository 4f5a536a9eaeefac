"""Overlap: how far classes, or masks, share pairs. Pure functions of counts.

c: codebooks; m: pairs of a codebook.
"""

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
    first, second = a > 0, b > 0
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else math.nan


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


def exclusivity(hits: NDArray[Any], total: NDArray[Any]) -> float:
    """Share of a class's hits on pairs that no other class hits.

    hits: (c, m) integer, hits of the class on every pair.
    total: (c, m) integer, hits of all classes, this one among them.
    returns: in [0, 1]; NaN without hits.
    raises: ShapeMismatch; BadSetting where a class has more hits than all have.
    """
    _same_shape(hits, total)
    if (hits > total).any():
        raise BadSetting(
            "total: found fewer hits than the class alone has, expected the hits of all classes with its own"
        )
    return hit_share(hits, hits == total)


def _same_shape(first: NDArray[Any], second: NDArray[Any]) -> None:
    if first.shape != second.shape:
        raise ShapeMismatch.between("the second argument", second.shape, "the first", first.shape)
