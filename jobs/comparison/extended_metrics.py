"""Metrics of extensions (`dkvb.metrics` entry points), taken of every model that the comparison judges.

An entry point names a function of a model and its judge (`jobs.comparison.judge`) that returns a number. What it is of
the judge's oracle stands beside it, as it does beside every attack.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dkvb.extensions import METRICS, Extension
from jobs.comparison.judge import Judge, Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A row of the table `metrics`; columns as in `store.columns`."""

    head: str
    method: str
    metric: str
    value: float
    """NaN where there is nothing to measure."""
    oracle: float
    """The same of the oracle of the head."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of an extension, which is told what it gave wrong."""

    extension: Extension
    measure: Callable[[Model[Any], Judge], Any]

    def of(self, model: Model[Any], judge: Judge) -> float:
        """Its value, of a model that the judge judges; raises: ExtensionFailed."""
        labels = {split: own.clone() for split, own in judge.labels.items()}
        own = replace(judge, labels=labels, forget={split: out.copy() for split, out in judge.forget.items()})
        before = _versions(model, judge)
        with self.extension.running():
            value = self.measure(model, own)
        if not isinstance(value, int | float) or math.isinf(value):
            found = repr(value) if isinstance(value, int | float) else f"a {type(value).__name__}"
            raise self.extension.failed(f"found {found}, expected a finite float, or NaN for nothing to measure")
        if _versions(model, judge) != before:
            raise self.extension.failed("changed logits or weights of a model in place; clone what you change")
        return float(value)


def metrics_of(releases: Mapping[str, str] | None) -> tuple[Metric, ...]:
    """Load them.

    releases: name -> distribution and version that the plan was made with; None: none.
    raises: ExtensionMissing where another version is here, or none; ExtensionFailed.
    """
    return tuple(_metric(Extension(METRICS, name, release)) for name, release in (releases or {}).items())


def measured(metrics: Iterable[Metric], judge: Judge, models: Sequence[Model[Any]]) -> list[Measured]:
    """Each metric of each model; raises: ExtensionFailed."""
    rows: list[Measured] = []
    for metric in metrics:
        name, oracle = metric.extension.name, metric.of(judge.oracle, judge)
        for model in models:
            value = oracle if model is judge.oracle else metric.of(model, judge)
            rows.append(Measured(head=model.head.name, method=model.method, metric=name, value=value, oracle=oracle))
    return rows


def _metric(extension: Extension) -> Metric:
    found = extension.load()
    if not callable(found) or isinstance(found, type):
        raise extension.failed(
            f"found {found!r}, expected a function of a model and its judge (jobs.comparison.judge) that returns a "
            "float"
        )
    return Metric(extension, found)


def _versions(model: Model[Any], judge: Judge) -> list[int]:
    """How often each tensor that a metric sees was changed in place."""
    models = (model, judge.before, judge.oracle)
    seen = [tensor for one in models for tensor in (one.weights, *one.logits.values())]
    return [tensor._version for tensor in (*seen, *(judge.never or {}).values())]
