"""ROC: how well a threshold on a score tells two kinds of items apart."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkvb.errors import BadSetting, ShapeMismatch


def auc(positives: NDArray[Any], negatives: NDArray[Any]) -> float:
    """Area under the ROC curve: the probability that a positive's score is above a negative's, ties counted half.

    It is computed exactly, by ranks: a constant score gives 0.5. Below 0.5 the score tells the two kinds apart, too,
    the other way round.

    positives, negatives: (n,) and (n2,) numbers; infinities are allowed.
    returns: in [0, 1].
    raises: ShapeMismatch for no scores; BadSetting for NaN.
    source: Mann and Whitney, Annals of Mathematical Statistics 18(1), 1947 (U over its largest value).
    """
    positives, negatives = _checked(positives, "positives"), np.sort(_checked(negatives, "negatives"))
    below, not_above = (np.searchsorted(negatives, positives, side) for side in ("left", "right"))
    return int(below.sum() + not_above.sum()) / (2 * len(positives) * len(negatives))


def tpr_at_fpr(positives: NDArray[Any], negatives: NDArray[Any], *, fpr: float) -> float:
    """The largest share of positives above a threshold that at most a share fpr of the negatives exceeds.

    Thresholds are not interpolated: items of equal score pass together or not at all, and a constant score gives 0
    for every fpr below 1. With fewer than 1 / fpr negatives none may pass, and unrelated scores give more than fpr.

    positives, negatives: as in `auc`.
    fpr: false positive rate, in [0, 1].
    returns: true positive rate, in [0, 1].
    raises: as `auc`; BadSetting for an fpr outside [0, 1].
    source: Carlini et al., arXiv 2112.03570 (an attack is judged where it makes few false accusations).
    """
    if not 0 <= fpr <= 1:
        raise BadSetting(f"fpr: found {fpr}, expected a rate in [0, 1]")
    positives, negatives = _checked(positives, "positives"), np.sort(_checked(negatives, "negatives"))
    passing = int(round(fpr * len(negatives), 6))  # 0.29 * 100 is 28.999999999999996
    if passing == len(negatives):
        return 1.0
    return float((positives > negatives[-1 - passing]).mean())


def _checked(scores: NDArray[Any], name: str) -> NDArray[np.float64]:
    """One or more scores as float64; raises: ShapeMismatch; BadSetting for NaN."""
    if scores.ndim != 1 or not len(scores):
        raise ShapeMismatch(f"{name}: found shape {scores.shape}, expected (n,), one or more scores")
    scores = scores.astype(np.float64)
    if np.isnan(scores).any():
        raise BadSetting(f"{name}: found a score that is NaN, expected numbers; look for NaN in the model's logits")
    return scores
