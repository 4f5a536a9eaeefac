"""Step: what masks forget, beside baselines, controls and oracles, on one class a unit.

Every method is stopped by the training items alone (`dkvb.stopping`, masks by the same rule); test items are
looked at once it has ended. `jobs.comparison.methods` lists the methods.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb import baselines, metrics, stopping
from dkvb.values import CodeFeatures
from jobs import inputs
from jobs.classes import class_hits, total_hits
from jobs.comparison import methods
from jobs.comparison.attacks import Attacked, attacks
from jobs.comparison.beside import Beside, beside
from jobs.comparison.extended import Extended
from jobs.comparison.extended_metrics import Measured, Metric, measured, metrics_of
from jobs.comparison.file_attacks import file_attacks, missing_pairs
from jobs.comparison.heads import Head, LinearHead, ValuesHead
from jobs.comparison.judge import Judge, Model, OracleGap, compare_row, controlled, model
from jobs.comparison.masked_class import MaskedClass, Regret
from jobs.comparison.masks import SweptBottleneck
from jobs.comparison.methods import GradientMethod, tuned
from jobs.kinds.compare import EXTENSIONS, Asks
from jobs.rows import without_nan
from jobs.step import SPLITS, Facts, Task, Work
from jobs.worker import use_one_core
from store import arrays
from store.columns import BESIDE, COMPARE_TABLES, METRICS
from store.tables import compact, write_rows


def tables(asks: Asks) -> Mapping[str, Mapping[str, Any]]:
    """Schemas of what is written, by name."""
    more = {**({"beside": BESIDE} if asks.beside else {}), **({"metrics": METRICS} if asks.metrics else {})}
    return {**COMPARE_TABLES, **more}


Row = Mapping[str, Any]
"""Of a table of `store.columns`, without what all rows of a class say alike."""


def prepare(task: Task[Asks]) -> list[str]:
    """A class a unit."""
    return [f"{k:05d}" for k in inputs.wanted_classes(task)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all units share."""

    task: Task[Asks]
    linear: LinearHead
    values: ValuesHead
    items: SweptBottleneck
    counts: Any
    """(classes, c, m) integer, read class by class."""
    total: NDArray[np.int64]
    """(c, m), hits of all classes."""
    important: Mapping[str, Tensor]
    """Head -> importance of its weights for all training items."""
    tuning: Mapping[str, Any]
    """Marks of the tuning step."""
    extended: Extended
    """Methods of extensions."""
    tuning_extensions: Mapping[str, Any]
    """Marks of the tuning of their baselines; none without any."""
    metrics: Sequence[Metric]
    """Metrics of extensions."""
    names: tuple[str, ...]
    oracle_kv: Sequence[int]
    """Classes of the oracles whose keys never saw them; none without that step."""

    @classmethod
    def of(cls, task: Task[Asks]) -> Self:
        """From the inputs of a task."""
        linear, values = LinearHead.read(task), ValuesHead.read(task)
        counts = arrays.open_array(task.path("counts"), "counts")
        return cls(
            task=task,
            linear=linear,
            values=values,
            items=SweptBottleneck.of(task),
            counts=counts,
            total=total_hits(counts),
            important={linear.name: linear.importance(), values.name: values.importance()},
            tuning=task.inputs["tuning"].marks(),
            extended=Extended.of(task.asks.extensions),
            tuning_extensions=task.inputs[EXTENSIONS].marks() if EXTENSIONS in task.inputs else {},
            metrics=metrics_of(task.asks.metrics),
            names=inputs.read_manifest(task).classes,
            oracle_kv=inputs.oracle_classes(task),
        )


def open_work(task: Task[Asks]) -> Work:
    """Hold both heads; compare on one class at a time."""
    use_one_core()
    shared = Shared.of(task)

    def compare_class(unit: str) -> Facts:
        k = int(unit)
        compared = Comparison(shared, k).run()
        about = {"class": k, "name": shared.names[k], "seed": task.asks.seed}
        found = compared.tables()
        for table, schema in tables(task.asks).items():
            full = [without_nan({**about, **row, "digest": task.output.digest}) for row in found[table]]
            write_rows(task.output.path / table / f"{unit}.parquet", full, schema)
        return {"class": k, "seconds": compared.seconds, "best setting at an edge": compared.edges}

    return compare_class


@dataclass(frozen=True, slots=True)
class Masked:
    """What masks leave of a class, what the rules for N lose, and how much of a mask must come back."""

    models: list[Model[CodeFeatures]]
    regrets: list[Regret]
    restored: list[Attacked]


@dataclass(frozen=True, slots=True)
class Judged:
    """The models of one head as rows of the comparison and of the attacks."""

    rows: list[Row]
    attacked: list[Attacked]
    edges: list[str]
    """Models whose best trial was the first or last."""
    beside: list[Beside] = field(default_factory=list)
    """What stands beside them, where it is asked for."""
    measured: list[Measured] = field(default_factory=list)
    """Metrics of extensions."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What is known of one class."""

    linear: Judged
    values: Judged
    masked: Masked
    gap: OracleGap | None
    """Between both oracles, where there are both."""
    seconds: Mapping[str, float]

    @property
    def edges(self) -> list[str]:
        """Models whose best trial was the first or last."""
        return self.linear.edges + self.values.edges

    def tables(self) -> dict[str, list[Row]]:
        """Rows by table, those of `tables` and of those that were not asked for."""
        attacked = [*self.linear.attacked, *self.masked.restored, *self.values.attacked]
        return {
            "compare": self.linear.rows + self.values.rows,
            "oracle_gap": [] if self.gap is None else [self.gap.row],
            "attacks": [asdict(row) for row in attacked],
            "selection": [asdict(row) for row in self.masked.regrets],
            "beside": [asdict(row) for row in (*self.linear.beside, *self.values.beside)],
            "metrics": [asdict(row) for row in (*self.linear.measured, *self.values.measured)],
        }


class Comparison:
    """One class, forgotten by every method on both heads."""

    def __init__(self, shared: Shared, k: int) -> None:
        self.shared, self.k, self.asks = shared, k, shared.task.asks
        self.labels = shared.values.labels
        self.forget = {split: (self.labels[split] == k).numpy() for split in SPLITS}
        self.rows = torch.from_numpy(np.flatnonzero(self.forget["train"]))
        self.hits = class_hits(shared.counts, k)
        self.seconds: dict[str, float] = {}

    def run(self) -> Compared:
        """Forget the class in every way, one head after the other."""
        judge = self.judge(self.shared.linear)
        linear = self.judged(judge, self.models(self.shared.linear, judge))
        judge = self.judge(self.shared.values, self.never())
        models = self.models(self.shared.values, judge)
        masked = self.masked(judge)
        values = self.judged(judge, [*models, *masked.models])
        return Compared(linear, values, masked, judge.gap(), self.seconds)

    def judged(self, judge: Judge, models: Sequence[Model[Any]]) -> Judged:
        """Judge and attack the models of one head."""
        with self.timed("judging"):
            rows: list[Row] = [compare_row(judge, one) for one in models]
            more = [beside(judge, one) for one in models] if self.asks.beside else []
            others = measured(self.shared.metrics, judge, models)
        with self.timed("attacks"):
            attacked = attacks(judge, models, self.k, seed=self.asks.seed)
            if self.asks.beside:
                attacked += file_attacks(judge, models, self.k, seed=self.asks.seed)
        edges = [f"{m.head.name}/{m.method}" for m in models if m.setting.get("edge")]
        return Judged(rows, attacked, edges, more, others)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the seconds that a part of the work takes."""
        begin = time.perf_counter()
        yield
        self.seconds[what] = round(self.seconds.get(what, 0.0) + time.perf_counter() - begin, 3)

    def judge(self, head: Head[Any], never: Mapping[str, Tensor] | None = None) -> Judge:
        """With the head before, and the oracle; never: logits of the other oracle, as of `never`."""
        with self.timed(f"{head.name}/retrain"):
            weights = baselines.retrain(head.forget_task(self.rows), head.settings, seed=self.asks.seed)
        before = model(head, methods.NONE.name, head.weights)
        return Judge(
            labels=self.labels,
            forget=self.forget,
            classes=[self.k],
            before=before,
            oracle=model(head, methods.RETRAIN.name, weights),
            never=never,
        )

    def models(self, head: Head[Any], judge: Judge) -> list[Model[Any]]:
        """The head before, after each baseline and each control, and its oracle."""
        every = (*methods.GRADIENT, *self.shared.extended.gradient)
        after = [one for method in every for one in self.unlearned(head, method)]
        return [judge.before, *after, *controlled(judge.before, [self.k]), judge.oracle]

    def unlearned(self, head: Head[Any], method: GradientMethod) -> list[Model[Any]]:
        """A baseline with the settings that were best on other classes; SCRUB rewound as well."""
        task = head.forget_task(self.rows)
        with self.timed(f"{head.name}/{method.name}"):
            marks = self.shared.tuning if method in methods.GRADIENT else self.shared.tuning_extensions
            baseline, edge = tuned(marks, head, method, forget=self.k)
            important = self.shared.important[head.name]
            passes = method.unlearn(baseline, task, seed=self.asks.seed, important=important)
            epochs = list(passes) if method is methods.SCRUB else []  # rewinding chooses among all
            kept = stopping.best_epoch(task, epochs or passes)
        setting = {**asdict(baseline), "epoch": kept.epoch, "edge": edge}
        best = model(head, method.name, kept.weights, setting=setting)
        return [best, self.rewound(head, epochs, setting)] if epochs else [best]

    def rewound(self, head: Head[Any], epochs: list[Tensor], setting: Mapping[str, Any]) -> Model[Any]:
        """SCRUB+R: the held-out items of the class that it asks for are test items; no other method sees any."""
        out, held_out = self.rows, torch.from_numpy(np.flatnonzero(self.forget["test"]))
        train, test = head.features["train"].take(out), head.features["test"].take(held_out)
        errors = [1 - metrics.accuracy(train.forward(w).argmax(1), head.labels["train"][out]) for w in epochs]
        last = test.forward(epochs[-1]).argmax(1)
        place = baselines.rewind(errors, 1 - metrics.accuracy(last, head.labels["test"][held_out]))
        return model(head, methods.SCRUB_R.name, epochs[place], setting={**setting, "epoch": place + 1})

    def masked(self, judge: Judge) -> Masked:
        """Masks, each at the N that is best on the training items, and at that of the rule."""
        masks = MaskedClass(
            head=self.shared.values,
            items=self.shared.items,
            k=self.k,
            forget=self.forget,
            hits=self.hits,
            others=self.shared.total - self.hits,
            grids=self.asks.methods,
            weights=self.asks.weights,
            taus=self.asks.taus,
            tau=self.asks.tau,
            seed=self.asks.seed,
            extended=self.shared.extended.masks,
        )
        with self.timed("values/masks"):
            orders = masks.orders()
            regrets = [row for order in orders.values() for row in masks.regrets(order, judge)]
            chosen = masks.chosen(orders)
        with self.timed("values/masked codes"):
            models = [*masks.models(chosen), *masks.erased(orders[methods.UVA.name].budgeted)]
            unmasked = [method.name for method in methods.COMPARED if method.unmasked]
            restored = [masks.restored(judge, name, chosen[name].pairs) for name in unmasked]
            if self.asks.beside:
                codes = self.shared.values.codes
                for name, mask in chosen.items():
                    restored += missing_pairs(judge, codes, name, mask.pairs, self.k)
            return Masked(models, regrets, restored)

    def never(self) -> dict[str, Tensor] | None:
        """Logits of the oracle whose keys never saw the class, by split."""
        shared = self.shared
        return inputs.oracle_logits(shared.task, "oracle_logits", classes=shared.oracle_kv, k=self.k)


def finish(task: Task[Asks]) -> Facts:
    """One table of all units for each kind."""
    marks = task.output.marks()
    for table in tables(task.asks):
        parts = [task.output.path / table / f"{unit}.parquet" for unit in marks]
        compact(parts, task.output.path / f"{table}.parquet")
    return {"classes": [mark["class"] for mark in marks.values()], "units": list(marks.values())}
