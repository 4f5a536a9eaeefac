"""Choosing what is taken away without a label: rules that read training counts alone. NumPy alone, as `dkvb.masks`.

The first rule is `dkvb.masks.smallest_budget`: the fewest of a class's most activated pairs that hold a share of its
hits. The second, here, ranks pairs by contrast, the hits of the forget class less `weight` times those of all others.
`share` and `weight` are to be fixed on other data sets than the one they are used on.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkvb.errors import BadBudget, ShapeMismatch
from dkvb.masks import NEVER


def contrast_positions(own: NDArray[Any], others: NDArray[Any], *, weight: float) -> NDArray[np.int64]:
    """The pairs that most set the forget class apart go first.

    own: (c, m) integer, hits of the forget class (or the sum over several) on every pair.
    others: (c, m) integer, hits of all other classes together.
    weight: what a hit of another class costs, in hits of the forget class, 0 or more; at 0 the order is that of
    `activation_positions`.
    returns: (c, m) int64, places as in `dkvb.masks`. Pairs that the class never hits, or whose contrast
    own - weight * others is 0 or less, are never removed; ties go to the lower codebook, then the lower key.
    raises: ShapeMismatch; BadBudget for a weight below 0 or not finite.
    """
    if own.shape != others.shape:
        raise ShapeMismatch.between("others (c, m)", others.shape, "own (c, m)", own.shape)
    if not 0 <= weight < math.inf:
        raise BadBudget(f"weight: found {weight}, expected a number, 0 or more")
    flat = own.ravel()
    pairs = np.flatnonzero(flat)  # a class activates few pairs
    # Rounded, or 3 - 0.1 * 30 and its like would tie, or vanish, only as binary fractions permit.
    contrast = np.round(flat[pairs].astype(np.float64) - weight * others.ravel()[pairs].astype(np.float64), 6)
    pairs, contrast = pairs[contrast > 0], contrast[contrast > 0]
    position = np.full(own.shape, NEVER)
    position.ravel()[pairs[np.argsort(-contrast, kind="stable")]] = np.arange(len(pairs))
    return position


def contrast_budget(own: NDArray[Any], others: NDArray[Any], *, weight: float, share: float) -> int:
    """The smallest N of that order whose pairs hold a share of the hits that the order can remove at all.

    Of these, not of all the class's hits: so every share can be reached, 1 takes each pair of positive contrast and
    needs no tuning, and at weight 0 the rule is `smallest_budget`.

    own, others, weight: as in `contrast_positions`.
    share: in [0, 1].
    returns: N, 0 when no pair has positive contrast.
    raises: ShapeMismatch; BadBudget for a weight or share that cannot be.
    """
    if not 0 <= share <= 1:
        raise BadBudget(f"share: found {share}, expected a number in [0, 1]")
    position = contrast_positions(own, others, weight=weight).ravel()
    removed = np.flatnonzero(position < NEVER)
    held = own.ravel()[removed[np.argsort(position[removed])]].cumsum(dtype=np.int64)
    wanted = math.ceil(round(share * int(held[-1]), 6)) if len(held) else 0
    return int((held < wanted).sum()) + 1 if wanted else 0


def regret(best: float, chosen: float) -> float:
    """What a rule loses by reading no label.

    best: the score, such as ToW, at the best N that test labels find in the grid.
    chosen: the score at the rule's N.
    returns: best - chosen; below 0 only where the rule's N is better than all of the grid.
    """
    return best - chosen
