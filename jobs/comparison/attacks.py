"""Attacks on models that have forgotten a class: each beside the same attack on the oracle. None changes a model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb import membership, metrics, probes
from dkvb.baselines import cross_entropy_error
from dkvb.descent import descent as begin_descent
from dkvb.seeds import drawn
from jobs.comparison.heads import F
from jobs.comparison.judge import Judge, Model
from jobs.comparison.methods import COMPARED, EXACT
from jobs.step import SPLITS

SHOTS = (1, 5, 10, 50)
"""Forget items that a recovery may learn from."""

RECOVERED = 0.95
"""Share of the accuracy before at which the class counts as recovered."""

CAP = 30
"""Updates after which a recovery is given up; it then reads as so many."""

CLOSED = frozenset(method.name for method in (*COMPARED, EXACT) if not method.opened)
"""Methods whose models are neither probed nor taught again; membership is asked of all."""

ITEMS = 1000
"""Training items of the class, and as many of the others, that a probe is fitted on; half as many test items."""

LOWEST = -1e4
"""In place of the logit of a class that is ruled out, where a number is needed."""


@dataclass(frozen=True, slots=True)
class Attacked:
    """What an attack measured of a model: a row of the table of attacks."""

    head: str
    method: str
    attack: str
    measure: str
    value: float
    oracle: float | None
    """The same of the oracle; None where nothing is asked of it."""


def attacks(judge: Judge, models: Sequence[Model[Any]], k: int, *, seed: int) -> list[Attacked]:
    """Attack every model of one head, and its oracle.

    k: the forget class.
    """
    probed = Probed(judge, k, seed=seed)
    goal = RECOVERED * metrics.accuracy(judge.before.logits["test"][probed.test_forget].argmax(1), probed.labels)
    oracle = measured(judge.oracle, judge, probed, goal=goal, seed=seed)
    rows = []
    for model in models:
        scores = oracle if model is judge.oracle else measured(model, judge, probed, goal=goal, seed=seed)
        rows += [Attacked(model.head.name, model.method, *key, scores[key], oracle.get(key)) for key in scores]
    return rows


def measured(
    model: Model[Any], judge: Judge, probed: "Probed", *, goal: float, seed: int
) -> dict[tuple[str, str], float]:
    """What each attack measures of one model, by attack and measure; goal: as of `recovery`."""
    members, others = (outputs(judge, model, split, judge.forget[split]) for split in SPLITS)
    scores = dict(memberships(members, others, seed=seed))
    if model.method not in CLOSED:
        scores |= dict(public_attacks(judge, model, members, others, seed=seed))
        scores |= {(f"recovery {s} shots", "steps"): recovery(model, probed, s, goal=goal) for s in SHOTS}
        scores |= dict(probed.scores(model, seed=seed))
    return scores


def memberships(
    members: membership.Outputs, others: membership.Outputs, *, seed: int
) -> Iterator[tuple[tuple[str, str], float]]:
    """Whether what a model says of an item tells that it was trained on: the items to forget against test items."""
    for score, attack in membership.population_attack(members, others, seed=seed).items():
        yield (f"population {score}", "auc"), attack.auc
        yield (f"population {score}", "balanced accuracy"), attack.balanced_accuracy
        yield (f"population {score}", "tpr at 1 % fpr"), attack.tpr


def loss_auc(judge: Judge, model: Model[Any], rows: Tensor, others: Tensor, *, seed: int) -> float | None:
    """AUC of the membership attack by loss: some training items (n,) against some test items (n2,), by row.

    returns: None for fewer than two of either, on which no attack can be fitted and tested.
    """
    if min(len(rows), len(others)) < 2:
        return None
    attack = membership.population_attack(
        (model.logits["train"][rows].clamp(min=LOWEST), judge.labels["train"][rows]),
        (model.logits["test"][others].clamp(min=LOWEST), judge.labels["test"][others]),
        seed=seed,
    )
    return attack["loss"].auc


def public_attacks(
    judge: Judge, model: Model[Any], members: membership.Outputs, others: membership.Outputs, *, seed: int
) -> Iterator[tuple[tuple[str, str], float]]:
    """The membership attacks of public code (`dkvb.membership`), on as many items as the class has test items."""
    retain, test = (
        outputs(judge, model, split, some(~judge.forget[split], len(others[1]), seed, f"svc {split}"))
        for split in SPLITS
    )
    yield ("svc confidence", "share called members"), membership.svc_confidence_attack(retain, test, members)
    yield ("loss of the class", "accuracy"), membership.loss_logistic_attack(members, others, seed=seed)


def outputs(judge: Judge, model: Model[Any], split: str, wanted: NDArray[np.bool_]) -> membership.Outputs:
    """Logits, finite, and labels of some items; wanted: (n,) bool."""
    rows = torch.from_numpy(wanted)
    return model.logits[split][rows].clamp(min=LOWEST), judge.labels[split][rows]


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
        of_class = {split: (labels[split] == k).numpy() for split in labels}
        self.rows, self.forget = {}, {}
        for split, size in (("train", ITEMS), ("test", ITEMS // 2)):
            sides = (some(side, size, seed, f"probe {split}") for side in (of_class[split], ~of_class[split]))
            rows = np.flatnonzero(np.logical_or(*sides))
            self.rows[split], self.forget[split] = torch.from_numpy(rows), of_class[split][rows]
        self.shots = torch.from_numpy(np.flatnonzero(some(of_class["train"], max(SHOTS), seed, "shots")))
        self.test_forget = torch.from_numpy(np.flatnonzero(of_class["test"]))
        self.labels = labels["test"][self.test_forget]

    def scores(self, model: Model[Any], *, seed: int) -> Iterator[tuple[tuple[str, str], float]]:
        """Balanced accuracy of linear probes for the class against the rest, on what a model holds of the items."""
        inside: dict[str, Any] = {}
        for split, rows in self.rows.items():
            held = model.head.held(model.features[split].take(rows), model.weights)
            inside[split] = {"logits": model.logits[split][rows].clamp(min=LOWEST).numpy(), **held}
        for what, train in inside["train"].items():
            test = inside["test"][what]
            score = probes.probe(train, self.forget["train"], test, self.forget["test"], seed=seed)
            yield (f"probe {what}", "balanced accuracy"), score


def recovery(model: Model[F], probed: Probed, shots: int, *, goal: float) -> float:
    """Updates by some forget items until the class's test accuracy is back; CAP where it is not by then.

    Full-batch descent at a learning rate of one over the mean squared norm of an item's features: the same update in
    logits on both heads.

    goal: the test accuracy, in [0, 1].
    """
    learnt = model.features["train"].take(probed.shots[:shots])
    features = model.head.joined(learnt, model.features["test"].take(probed.test_forget))
    everything = torch.arange(len(features))
    rows = everything[: len(learnt)]
    labels = probed.labels[:1].expand(len(learnt))
    descent = begin_descent(features, model.weights, lr=1 / model.head.squared_norm(learnt))
    for updates in range(CAP):
        logits = descent.logits(everything)
        if metrics.accuracy(logits[len(rows) :].argmax(1), probed.labels) >= goal:
            return float(updates)
        descent.step(rows, cross_entropy_error(logits[: len(rows)], labels) / len(rows))
    return float(CAP)
