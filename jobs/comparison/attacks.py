"""Attacks on models that have forgotten a class: each beside the same attack on the oracle. None changes a model."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb import membership, metrics, probes
from dkvb.baselines import cross_entropy_error
from dkvb.descent import descent
from dkvb.linear import EmbeddingFeatures
from dkvb.seeds import drawn
from dkvb.training import Features
from dkvb.values import CodeFeatures
from jobs.comparison.judge import Judge, Model
from jobs.step import SPLITS

SHOTS = (1, 5, 10, 50)
"""Forget items that a recovery may learn from."""

RECOVERED = 0.95
"""Share of the accuracy before at which the class counts as recovered."""

CAP = 30
"""Steps after which a recovery is given up; it then reads as so many."""

OPENED = ("none", "uva", "uve", "uva by tau", "scrub", "neggrad+", "finetune", "ssd", "column", "retrain")
"""Methods whose models are probed and taught again; membership is asked of all."""

ITEMS = 1000
"""Training items of the class, and as many of the others, that a probe is fitted on; half as many test items."""

LOWEST = -1e4
"""In place of the logit of a class that is ruled out, where a number is needed."""


def attacks(judge: Judge, models: Sequence[Model], k: int, *, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of the table of attacks: every model of one head beside its oracle.

    k: the forget class.
    """
    probed = Probed(judge, k, seed=seed)
    goal = RECOVERED * metrics.accuracy(judge.before.logits["test"][probed.test_forget].argmax(1), probed.own)
    measured: dict[int, dict[tuple[str, str], float]] = {}
    for one in (judge.oracle, *models):
        members, others = (outputs(judge, one, split, judge.forget[split]) for split in SPLITS)
        found = dict(memberships(members, others, seed=seed))
        if one.method in OPENED:
            found |= dict(public_attacks(judge, one, members, others, seed=seed))
            found |= {(f"recovery {s} shots", "steps"): recovery(one, probed, s, goal=goal) for s in SHOTS}
            found |= dict(probed.scores(one, seed=seed))
        measured[id(one)] = found
    beside = measured[id(judge.oracle)]
    for one in models:
        for (attack, measure), value in measured[id(one)].items():
            yield {
                "head": one.head,
                "method": one.method,
                "attack": attack,
                "measure": measure,
                "value": value,
                "oracle": beside.get((attack, measure)),
            }


def memberships(
    members: membership.Outputs, others: membership.Outputs, *, seed: int
) -> Iterator[tuple[tuple[str, str], float]]:
    """Whether what a model says of an item tells that it was trained on: the items to forget against test items."""
    for score, found in membership.population_attack(members, others, seed=seed).items():
        yield (f"population {score}", "auc"), found.auc
        yield (f"population {score}", "balanced accuracy"), found.balanced_accuracy
        yield (f"population {score}", "tpr at 1 % fpr"), found.tpr


def public_attacks(
    judge: Judge, one: Model, members: membership.Outputs, others: membership.Outputs, *, seed: int
) -> Iterator[tuple[tuple[str, str], float]]:
    """The membership attacks of public code (`dkvb.membership`), on as many items as the class has test items."""
    retain, test = (
        outputs(judge, one, split, some(~judge.forget[split], len(others[1]), seed, f"svc {split}")) for split in SPLITS
    )
    yield ("svc confidence", "share called members"), membership.svc_confidence_attack(retain, test, members)
    yield ("loss of the class", "accuracy"), membership.loss_logistic_attack(members, others, seed=seed)


def outputs(judge: Judge, one: Model, split: str, wanted: NDArray[np.bool_]) -> membership.Outputs:
    """Logits, finite, and labels of some items; wanted: (n,) bool."""
    rows = torch.from_numpy(wanted)
    return one.logits[split][rows].clamp(min=LOWEST), judge.labels[split][rows]


def some(wanted: NDArray[np.bool_], count: int, seed: int, purpose: str) -> NDArray[np.bool_]:
    """As many of the wanted items at most, drawn by a seed: (n,) bool."""
    rows = wanted.nonzero()[0]
    chosen = np.zeros_like(wanted)
    chosen[rows[drawn(len(rows), count, seed, purpose).numpy()]] = True
    return chosen


class Probed:
    """The items on which a class is looked for in a model, and learnt back: the same for every model of a seed."""

    def __init__(self, judge: Judge, k: int, *, seed: int) -> None:
        labels = judge.labels
        own = {split: (labels[split] == k).numpy() for split in labels}
        self.rows, self.forget = {}, {}
        for split, size in (("train", ITEMS), ("test", ITEMS // 2)):
            sides = (some(side, size, seed, f"probe {split}") for side in (own[split], ~own[split]))
            rows = np.flatnonzero(np.logical_or(*sides))
            self.rows[split], self.forget[split] = torch.from_numpy(rows), own[split][rows]
        self.shots = torch.from_numpy(np.flatnonzero(some(own["train"], max(SHOTS), seed, "shots")))
        self.test_forget = torch.from_numpy(np.flatnonzero(own["test"]))
        self.own = labels["test"][self.test_forget]

    def scores(self, one: Model, *, seed: int) -> Iterator[tuple[tuple[str, str], float]]:
        """Balanced accuracy of linear probes for the class against the rest, on what a model holds of the items."""
        inside: dict[str, Any] = {}
        for split, rows in self.rows.items():
            features = one.features[split].take(rows)
            inside[split] = {"logits": one.logits[split][rows].clamp(min=LOWEST).numpy(), **seen(features, one.weights)}
        for what, train in inside["train"].items():
            test = inside["test"][what]
            score = probes.probe(train, self.forget["train"], test, self.forget["test"], seed=seed)
            yield (f"probe {what}", "balanced accuracy"), score


def seen(features: Features, weights: Tensor) -> dict[str, Any]:
    """What a head holds of items before it sums up: z, or the codes and the values that they fetch."""
    if isinstance(features, CodeFeatures):
        n = len(features)
        table = torch.cat([weights, weights.new_zeros(1, weights.shape[1])])  # no vote fetches zeros
        fetched = table[torch.where(features.codes < 0, len(weights), features.pairs)]
        return {"values": fetched.view(n, -1).numpy(), "codes": probes.one_hot(features.codes.numpy(), features.m)}
    assert isinstance(features, EmbeddingFeatures)
    return {"z": features.x[:, :-1].numpy()}


def recovery(one: Model, probed: Probed, shots: int, *, goal: float) -> float:
    """Steps of descent on some forget items until the class's test accuracy is back; CAP where it is not by then.

    Full-batch steps, of one over the mean squared norm of an item's features: the same step in logits on both heads.
    """
    learnt = one.features["train"].take(probed.shots[:shots])
    features = together(learnt, one.features["test"].take(probed.test_forget))
    everything = torch.arange(len(features))
    rows = everything[: len(learnt)]
    labels = probed.own[:1].expand(len(learnt))
    going = descent(features, one.weights, lr=1 / squared_norm(learnt))
    for step in range(CAP):
        logits = going.logits(everything)
        if metrics.accuracy(logits[len(rows) :].argmax(1), probed.own) >= goal:
            return float(step)
        going.step(rows, cross_entropy_error(logits[: len(rows)], labels) / len(rows))
    return float(CAP)


def together(one: Any, other: Any) -> Features:
    """Features of the items of both."""
    if isinstance(one, CodeFeatures):
        return CodeFeatures(torch.cat([one.codes, other.codes]), one.m)
    return EmbeddingFeatures(torch.cat([one.x, other.x]), one.factor)


def squared_norm(features: Features) -> float:
    """The mean over items of their features' squared norm; of codes 1 / c."""
    if isinstance(features, CodeFeatures):
        return 1 / features.codes.shape[1]
    assert isinstance(features, EmbeddingFeatures)
    return float(features.x.square().sum(1).mean())
