"""Attacks on what a model's file holds, beside those on its answers (`jobs.comparison.attacks`)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb import membership, metrics
from dkvb.roc import auc
from jobs.comparison.attacks import LOWEST, Attacked
from jobs.comparison.judge import Judge, Model
from jobs.step import SPLITS

Scores = Mapping[tuple[str, str], float]
"""By attack and measure."""


def file_attacks(judge: Judge, models: Sequence[Model[Any]], k: int, *, seed: int) -> list[Attacked]:
    """Attack every model of one head, and its oracle; k: the forget class."""
    oracle = measured(judge, judge.oracle, k, seed=seed)
    rows = []
    for model in models:
        scores = oracle if model is judge.oracle else measured(judge, model, k, seed=seed)
        rows += [Attacked(model.head.name, model.method, *key, scores[key], oracle.get(key)) for key in scores]
    return rows


def measured(judge: Judge, model: Model[Any], k: int, *, seed: int) -> Scores:
    """What each attack measures of one model."""
    return dict([*row_sums(judge, model, k), *entropy_among(judge, model, k, seed=seed)])


def row_sums(judge: Judge, model: Model[Any], k: int) -> Iterator[tuple[tuple[str, str], float]]:
    """Restore the class's column as minus the sum of all others: the accuracy on its test items that is then back.

    Softmax training that begins at zero keeps the sum of every row of weights at zero, so a column that was emptied is
    still there in the others. A trained head that nothing was done to is the same after it; one that is solved for is
    not, as its rows have other sums, and there this restores nothing.
    """
    rows = torch.from_numpy(np.flatnonzero(judge.forget["test"]))
    if not len(rows):
        return
    weights = model.weights.clone()
    weights[:, k] -= weights.sum(1)
    logits = model.head.logits(model.features["test"].take(rows), weights)
    yield ("row sums", "accuracy restored"), metrics.accuracy(logits.argmax(1), judge.labels["test"][rows])


def entropy_among(judge: Judge, model: Model[Any], k: int, *, seed: int) -> Iterator[tuple[tuple[str, str], float]]:
    """Membership by the entropy among the other classes: the class's own logit may be gone, the others still tell."""
    members, others = (_among(judge, model, split, k) for split in SPLITS)
    if min(len(members), len(others)) < 2:
        return
    found = membership.entropy_attack(members, others, seed=seed)
    yield ("entropy among others", "auc"), found.auc
    yield ("entropy among others", "balanced accuracy"), found.balanced_accuracy
    yield ("entropy among others", "tpr at 1 % fpr"), found.tpr


def _among(judge: Judge, model: Model[Any], split: str, k: int) -> Tensor:
    """Logits of the items to forget, or that are like them, without the class's own: (n, v - 1)."""
    logits = model.logits[split][torch.from_numpy(judge.forget[split])].clamp(min=LOWEST)
    return torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1)


def missing_pairs(
    judge: Judge, codes: Mapping[str, Tensor], method: str, mask: NDArray[np.bool_], k: int
) -> list[Attacked]:
    """What the pairs that a masked file lacks tell to whoever has the keys from elsewhere.

    auc: of the share of an item's own first choices that are missing, training items of the class against its test
    items: a mask is made of what training items hit. class named: 1 where the class whose test items miss most pairs
    is the forget class, else 0.

    codes: split -> (n, c), first choices before anything was masked, negative for none; mask: (c, m).
    """
    shares = {split: _missing(codes[split], mask) for split in SPLITS}
    members, others = (shares[split][judge.forget[split]] for split in SPLITS)
    head, labels = judge.before.head.name, judge.labels["test"].numpy()
    rows = []
    if len(members) and len(others):
        rows.append(Attacked(head, method, "missing pairs", "auc", auc(members, others), None))
    if len(others):
        by_class = {int(each): float(shares["test"][labels == each].mean()) for each in np.unique(labels)}
        named = max(by_class, key=lambda each: by_class[each])
        rows.append(Attacked(head, method, "missing pairs", "class named", float(named == k), None))
    return rows


def _missing(codes: Tensor, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n,) share of each item's codes whose pair is missing."""
    chosen = codes.numpy()
    gone = mask[np.arange(mask.shape[0]), np.maximum(chosen, 0)] & (chosen >= 0)
    share: NDArray[np.float64] = gone.mean(1)
    return share
