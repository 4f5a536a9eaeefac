"""Metrics: pure functions of predictions, logits and labels.

n: items; v: classes; models and steps: one model per forget set, at each budget of a grid.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.tiles import kernel

MARGIN_LIMIT = 100.0
"""Margins are clipped to plus and minus this, so that a class that is ruled out has a finite margin."""

SMOOTHING = 1e-5
"""What `klom` adds to every bin's share."""


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Share of items predicted right, in [0, 1]; NaN for no items.

    predictions, labels: (n,) integer.
    """
    return (predictions == labels).double().mean().item() if len(labels) else math.nan


def regret(best: float, chosen: float) -> float:
    """What a rule for N loses by reading no test label.

    best: the score, such as ToW, at the best N that test labels find in the grid.
    chosen: the score at the rule's N.
    returns: best - chosen; below 0 only where the rule's N is better than all of the grid.
    """
    return best - chosen


def retain_predictions(logits: Tensor, forget: list[int]) -> Tensor:
    """Predictions among the retain classes only.

    Removing a class raises retain accuracy by itself; this argmax has no such gift.
    logits: (n, v) float; forget: the forget classes.
    returns: (n,) int64.
    """
    kept = logits.clone()
    kept[:, forget] = -torch.inf
    return kept.argmax(1)


def right_by_class(predictions: Tensor, labels: Tensor, v: int) -> NDArray[np.int64]:
    """How many items of each class are predicted right, for many models at once.

    predictions: (models, budgets, n) int16; labels: (n,) int64, negative for what is no item.
    returns: (models, budgets, v) int64.
    """
    right = np.zeros((*predictions.shape[:2], v), np.int64)
    _count_right(predictions.numpy(), labels.numpy(), right)
    return right


def changed(
    predictions: Tensor, labels: Tensor, *, v: int, forget: Sequence[Sequence[int]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many items of the other classes each model loses and gains against its first budget, item by item.

    predictions: (models, budgets, n) int16; labels: (n,) int64 below v, negative for what is no item.
    forget: the forget classes of each model.
    returns: lost and gained (models, budgets) int64: right at the first budget and wrong now, and the other way round.
    """
    lost, gained = (np.zeros(predictions.shape[:2], np.int64) for _ in range(2))
    stays = np.ones((len(forget), v), np.bool_)
    for f, classes in enumerate(forget):
        stays[f, list(classes)] = False
    _count_changed(predictions.numpy(), labels.numpy(), stays, lost, gained)
    return lost, gained


def item_change(before: Tensor, after: Tensor, *, labels: Tensor, forget: int) -> NDArray[np.int8]:
    """What each item of the other classes loses or gains from one prediction to another.

    before, after: (n,) integer, predictions; labels: (n,) int64, negative for what is no item.
    returns: (n,) int8: -1 where it was right and is wrong, 1 the other way round, 0 for all others.
    """
    change = (after == labels).to(torch.int8) - (before == labels).to(torch.int8)
    change[(labels < 0) | (labels == forget)] = 0
    return change.numpy()


@dataclass(frozen=True, slots=True)
class ClassAccuracies:
    """Accuracies of models that were to forget some classes; NaN over no items."""

    forget: NDArray[np.float64]
    """(models,) on the items of these classes."""
    retain: NDArray[np.float64]
    """(models,) on the others."""
    retain_among_retain: NDArray[np.float64]
    """(models,) on the others, where only the retain classes may be predicted."""
    by_class: NDArray[np.float64]
    """(models, v)."""


def class_accuracies(
    right: NDArray[np.int64], right_among_retain: NDArray[np.int64], *, sizes: NDArray[np.int64], forget: Sequence[int]
) -> ClassAccuracies:
    """Accuracies from the items of each class that are predicted right.

    right: (models, v), see `right_by_class`; right_among_retain: the same of predictions among the retain classes.
    sizes: (v,) items of each class; forget: the forget classes.
    """
    gone = np.isin(np.arange(len(sizes)), forget)
    with np.errstate(invalid="ignore", divide="ignore"):
        forgot = right[:, gone].sum(1) / sizes[gone].sum()
        retain, among_retain = (part[:, ~gone].sum(1) / sizes[~gone].sum() for part in (right, right_among_retain))
        return ClassAccuracies(forgot, retain, among_retain, right / sizes)


@kernel
def _count_changed(predictions: Any, labels: Any, stays: Any, lost: Any, gained: Any) -> None:
    for f in range(predictions.shape[0]):
        for g in range(predictions.shape[1]):
            for i in range(len(labels)):
                if labels[i] >= 0 and stays[f, labels[i]]:
                    was, now = predictions[f, 0, i] == labels[i], predictions[f, g, i] == labels[i]
                    lost[f, g] += was and not now
                    gained[f, g] += now and not was


@kernel
def _count_right(predictions: Any, labels: Any, right: Any) -> None:
    for f in range(predictions.shape[0]):
        for g in range(predictions.shape[1]):
            for i in range(len(labels)):
                if labels[i] >= 0 and predictions[f, g, i] == labels[i]:
                    right[f, g, labels[i]] += 1


def neighbour_damage(before: NDArray[Any], after: NDArray[Any], *, forget: Sequence[int]) -> tuple[float, int]:
    """The largest loss of accuracy among the classes that were to stay, and the class that had it.

    before, after: (v,) float, accuracy of every class in [0, 1], NaN for a class without items: it is never the worst.
    forget: the forget classes.
    returns: before - after in [-1, 1], negative where every class gained; the lowest class of those that tie. NaN and
    -1 when no class is left to compare.
    raises: ShapeMismatch.
    """
    if before.shape != after.shape:
        raise ShapeMismatch.between("after (v,)", after.shape, "before (v,)", before.shape)
    loss = np.asarray(before, np.float64) - after
    loss[list(forget)] = math.nan
    if np.isnan(loss).all():
        return math.nan, -1
    worst = int(np.nanargmax(loss))
    return float(loss[worst]), worst


def tow(unlearned: Sequence[float], oracle: Sequence[float]) -> float:
    """Tug of war: how near the unlearned model's accuracies lie to the oracle's, in [0, 1]; 1 where all are equal.

    unlearned, oracle: accuracies in [0, 1] on the same splits: forget train, retain train and test.
    raises: ShapeMismatch when there are more of one than of the other, or none.
    source: Zhao et al., arXiv 2406.01257.
    """
    if len(unlearned) != len(oracle) or not unlearned:
        raise ShapeMismatch.between("unlearned (splits,)", [len(unlearned)], "oracle (splits,)", [len(oracle)])
    return math.prod(1 - abs(u - o) for u, o in zip(unlearned, oracle, strict=True))


def aus(*, retain_before: float, retain_after: float, forget_after: float) -> float:
    """Adaptive unlearning score of a removed class: 1 for a class forgotten at no cost to the others.

    retain_before, retain_after, forget_after: test accuracies in [0, 1]; before is the original model.
    returns: in [0, 2], above 1 only where the retain accuracy rose.
    source: Cotogni et al., arXiv 2312.02052.
    """
    return (1 - (retain_before - retain_after)) / (1 + forget_after)


def js_divergence(p: Tensor, q: Tensor) -> float:
    """Mean over items of the Jensen-Shannon divergence of two models' predictions, over ln 2.

    Within an item it is summed over the classes, so that it does not shrink as classes are added.
    p, q: (n, v) float, logits; -inf rules a class out.
    returns: in [0, 1], 0 for equal predictions, 1 for predictions that share no class; NaN for no items, or where an
    item has every class ruled out. Computed in float64.
    raises: ShapeMismatch.
    """
    if p.shape != q.shape:
        raise ShapeMismatch.between("q (n, v)", q.shape, "p (n, v)", p.shape)
    p, q = p.double().softmax(1), q.double().softmax(1)
    # By entropies, in which a class without probability is 0; in p log(p / m) it is 0 / 0.
    both = (p + q) / 2
    bits = (torch.xlogy(p, p) + torch.xlogy(q, q)) / 2 - torch.xlogy(both, both)
    return bits.sum(1).clamp(min=0).mean().item() / math.log(2)


def calibration_error(logits: Tensor, labels: Tensor, *, bins: int = 15) -> float:
    """Expected calibration error: how far the confidence of predictions lies from how often they are right.

    Predictions are put into bins of equal width by the probability of the predicted class; the difference between mean
    confidence and accuracy of a bin counts with the bin's share of the items.
    logits: (n, v) float; -inf rules a class out.
    labels: (n,) integer in [0, v).
    returns: in [0, 1], 0 for calibrated predictions; NaN for no items.
    raises: ShapeMismatch; BadSetting for no bins.
    source: Guo et al., arXiv 1706.04599 (after Naeini et al., AAAI 2015).
    """
    if labels.shape != logits.shape[:1]:
        raise ShapeMismatch.between("labels (n,)", labels.shape, "logits (n, v)", logits.shape)
    if bins < 1:
        raise BadSetting(f"bins: found {bins}, expected 1 or more")
    if not len(labels):
        return math.nan
    confidence, predicted = logits.double().softmax(1).max(1)
    places = (confidence * bins).long().clamp(max=bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64)
    gaps.index_add_(0, places, confidence - (predicted == labels).double())
    return float(gaps.abs().sum()) / len(labels)


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """How far the logit of each item's class is above all others together: its log odds.

    logits: (n, v) float; -inf rules a class out.
    labels: (n,) integer in [0, v).
    returns: (n,) float64 in nats, logit of the label minus logsumexp of the other logits, clipped to +-MARGIN_LIMIT;
    NaN where every class is ruled out.
    raises: ShapeMismatch.
    source: Carlini et al., arXiv 2112.03570 (the scaled logit of LiRA).
    """
    if labels.shape != logits.shape[:1]:
        raise ShapeMismatch.between("labels (n,)", labels.shape, "logits (n, v)", logits.shape)
    logits, label = logits.double(), labels.long()[:, None]
    others = logits.scatter(1, label, -torch.inf).logsumexp(1)
    return (logits.gather(1, label)[:, 0] - others).clamp(-MARGIN_LIMIT, MARGIN_LIMIT)


def klom(unlearned: Tensor, oracle: Tensor, *, bins: int = 20) -> Tensor:
    """KL divergence of each item's margins: are they spread over unlearned models as over oracles?

    Each item has bins of its own, equally wide between the least and the greatest of its margins over both kinds of
    model. SMOOTHING is added to each bin's share, of both kinds, before they are scaled to sum to 1: equal histograms
    give exactly 0, none gives less, and a bin that no oracle reaches costs at most ln(1 / SMOOTHING), 11.5 nats.
    Two samples of the same models do not give 0: read the score beside that of one half of the oracles to the other.

    unlearned: (N, n) float, margins of n items under N unlearned models, finite, as `margins` gives them.
    oracle: (N2, n) float, under N2 models that never saw the forget set.
    bins: 1 or more.
    returns: (n,) float64, KL(unlearned || oracle) in nats.
    raises: ShapeMismatch; BadSetting for no bins or a margin that is not finite.
    source: Georgiev et al., arXiv 2410.23232 (whose code bounds the oracle's shares from below by 1e-5 instead).
    """
    if unlearned.ndim != 2 or unlearned.shape[1:] != oracle.shape[1:] or not len(unlearned) or not len(oracle):
        raise ShapeMismatch.between("unlearned (N, n)", unlearned.shape, "oracle (N2, n)", oracle.shape)
    margins_of_both = torch.cat([unlearned, oracle]).double()
    if bins < 1 or not margins_of_both.isfinite().all():
        raise BadSetting(
            f"klom: found {bins} bins, or a margin that is not finite; expected 1 or more, and finite ones"
        )
    low, high = margins_of_both.amin(0), margins_of_both.amax(0)
    width = (high - low) / bins
    width[width == 0] = 1  # all margins are equal: all fall into the first bin
    places = ((margins_of_both - low) / width).clamp(max=bins - 1).long()
    p, q = (_shares(kind, bins) for kind in places.split([len(unlearned), len(oracle)]))
    return torch.xlogy(p, p / q).sum(1)


def _shares(places: Tensor, bins: int) -> Tensor:
    """Smoothed histogram of each column: (N, n) int64 in [0, bins) to (n, bins) float64."""
    models, n = places.shape
    counts = torch.zeros(n, bins, dtype=torch.float64, device=places.device)
    counts.scatter_add_(1, places.T, counts.new_ones(n, models))
    return (counts / models + SMOOTHING) / (1 + bins * SMOOTHING)
