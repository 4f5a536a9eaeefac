"""Step: the sweep; a block of classes a unit, each forgotten by itself, with every method, budget and seed.

The grid of every class and seed holds the N of the rule too (`dkvb.orders.TAU`). One more unit, BEFORE, is the model as
it is: accuracies, items, and what its losses tell of who was trained on.

Shapes: n items of a split, c codebooks, m keys of a codebook, v classes; k forget classes of a unit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from dkvb import orders
from dkvb.compilation import warm
from dkvb.metrics import item_change
from dkvb.roc import auc
from dkvb.sweep import Items
from dkvb.values import CodeFeatures
from jobs import inputs
from jobs.classes import class_hits
from jobs.comparison.heads import logits_of
from jobs.errors import BadRequest
from jobs.forget_sets import block_size
from jobs.kinds.sweep import Asks
from jobs.rows import without_nan
from jobs.spec.schema import UvaGrid
from jobs.step import SPLITS, Facts, Task, Work
from jobs.sweeping import MethodSweep, Shared, available_in_words, check_budgets, check_grids, method_sweeps
from jobs.worker import blocks, use_cores
from store import arrays
from store.columns import SWEEP, SWEEP_ITEMS
from store.layout import SWEEP_ITEMS_TABLE, SWEEP_TABLE
from store.tables import compact, write_rows

BEFORE = "before"
"""The unit of the model before anything is forgotten."""


def prepare(task: Task[Asks]) -> list[str]:
    """Blocks of the classes asked for, and the model before; refuses a grid that asks for more than a class has."""
    names, wanted = inputs.read_manifest(task).classes, inputs.wanted_classes(task)
    inputs.check_alike(task)
    check_grids(task.asks.methods)
    labels = inputs.labels(task, "train")
    counts = arrays.open_array(task.path("counts"), "counts")
    for k in wanted:
        items = int((labels == k).sum())
        if not items:
            raise BadRequest(f"class {names[k]!r} has no training items to forget; leave it out with sweep.classes")
        hits = class_hits(counts, k)
        for grid in task.asks.methods:
            available = orders.activated_pairs(hits, scope=grid.scope) if isinstance(grid, UvaGrid) else items
            check_budgets(grid, available, available_in_words(grid, [names[k]]))
    return [*blocks(len(wanted), block_size(len(wanted))), BEFORE]


def open_work(task: Task[Asks]) -> Work:
    """Hold the model; sweep one block of classes at a time."""
    use_cores()
    warm()  # before any clock starts: compilation is no sweep's
    shared = Shared.of(task)
    wanted = inputs.wanted_classes(task)
    size = block_size(len(wanted))

    def sweep_classes(unit: str) -> Facts:
        if unit == BEFORE:
            return model_before(shared)
        classes = wanted[int(unit) * size :][:size]
        forget = [[k] for k in classes]
        sweeps = [ClassSweep.of(swept) for swept in method_sweeps(shared, forget, task.asks.methods)]
        for items in shared.items.values():
            for rows in items.blocks():
                block = items.read(rows)
                for swept in sweeps:
                    swept.sweep_block(items, rows, block)
        results = [without_nan(row) for swept in sweeps for row in swept.rows()]
        write_rows(task.output.path / "rows" / f"{unit}.parquet", results, SWEEP)
        changes = [row for swept in sweeps for row in swept.item_rows()]
        write_rows(task.output.path / "items" / f"{unit}.parquet", changes, SWEEP_ITEMS)
        return {
            "rows": len(results),
            "classes": classes,
            "seconds": {f"{each.swept.method}/{each.swept.seed}": round(each.swept.seconds, 3) for each in sweeps},
        }

    return sweep_classes


@dataclass(frozen=True, slots=True)
class ClassSweep:
    """One method with one seed over the classes of a unit, and what it changes of each test item."""

    swept: MethodSweep
    change: NDArray[np.int8]
    """(k, n), of each test item of another class at the rule's N: -1 lost, 1 gained, 0 as before."""

    @classmethod
    def of(cls, swept: MethodSweep) -> Self:
        """Before any item is swept."""
        return cls(swept, np.zeros((len(swept.cases), len(swept.shared.items["test"].labels)), np.int8))

    def sweep_block(self, items: inputs.SweptItems, rows: slice, block: Items) -> None:
        """Sweep one block of items."""
        predicted = self.swept.sweep_block(items, rows, block)
        if items.split == "test":
            for i, case in enumerate(self.swept.cases):
                before, after, (k,) = predicted[i, 0], predicted[i, case.rule], case.classes
                self.change[i, rows] = item_change(before, after, labels=items.labels[rows], forget=k)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The result rows."""
        for i, _, measures in self.swept.measures():
            (k,) = self.swept.cases[i].classes
            yield {"class": k, "name": self.swept.shared.names[k], **measures}

    def item_rows(self) -> Iterator[dict[str, Any]]:
        """What each test item adds to the sum of the retain changes of a unit's known classes, at the rule's N."""
        sizes = self.swept.shared.items["test"].sizes(len(self.swept.shared.names))
        total = np.zeros(self.change.shape[1])
        for i, case in enumerate(self.swept.cases):
            (k,) = case.classes
            if self.swept.right["test"][i, 0, k]:  # a class that was never known has nothing to forget
                total += self.change[i] / max(1, sizes.sum() - sizes[k])
        for item in np.flatnonzero(total).tolist():
            yield {"method": self.swept.method, "seed": self.swept.seed, "item": item, "change": float(total[item])}


def model_before(shared: Shared) -> Facts:
    """The model before anything is forgotten: accuracies, items of each class, and the membership attack by loss."""
    v = len(shared.names)
    sizes = {split: items.sizes(v) for split, items in shared.items.items()}
    seen = {split: judge_before(shared, items) for split, items in shared.items.items()}
    shares = {split: float(seen[split].right.sum() / n) if (n := sizes[split].sum()) else None for split in SPLITS}
    both = all(len(seen[split].scores) for split in SPLITS)
    return {
        "items": {split: sizes[split].tolist() for split in SPLITS},
        "right": {split: seen[split].right.tolist() for split in SPLITS},
        "accuracy": shares,
        "membership_auc": auc(seen["train"].scores, seen["test"].scores) if both else None,
    }


@dataclass(frozen=True, slots=True)
class SplitBefore:
    """What the model says of one split before anything is forgotten."""

    right: NDArray[np.int64]
    """(v,) items of each class that it predicts right."""
    scores: NDArray[np.float64]
    """(n,) minus the loss of each item that is not skipped."""


def judge_before(shared: Shared, items: inputs.SweptItems) -> SplitBefore:
    """See `SplitBefore`."""
    v, m = len(shared.names), shared.total.shape[1]
    right, scores = np.zeros(v, np.int64), [np.empty(0)]
    weights = shared.bottleneck.values.flatten(0, 1)
    for rows in items.blocks():
        kept = items.labels[rows] >= 0
        codes, labels = items.read_codes(rows)[kept], items.labels[rows][kept]
        if len(labels):
            logits = logits_of(CodeFeatures(codes, m), weights)
            right += torch.bincount(labels[logits.argmax(1) == labels], minlength=v).numpy()
            scores.append(-cross_entropy(logits.double(), labels, reduction="none").numpy())
    return SplitBefore(right, np.concatenate(scores))


def finish(task: Task[Asks]) -> Facts:
    """One table of all units; what the bottleneck reaches, and leaks, before anything is forgotten."""
    marks = task.output.marks()
    model = marks.pop(BEFORE)
    tables = (("rows", SWEEP_TABLE, SWEEP), ("items", SWEEP_ITEMS_TABLE, SWEEP_ITEMS))
    for folder, table, schema in tables:
        compact([task.output.path / folder / f"{unit}.parquet" for unit in marks], task.output.path / table, schema)
    return {"rows": sum(mark["rows"] for mark in marks.values()), **model}
