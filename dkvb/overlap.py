"""Overlap: how far two classes, or two masks, share pairs."""

import math
from typing import Any

from numpy.typing import NDArray

from dkvb.errors import ShapeMismatch


def jaccard(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Pairs that two classes both select, over pairs that either selects; of masks, pairs masked.

    a, b: (c, m) integer, hits of a class on every pair, or (c, m) bool, masks.
    returns: in [0, 1]; NaN when neither selects a pair.
    raises: ShapeMismatch.
    """
    if a.shape != b.shape:
        raise ShapeMismatch.between("the second argument", b.shape, "the first", a.shape)
    first, second = a > 0, b > 0
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else math.nan
