"""Models that have forgotten something, and what is measured of each of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Generic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb import controls, metrics
from jobs.comparison import methods
from jobs.comparison.accuracies import Accuracies, accuracies
from jobs.comparison.heads import F, Head
from jobs.step import SPLITS


@dataclass(frozen=True, slots=True)
class Model(Generic[F]):
    """One head after one method."""

    head: Head[F]
    """The head before, with its own weights."""
    method: str
    features: Mapping[str, F]
    """Split -> what it sees of the items: embeddings, or the codes it selects."""
    weights: Tensor
    """(features, v) float32."""
    logits: Mapping[str, Tensor]
    """Split -> (n, v) float32; minus infinity for a class that is ruled out."""
    setting: Mapping[str, Any] = field(default_factory=dict)
    """What was chosen for it: budget, step size, epoch."""


def model(
    head: Head[F],
    method: str,
    weights: Tensor,
    *,
    features: Mapping[str, F] | None = None,
    setting: Mapping[str, Any] | None = None,
) -> Model[F]:
    """A head with other weights (features, v) float32, or that sees other codes."""
    seen = head.features if features is None else features
    return Model(head, method, seen, weights, {s: head.logits(seen[s], weights) for s in SPLITS}, setting or {})


def controlled(before: Model[F], classes: Sequence[int]) -> list[Model[F]]:
    """What forgets classes by construction, and learns nothing."""
    gone = list(classes)
    logits = {split: controls.without_logit(before.logits[split], gone) for split in SPLITS}
    return [
        model(before.head, methods.COLUMN.name, controls.without_column(before.weights, gone)),
        replace(before, method=methods.LOGIT.name, logits=logits),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is measured of one model; names as in `store.columns`."""

    accuracies: Accuracies
    worst_neighbour: int | None
    neighbour_damage: float
    tow: float
    aus: float
    js_forget: float
    tow_kv: float | None
    """Against the oracle whose keys never saw the class; None where there is none."""
    js_forget_kv: float | None

    @property
    def row(self) -> dict[str, float | None]:
        """By column of a table."""
        measures = asdict(self)
        return {**measures.pop("accuracies"), **measures}


@dataclass(frozen=True, slots=True)
class OracleGap:
    """How far the oracle that shares the keys (v) lies from the one whose keys never saw the class (kv)."""

    v: Accuracies
    kv: Accuracies
    js_forget: float

    @property
    def row(self) -> dict[str, float]:
        """By column of a table."""
        shares = {f"{name}_{kind}": getattr(getattr(self, kind), name) for kind in ("v", "kv") for name in COMPARED}
        return {**shares, "tow": self.v.tow(self.kv), "js_forget": self.js_forget}


COMPARED = ("train_forget", "train_retain", "test_forget", "test_retain", "test")
"""Accuracies of both oracles that are told side by side."""


@dataclass(frozen=True, slots=True)
class Judge:
    """What models of one forget set are judged by."""

    labels: Mapping[str, Tensor]
    forget: Mapping[str, NDArray[np.bool_]]
    """Split -> (n,) bool."""
    classes: Sequence[int]
    """Classes that are gone; none where only some of a class's items are forgotten."""
    before: Model[Any]
    oracle: Model[Any]
    """Of the same head, trained without the forget set."""
    never: Mapping[str, Tensor] | None = None
    """Split -> (n, v) logits of an oracle whose keys never saw the class either, where there is one."""
    retain: Mapping[str, NDArray[np.bool_]] | None = None
    """Split -> (n,) bool, the items that were to stay; all but those of forget unless given."""

    def accuracies(self, logits: Mapping[str, Tensor]) -> Accuracies:
        """Accuracies of logits (n, v) by split; beside those among the retain classes."""
        predicted = {split: logits[split].argmax(1).numpy() for split in SPLITS}
        among = {split: metrics.retain_predictions(logits[split], list(self.classes)).numpy() for split in SPLITS}
        return accuracies(predicted, among, self.labels, self.forget, retain=self.retain)

    def verdict(self, model: Model[Any]) -> Verdict:
        """Accuracies, and how near the model comes to the oracle."""
        reached, oracle, before = (self.accuracies(each.logits) for each in (model, self.oracle, self.before))
        never = None if self.never is None else self.accuracies(self.never)
        damage, worst = metrics.neighbour_damage(
            by_class(self.before, self.labels["test"]), by_class(model, self.labels["test"]), forget=self.classes
        )
        return Verdict(
            accuracies=reached,
            worst_neighbour=None if worst < 0 else worst,
            neighbour_damage=damage,
            tow=reached.tow(oracle),
            aus=metrics.aus(
                retain_before=before.test_retain, retain_after=reached.test_retain, forget_after=reached.test_forget
            ),
            js_forget=self.divergence(model, self.oracle.logits),
            tow_kv=None if never is None else reached.tow(never),
            js_forget_kv=None if self.never is None else self.divergence(model, self.never),
        )

    def gap(self) -> OracleGap | None:
        """Between both oracles; None where there is one alone."""
        if self.never is None:
            return None
        v, kv = self.accuracies(self.oracle.logits), self.accuracies(self.never)
        return OracleGap(v, kv, self.divergence(self.oracle, self.never))

    def divergence(self, model: Model[Any], oracle: Mapping[str, Tensor]) -> float:
        """Jensen-Shannon divergence of predictions from an oracle's logits, on the training items to forget."""
        out = torch.from_numpy(self.forget["train"])
        return metrics.js_divergence(model.logits["train"][out], oracle["train"][out])


def compare_row(judge: Judge, model: Model[Any]) -> dict[str, Any]:
    """A model as a row of the comparison: columns of `store.columns` that are its own."""
    about = {"head": model.head.name, "method": model.method}
    return {**about, "setting": json.dumps(model.setting, sort_keys=True), **judge.verdict(model).row}


def by_class(model: Model[Any], labels: Tensor) -> NDArray[np.float64]:
    """(v,) accuracy of each class on the test items; NaN for a class without any."""
    v = model.logits["test"].shape[1]
    right = (model.logits["test"].argmax(1) == labels).double()
    sizes = torch.bincount(labels, minlength=v)
    return (torch.bincount(labels, weights=right, minlength=v) / sizes).numpy()
