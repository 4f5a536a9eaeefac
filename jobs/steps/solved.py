"""Step: heads that are solved for, and what forgets a class on them; a class a unit, and U-LiRA's heads of a class.

Every head is judged by the oracle of its own kind, solved for from sums that never held the class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb import controls, metrics
from dkvb.counts import count_codes
from dkvb.values import CodeFeatures
from jobs import inputs
from jobs.comparison import methods
from jobs.comparison.attacks import attacks
from jobs.comparison.beside import beside
from jobs.comparison.extended_metrics import Metric, measured, metrics_of
from jobs.comparison.file_attacks import file_attacks
from jobs.comparison.halves import U_LIRA, among_others, attack_rows, half, members
from jobs.comparison.heads import ValuesHead
from jobs.comparison.judge import Judge, Model, compare_row, controlled, model
from jobs.comparison.masks import SweptBottleneck
from jobs.comparison.solved import SolvedHead, read_solved
from jobs.kinds.solved import Asks
from jobs.rows import without_nan
from jobs.step import SPLITS, Facts, Task, Work
from jobs.worker import use_one_core
from store.columns import METRICS, SOLVED_TABLES, Schema
from store.tables import compact, write_rows


def tables(asks: Asks) -> Mapping[str, Schema]:
    """Schemas of what is written, by name."""
    return {**SOLVED_TABLES, "metrics": METRICS} if asks.metrics else SOLVED_TABLES


Row = Mapping[str, Any]


def prepare(task: Task[Asks]) -> list[str]:
    """The classes, each by itself; then U-LiRA's heads, a class and a kind of head a unit."""
    wanted, lira = inputs.wanted_classes(task), task.asks.lira
    first = 0 if lira is None else lira.first
    return [
        *(f"{k:05d}" for k in wanted),
        *(f"{k:05d}-{name}" for k in wanted[:first] for name in task.asks.heads.names),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all units share."""

    task: Task[Asks]
    heads: Mapping[str, SolvedHead[Any]]
    items: SweptBottleneck
    recounted: bool
    """Whether only pairs that training items use are selectable, so that they are counted anew without the class."""
    metrics: Sequence[Metric] = ()
    """Metrics of extensions."""
    names: tuple[str, ...]

    @classmethod
    def of(cls, task: Task[Asks]) -> Self:
        """From the inputs of a task."""
        return cls(
            task=task,
            heads=read_solved(task, task.asks.heads),
            items=SweptBottleneck.of(task),
            recounted=task.inputs["values"].spec()["spec"]["selectable"] == "used",
            metrics=metrics_of(task.asks.metrics),
            names=inputs.read_manifest(task).classes,
        )

    def about(self, k: int) -> dict[str, Any]:
        """What all rows of a class say alike."""
        return {"class": k, "name": self.names[k], "seed": self.task.asks.seed, "digest": self.task.output.digest}

    def never(self, k: int) -> dict[str, Tensor] | None:
        """Logits of values on keys that never saw the class, by split; None where there are none."""
        classes = inputs.oracle_classes(self.task)
        return inputs.oracle_logits(self.task, "oracle_lda_logits", classes=classes, k=k)

    def under(self, mask: NDArray[np.bool_], m: int) -> dict[str, CodeFeatures]:
        """What values see of the items once the pairs of a mask (c, m) are not selectable."""
        (codes,) = self.items.codes([mask])
        return {split: CodeFeatures(codes[split], m) for split in SPLITS}


def open_work(task: Task[Asks]) -> Work:
    """Hold the heads; compare on one class at a time, or solve for U-LiRA's heads."""
    use_one_core()
    shared = Shared.of(task)

    def measure(unit: str) -> Facts:
        k, _, name = unit.partition("-")
        found = {"attacks": halves(shared, int(k), name)} if name else compared(shared, int(k))
        for table, rows in found.items():
            write_rows(task.output.path / table / f"{unit}.parquet", rows, tables(task.asks)[table])
        return {"class": int(k), "tables": [*found]}

    return measure


def compared(shared: Shared, k: int) -> dict[str, list[Row]]:
    """A class, forgotten on every head: rows by table."""
    by_table: dict[str, list[Row]] = {name: [] for name in tables(shared.task.asks)}
    for solved in shared.heads.values():
        judge, models = forgotten(shared, solved, k)
        seed = shared.task.asks.seed
        found: dict[str, Sequence[Row]] = {
            "compare": [compare_row(judge, one) for one in models],
            "beside": [asdict(beside(judge, one)) for one in models],
            "attacks": [
                asdict(row)
                for row in (*attacks(judge, models, k, seed=seed), *file_attacks(judge, models, k, seed=seed))
            ],
            "metrics": [asdict(row) for row in measured(shared.metrics, judge, models)],
        }
        for name in by_table:
            by_table[name] += [without_nan({**shared.about(k), **row}) for row in found[name]]
    return by_table


def forgotten(shared: Shared, solved: SolvedHead[Any], k: int) -> tuple[Judge, list[Model[Any]]]:
    """A head before, after subtraction and controls, and its oracle; on values also under a mask, which is refused."""
    head = solved.head
    forget = {split: (head.labels[split] == k).numpy() for split in SPLITS}
    out, rest = (torch.from_numpy(np.flatnonzero(side)) for side in (forget["train"], ~forget["train"]))
    before = model(head, methods.NONE.name, head.weights)
    features: Mapping[str, Any] = head.features
    masked: list[Model[Any]] = []
    if isinstance(head, ValuesHead):
        codes, selectable = head.codes["train"], shared.items.bottleneck.selectable
        hit, used = (count_codes(codes[rows], head.m) > 0 for rows in (out, rest))
        if shared.recounted:
            features = shared.under((selectable & ~used).numpy(), head.m)
        under = shared.under(hit.numpy(), head.m)
        setting = {"pairs": int(hit.sum())}
        masked = [model(head, methods.UVE_ALL.name, head.weights, features=under, setting=setting)]
    exact = model(head, methods.EXACT.name, solved.without(out), features=features)
    oracle = model(head, methods.RETRAIN.name, solved.anew(rest), features=features)
    never = shared.never(k) if isinstance(head, ValuesHead) else None
    judge = Judge(labels=head.labels, forget=forget, classes=[k], before=before, oracle=oracle, never=never)
    return judge, [before, *controlled(before, [k]), *masked, exact, oracle]


def halves(shared: Shared, k: int, name: str) -> list[Row]:
    """U-LiRA on one kind of head: heads of the class and half of the others, and oracles of other halves."""
    asks, solved = shared.task.asks, shared.heads[name]
    assert asks.lira is not None, "the units say so"
    head, heads = solved.head, asks.lira.heads
    labels = head.labels["train"]
    out, others = members(labels, k, items=asks.lira.items, seed=asks.seed)
    gone, seen = solved.sums_of(out), {methods.NONE.name: head.features["train"].take(out)}
    if isinstance(head, ValuesHead):
        (under,) = shared.items.codes([(count_codes(head.codes["train"][out], head.m) > 0).numpy()], splits=["train"])
        seen[methods.UVE_ALL.name] = CodeFeatures(under["train"][out], head.m)
    scores: dict[str, dict[str, list[Tensor]]] = {U_LIRA: {}, f"{U_LIRA} among others": {}}
    own_odds, others_odds = scores.values()

    def note(method: str, logits: Tensor) -> None:
        own_odds.setdefault(method, []).append(metrics.margins(logits, labels[out]))
        others_odds.setdefault(method, []).append(among_others(logits, k))

    own = seen[methods.NONE.name]
    for i in range(heads):
        with_class = solved.sums_of(others[half(len(others), asks.seed, k, i)]) + gone
        weights = solved.weights(with_class)
        for method, features in seen.items():
            note(method, head.logits(features, weights))
        note(methods.COLUMN.name, head.logits(own, controls.without_column(weights, [k])))
        note(methods.LOGIT.name, controls.without_logit(head.logits(own, weights), [k]))
        note(methods.EXACT.name, head.logits(own, solved.weights(with_class - gone)))
        never = others[half(len(others), asks.seed, k, heads + i)]
        note(methods.RETRAIN.name, head.logits(own, solved.anew(never)))
    return [
        row
        for attack, by_method in scores.items()
        for row in attack_rows(
            {**shared.about(k), "head": name, "attack": attack},
            {method: torch.stack(each) for method, each in by_method.items()},
            interval=True,
            paired=False,
        )
    ]


def finish(task: Task[Asks]) -> Facts:
    """One table of all units for each kind."""
    marks = task.output.marks()
    for table, schema in tables(task.asks).items():
        units = [unit for unit, mark in marks.items() if table in mark["tables"]]
        parts = [task.output.path / table / f"{unit}.parquet" for unit in units]
        compact(parts, task.output.path / f"{table}.parquet", schema)
    return {"classes": sorted({mark["class"] for mark in marks.values()}), "heads": task.asks.heads.names}
