"""Step: the sweep; a block of classes a unit, each forgotten by itself, with every method, budget and seed.

The grid of every class and seed holds the N of the rule too (`dkvb.orders.TAU`). One more unit, BEFORE, is the model as
it is: accuracies, items, and what its losses tell of who was trained on.

Shapes: n items of a split, c codebooks, m keys of a codebook, v classes; k forget classes of a unit; b budgets of the
longest grid among theirs: a class with a shorter one stays as its last budget left it.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from dkvb import orders
from dkvb.bottleneck import Bottleneck
from dkvb.compilation import warm
from dkvb.metrics import changed, class_accuracies, item_change, neighbour_damage, right_by_class
from dkvb.roc import auc
from dkvb.sweep import NEVER_INDEX, Items, budget_table, sweep
from dkvb.values import CodeFeatures
from jobs import inputs
from jobs.classes import class_hits, total_hits
from jobs.comparison.heads import logits_of, read_bottleneck
from jobs.errors import BadRequest
from jobs.rows import without_nan
from jobs.spec.schema import Grid, Grids, UvaGrid, UveGrid
from jobs.step import IF_SET, SPLITS, Facts, Inputs, Task, Work
from jobs.worker import blocks, use_cores
from store import arrays
from store.arrays import StoredArray
from store.columns import SWEEP, SWEEP_ITEMS
from store.layout import SWEEP_ITEMS_TABLE, SWEEP_TABLE
from store.tables import compact, write_rows

VERSION = 4
LEASE_S = 86400
ON_GPU = False
INPUTS = Inputs([name for name in inputs.MODEL if name not in ("keys", "linear")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Which classes are forgotten, over which budgets."""

    classes: list[str] | None
    """Names; None: all that have training items."""
    methods: Grids
    first: int | None = field(default=None, metadata=IF_SET)
    """Of the classes only the first so many."""


BEFORE = "before"
"""The unit of the model before anything is forgotten."""

CLASSES = 64
"""Classes of a unit at most: rows of values are read from memory once for all of them; their tables take c * m bytes
each."""

UNITS = 16
"""Units at least, where there are as many classes: work for as many workers."""

MOST_BUDGETS = NEVER_INDEX - 2
"""Of a grid: 0 and the N of the rule come to them."""


def prepare(task: Task[Asks]) -> list[str]:
    """Blocks of the classes asked for, and the model before; refuses a grid that asks for more than a class has."""
    names, wanted = inputs.read_manifest(task).classes, inputs.wanted_classes(task)
    inputs.check_alike(task)
    for grid in task.asks.methods:
        if len(grid.grid) > MOST_BUDGETS:
            raise BadRequest(f"sweep.{grid.method}: found {len(grid.grid)} budgets, expected at most {MOST_BUDGETS}")
    labels = inputs.labels(task, "train")
    counts = arrays.open_array(task.path("counts"), "counts")
    for k in wanted:
        items = int((labels == k).sum())
        if not items:
            raise BadRequest(f"class {names[k]!r} has no training items to forget; leave it out with sweep.classes")
        hits = class_hits(counts, k)
        for grid in task.asks.methods:
            available = orders.activated_pairs(hits, scope=grid.scope) if isinstance(grid, UvaGrid) else items
            orders.budgets(grid.grid, available, shares=grid.unit == "shares", what=available_in_words(grid, names[k]))
    return [*blocks(len(wanted), block_size(len(wanted))), BEFORE]


def block_size(classes: int) -> int:
    """Classes of a unit."""
    return max(1, min(CLASSES, classes // UNITS))


def available_in_words(grid: Grid, name: str) -> str:
    """What the budgets of a grid count, of the class of that name."""
    return f"pairs that class {name!r} activates" if isinstance(grid, UvaGrid) else f"training items of class {name!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all units share."""

    task: Task[Asks]
    bottleneck: Bottleneck
    items: dict[str, inputs.SweptItems]
    """By split."""
    counts: StoredArray
    """(v, c, m), hits of each class."""
    total: NDArray[np.int64]
    """(c, m), hits of all classes."""
    train_codes: NDArray[np.int16]
    """(n, c) of the training items: what Unlearning via Examples draws from."""
    names: tuple[str, ...]
    """(v,) of the classes."""

    @classmethod
    def of(cls, task: Task[Asks]) -> Self:
        """From the inputs of a task."""
        items = {split: inputs.SweptItems.of(task, split) for split in SPLITS}
        counts = arrays.open_array(task.path("counts"), "counts")
        return cls(
            task=task,
            bottleneck=read_bottleneck(task),
            items=items,
            counts=counts,
            total=total_hits(counts),
            train_codes=items["train"].codes[...],
            names=inputs.read_manifest(task).classes,
        )


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
        hits = [class_hits(shared.counts, k) for k in classes]
        sweeps = [
            MethodSweep.of(shared, classes, hits=hits, grid=grid, seed=seed)
            for grid in task.asks.methods
            for seed in (grid.seeds if isinstance(grid, UveGrid) else [0])
        ]
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
            "seconds": {f"{swept.method}/{swept.seed}": round(swept.seconds, 3) for swept in sweeps},
        }

    return sweep_classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One class under one method and seed, before anything is swept."""

    k: int
    budgets: list[int]
    """(b,) increasing from 0 on, the N of the rule among them."""
    available: int
    """The largest N there is."""
    rule: int
    """Budget index of the rule's N."""
    pairs: NDArray[np.int64]
    """(b,) how many are masked; and what share of the hits of the class, and of all others, they hold."""
    forget_share: NDArray[np.float64]
    retain_share: NDArray[np.float64]


def make_case(
    shared: Shared, k: int, *, hits: NDArray[np.int64], grid: Grid, seed: int
) -> tuple[Case, NDArray[np.uint8]]:
    """The budgets of one class, and at which of them each pair goes.

    hits: (c, m) of the class.
    returns: the case, and its table (c, m, 1) as `dkvb.sweep.budget_table` has it.
    """
    if isinstance(grid, UvaGrid):
        order = orders.by_activation(hits, scope=grid.scope)
    else:
        examples = np.flatnonzero(shared.items["train"].labels.numpy() == k)
        order = orders.by_example(shared.train_codes[examples], hits, seed=seed)
    what = available_in_words(grid, shared.names[k])
    of_grid, rule = order.budgets(grid.grid, shares=grid.unit == "shares", what=what), order.smallest(orders.TAU)
    budgets = sorted({0, *of_grid, rule})
    table = budget_table([order.position], [budgets])
    pairs, forget_hits, all_hits = (
        sums_of_masked(table, weights, len(budgets)) for weights in (np.ones_like(hits), hits, shared.total)
    )
    retain_total = (shared.total.sum() - hits.sum()) or np.nan
    case = Case(
        k=k,
        budgets=budgets,
        available=order.available,
        rule=budgets.index(rule),
        pairs=pairs,
        forget_share=forget_hits / hits.sum(),
        retain_share=(all_hits - forget_hits) / retain_total,
    )
    return case, table


def sums_of_masked(table: NDArray[np.uint8], weights: NDArray[np.int64], budgets: int) -> NDArray[np.int64]:
    """(b,) the sum of the weights (c, m) on the pairs that are masked at each budget; table: (c, m, 1)."""
    sums = np.bincount(table.ravel(), weights=weights.ravel(), minlength=budgets)[:budgets]
    return sums.cumsum().astype(np.int64)


@dataclass(slots=True, kw_only=True)
class MethodSweep:
    """One method with one seed over the classes of a unit, and what its masks do to the items swept so far."""

    shared: Shared
    method: str
    seed: int
    cases: list[Case]
    table: NDArray[np.uint8]
    """(c, m, k), see `dkvb.sweep`."""
    right: dict[str, NDArray[np.int64]]
    """Split -> (k, b, v), items of each class that are predicted right."""
    right_among_retain: dict[str, NDArray[np.int64]]
    """The same where only the retain classes may be predicted."""
    lost: NDArray[np.int64]
    """(k, b), test items of other classes that were right at N = 0 and are wrong; and the other way round."""
    gained: NDArray[np.int64]
    change: NDArray[np.int8]
    """(k, n), of each test item of another class at the rule's N: -1 lost, 1 gained, 0 as before."""
    seconds: float = 0.0

    @classmethod
    def of(cls, shared: Shared, classes: list[int], *, hits: list[NDArray[np.int64]], grid: Grid, seed: int) -> Self:
        """Before any item is swept; hits: (c, m) of each class."""
        made = [make_case(shared, k, hits=own, grid=grid, seed=seed) for k, own in zip(classes, hits, strict=True)]
        cases, tables = [case for case, _ in made], [table for _, table in made]
        size = len(cases), max(len(case.budgets) for case in cases)
        v, tested = len(shared.names), len(shared.items["test"].labels)
        return cls(
            shared=shared,
            method=grid.method,
            seed=seed,
            cases=cases,
            table=np.concatenate(tables, axis=2),
            right={split: np.zeros((*size, v), np.int64) for split in SPLITS},
            right_among_retain={split: np.zeros((*size, v), np.int64) for split in SPLITS},
            lost=np.zeros(size, np.int64),
            gained=np.zeros(size, np.int64),
            change=np.zeros((len(cases), tested), np.int8),
        )

    def sweep_block(self, items: inputs.SweptItems, rows: slice, block: Items) -> None:
        """Sweep one block of items, and count who is still predicted right."""
        labels, v = items.labels[rows], len(self.shared.names)
        classes, budgets = [case.k for case in self.cases], self.lost.shape[1]
        clock = time.perf_counter()
        predicted, among_retain = sweep(
            self.shared.bottleneck, block, self.table, budgets=budgets, forget=[[k] for k in classes]
        )
        self.seconds += time.perf_counter() - clock
        self.right[items.split] += right_by_class(predicted, labels, v)
        self.right_among_retain[items.split] += right_by_class(among_retain, labels, v)
        if items.split == "test":
            lost, gained = changed(predicted, labels, forget=classes)
            self.lost += lost
            self.gained += gained
            for i, case in enumerate(self.cases):
                before, after = predicted[i, 0], predicted[i, case.rule]
                self.change[i, rows] = item_change(before, after, labels=labels, forget=case.k)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The result rows."""
        names = self.shared.names
        sizes = {split: items.sizes(len(names)) for split, items in self.shared.items.items()}
        for i, case in enumerate(self.cases):
            train, test = (
                class_accuracies(
                    self.right[split][i], self.right_among_retain[split][i], sizes=sizes[split], forget=case.k
                )
                for split in SPLITS
            )
            accuracies = {
                "train_forget": train.forget,
                "train_retain": train.retain,
                "train_retain_among_retain": train.retain_among_retain,
                "test_forget": test.forget,
                "test_retain": test.retain,
                "test_retain_among_retain": test.retain_among_retain,
            }
            for g, budget in enumerate(case.budgets):
                now = {name: float(values[g]) for name, values in accuracies.items()}
                damage, worst = neighbour_damage(test.by_class[0], test.by_class[g], forget=[case.k])
                yield {
                    "class": case.k,
                    "name": names[case.k],
                    "method": self.method,
                    "seed": self.seed,
                    "budget": budget,
                    "share": budget / case.available if case.available else 0.0,
                    "pairs_masked": int(case.pairs[g]),
                    "pairs_masked_share": float(case.pairs[g] / self.shared.total.size),
                    "forget_hit_share": float(case.forget_share[g]),
                    "retain_hit_share": float(case.retain_share[g]),
                    **now,
                    **{f"{name}_relative": ratio(now[name], accuracies[name][0]) for name in RELATIVE},
                    "worst_neighbour": None if worst < 0 else worst,
                    "neighbour_damage": damage,
                    "test_retain_lost": int(self.lost[i, g]),
                    "test_retain_gained": int(self.gained[i, g]),
                    "digest": self.shared.task.output.digest,
                }

    def item_rows(self) -> Iterator[dict[str, Any]]:
        """What each test item adds to the sum of the retain changes of a unit's known classes, at the rule's N."""
        sizes = self.shared.items["test"].sizes(len(self.shared.names))
        total = np.zeros(self.change.shape[1])
        for i, case in enumerate(self.cases):
            if self.right["test"][i, 0, case.k]:  # a class that was never known has nothing to forget
                total += self.change[i] / max(1, sizes.sum() - sizes[case.k])
        for item in np.flatnonzero(total).tolist():
            yield {"method": self.method, "seed": self.seed, "item": item, "change": float(total[item])}


RELATIVE = ("train_forget", "train_retain", "test_forget", "test_retain")


def ratio(now: float, before: float) -> float:
    """What is left: now / before; NaN, which becomes null, when there was nothing to lose."""
    return now / before if before else float("nan")


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
    for folder, table in (("rows", SWEEP_TABLE), ("items", SWEEP_ITEMS_TABLE)):
        compact([task.output.path / folder / f"{unit}.parquet" for unit in marks], task.output.path / table)
    return {"rows": sum(mark["rows"] for mark in marks.values()), **model}
