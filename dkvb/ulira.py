"""U-LiRA: can unlearned heads be told from heads that never saw an item, by a test made for each item?"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.roc import auc, tpr_at_fpr
from dkvb.statistics import Interval

FPR = 0.001
"""The false positive rate at which `ulira` reports the true positive rate."""

VARIANCE_FLOOR = 1e-6
"""Least variance of a Gaussian, in nats squared: a spread below a thousandth of a nat is taken for that much."""


WIDTH = 2.6
"""Standard errors to each side of an interval."""


class ULira(NamedTuple):
    """How well the likelihood ratio tells unlearned heads (the positives) from oracles; 0.5 or FPR for not at all."""

    auc: float
    """Over all pairs of held-out head and item."""
    tpr: float
    """True positive rate at a false positive rate of FPR, over the same pairs."""
    item_auc: float
    """Mean over the items of the AUC of the held-out heads at that item alone."""


def ulira(unlearned: Tensor, oracle: Tensor, *, folds: int = 4) -> ULira:
    """Likelihood-ratio attack on unlearning: for every item one Gaussian of each kind of head's margins.

    Every fold holds out each folds-th head of both kinds, fits both Gaussians of every item to the other heads, and
    scores the held-out heads' margins by log N(unlearned) - log N(oracle). Rates are taken within a fold and averaged
    over the folds. Scores of different folds are never compared: a head that one fold scores is fitted by the others,
    and the AUC of an item over pooled leave-one-out scores of equal heads was 0.45 with 64 heads of each kind. Within
    a fold both kinds are scored by the same Gaussians, and equal heads give an AUC of 0.5 in expectation, however
    few they are and however alike their items. With as many folds as heads, one pair of heads is left out at a time.

    The variance of a Gaussian is that of its sample, VARIANCE_FLOOR at least. Heads that do not vary are told apart
    by any difference, however small. An AUC below 0.5 means nothing more: the attack has learned the sign.

    unlearned: (N, n) float, margins of n items that were forgotten, under N unlearned heads, as `dkvb.metrics.margins`
    gives them in nats; 64 heads or more for a result to report, 2 to compute one.
    oracle: (M, n) float, under M heads that never saw these items. Heads that share a seed belong in the same row.
    folds: 2 or more; as many as there are heads of the rarer kind, when those are fewer.
    returns: see `ULira`. A tpr over fewer than 1 / FPR oracle margins a fold is above FPR by chance.
    raises: ShapeMismatch for fewer than 2 heads of a kind, no items or other items; BadSetting for the rest.
    source: Hayes et al., arXiv 2403.01218, after Carlini et al., arXiv 2112.03570; why not to pool: Airola et al.,
    Computational Statistics and Data Analysis 55(4), 2011.
    """
    kinds, folds = _checked(unlearned, oracle, folds)
    return ULira(*map(float, np.mean([_rates(kinds, fold, folds) for fold in range(folds)], axis=0)))


def auc_interval(unlearned: Tensor, oracle: Tensor, *, paired: bool, folds: int = 4) -> Interval:
    """The AUC of `ulira` with an interval over heads: what it says of other heads like these.

    The standard error is that of a two-sample statistic whose units are heads with all their items, as the items of a
    head are not independent. It knows nothing of what the fitted Gaussians owe to their heads, which serve other folds
    as held-out ones, so the interval is WIDTH standard errors to each side: on equal heads, 32 and 64 of each kind,
    that held 0.5 in 92 to 96 % of trials, where 1.96 held it in 81 to 89 %. Items are these very ones: the interval
    says nothing of others.

    unlearned, oracle, folds: as of `ulira`; where a fold has one head of a kind the bounds are 0 and 1.
    paired: whether the heads of a row share what they were trained on, or were drawn independently of each other.
    returns: the mean is the AUC of `ulira`; the bounds lie in [0, 1].
    raises: as `ulira`; ShapeMismatch where paired heads are not as many of each kind.
    source: DeLong, DeLong and Clarke-Pearson, Biometrics 44(3), 1988, with heads in place of items.
    """
    kinds, folds = _checked(unlearned, oracle, folds)
    if paired and len(unlearned) != len(oracle):
        raise ShapeMismatch.between("oracle (M, n)", oracle.shape, "unlearned (N, n)", unlearned.shape)
    means, variances = [], []
    for fold in range(folds):
        positives, negatives = _ratios(kinds, fold, folds)
        pairs = np.array([[auc(one, other) for other in negatives] for one in positives])  # of each two heads
        of_positives, of_negatives = pairs.mean(1), pairs.mean(0)
        parts = [of_positives + of_negatives] if paired else [of_positives, of_negatives]
        means.append(pairs.mean())
        variances.append(sum(part.var(ddof=1) / len(part) if len(part) > 1 else math.inf for part in parts))
    mean, half = float(np.mean(means)), WIDTH * math.sqrt(sum(variances)) / folds
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def _checked(unlearned: Tensor, oracle: Tensor, folds: int) -> tuple[list[NDArray[np.float64]], int]:
    """Margins of both kinds in double precision, and no more folds than heads of the rarer one."""
    if unlearned.ndim != 2 or unlearned.shape[1:] != oracle.shape[1:] or not unlearned.shape[1]:
        raise ShapeMismatch.between("unlearned (N, n)", unlearned.shape, "oracle (M, n)", oracle.shape)
    fewest = min(len(unlearned), len(oracle))
    if fewest < 2:
        raise ShapeMismatch(
            f"unlearned (N, n) and oracle (M, n): found {len(unlearned)} and {len(oracle)} heads, expected 2 or more of"
            " each: those that are scored are not those that are fitted"
        )
    kinds = [kind.double().cpu().numpy() for kind in (unlearned, oracle)]
    if folds < 2 or not all(np.isfinite(kind).all() for kind in kinds):
        raise BadSetting(f"ulira: found {folds} folds, or a margin that is not finite; expected 2 or more, and finite")
    return kinds, min(folds, fewest)


def _rates(kinds: list[NDArray[np.float64]], fold: int, folds: int) -> tuple[float, float, float]:
    """The three rates of `ULira` over the heads held out by one fold."""
    positives, negatives = _ratios(kinds, fold, folds)
    of_items = [auc(*item) for item in zip(positives.T, negatives.T, strict=True)]
    pooled = positives.ravel(), negatives.ravel()
    return auc(*pooled), tpr_at_fpr(*pooled, fpr=FPR), float(np.mean(of_items))


def _ratios(kinds: list[NDArray[np.float64]], fold: int, folds: int) -> list[NDArray[np.float64]]:
    """Log likelihood ratios of the heads held out by one fold, of both kinds: (heads, n) each."""
    held = slice(fold, None, folds)
    fitted = [np.delete(kind, held, axis=0) for kind in kinds]
    gaussians = [(kind.mean(0), np.maximum(kind.var(0), VARIANCE_FLOOR)) for kind in fitted]
    ratios = []
    for kind in kinds:
        as_unlearned, as_oracle = (_log_likelihood(kind[held], *gaussian) for gaussian in gaussians)
        ratios.append(as_unlearned - as_oracle)
    return ratios


def _log_likelihood(x: NDArray[np.float64], mean: Any, variance: Any) -> NDArray[np.float64]:
    """Log likelihood under a Gaussian, up to a constant: (heads, n)."""
    likelihood: NDArray[np.float64] = -(np.square(x - mean) / variance + np.log(variance)) / 2
    return likelihood
