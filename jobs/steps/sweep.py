"""Step: the sweep; a block of classes a unit, each forgotten by itself, with every method, budget and seed.

The grid of every class and seed holds the N of the rule too (`dkvb.orders.TAU`). One more unit, BEFORE, is the model as
it is: accuracies, items, and what its losses tell of who was trained on.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from dkvb import orders
from dkvb.bottleneck import Bottleneck
from dkvb.compilation import warm
from dkvb.metrics import changed, neighbour_damage, right_by_class
from dkvb.roc import auc
from dkvb.sweep import NEVER_STEP, Items, step_table, sweep
from dkvb.values import CodeFeatures
from jobs import inputs
from jobs.classes import class_hits, total_hits
from jobs.comparison.heads import logits_of, read_bottleneck
from jobs.errors import BadRequest
from jobs.rows import without_nan
from jobs.step import SPLITS, Facts, Task, Work
from jobs.worker import blocks, use_cores
from store import arrays
from store.layout import BLOCK, SWEEP, SWEEP_ITEMS, SWEEP_ITEMS_TABLE, SWEEP_TABLE
from store.tables import compact, write_rows

VERSION = 4
LEASE_S = 86400

BEFORE = "before"
"""The unit of the model before anything is forgotten."""

CLASSES = 64
"""Classes of a unit at most: rows of values are read from memory once for all of them; their steps take c * m bytes
each."""

UNITS = 16
"""Units at least, where there are as many classes: work for as many workers."""


def prepare(task: Task) -> list[str]:
    """Blocks of the classes asked for, and the model before; refuses a grid that asks for more than a class has."""
    names, wanted = inputs.read_manifest(task).classes, inputs.wanted_classes(task)
    inputs.check_alike(task)
    for method, grid in task.spec["methods"].items():
        if len(grid["grid"]) > NEVER_STEP - 2:  # beside 0 and the N of the rule
            raise BadRequest(f"sweep.{method}: found {len(grid['grid'])} budgets, expected at most {NEVER_STEP - 2}")
    labels = inputs.labels(task, "train")
    counts = arrays.open_array(task.path("counts"), "counts")
    for k in wanted:
        if not (labels == k).any():
            raise BadRequest(f"class {names[k]!r} has no training items to forget; leave it out with sweep.classes")
        hits = class_hits(counts, k)
        for method, grid in task.spec["methods"].items():
            there = orders.activated_pairs(hits, scope=grid["scope"]) if method == "uva" else int((labels == k).sum())
            orders.budgets(grid["grid"], there, shares=grid["unit"] == "shares", what=what_of(method, names[k]))
    return [*blocks(len(wanted), block_size(len(wanted))), BEFORE]


def block_size(classes: int) -> int:
    """Classes of a unit."""
    return max(1, min(CLASSES, classes // UNITS))


def what_of(method: str, name: str) -> str:
    """What a method's N counts, of the class of that name."""
    return f"pairs that class {name!r} activates" if method == "uva" else f"training items of class {name!r}"


@dataclass(frozen=True, slots=True)
class Split:
    """The watched items of one split; all but their labels is read block by block."""

    name: str
    labels: Tensor
    """(n,) int64; -1: no item."""
    codes: Any
    neighbours: Any

    def sizes(self, v: int) -> NDArray[np.int64]:
        """(v,) items of each class."""
        return torch.bincount(self.labels[self.labels >= 0], minlength=v).numpy()


@dataclass(slots=True)
class Bench:
    """What all units share."""

    task: Task
    bottleneck: Bottleneck
    splits: tuple[Split, ...]
    counts: Any
    total: NDArray[np.int64]
    """(c, m), hits of all classes."""
    codes: NDArray[np.int16]
    """(n, c) of the training items: what Unlearning via Examples draws from."""
    names: tuple[str, ...]


@dataclass(slots=True)
class Run:
    """One method with one seed over the classes of a unit."""

    method: str
    seed: int
    cases: list["Case"]
    table: NDArray[np.uint8]
    """(c, m, classes), see `dkvb.sweep`."""
    right: dict[str, NDArray[np.int64]]
    """Split -> (classes, steps, v), items of each class predicted right."""
    among: dict[str, NDArray[np.int64]]
    """The same with the argmax over the retain classes."""
    lost: NDArray[np.int64]
    """(classes, steps), test items of other classes that were right at N = 0 and are wrong; and the other way round."""
    gained: NDArray[np.int64]
    change: NDArray[np.int8]
    """(classes, n), of each test item of another class at the rule's N: -1 lost, 1 gained, 0 as before."""
    seconds: float = 0.0

    @property
    def steps(self) -> int:
        """Grid steps of the longest grid."""
        return max(len(case.budgets) for case in self.cases)


@dataclass(frozen=True, slots=True)
class Case:
    """One class under one method and seed, before anything is swept."""

    k: int
    budgets: list[int]
    available: int
    rule: int
    """The step of the rule's N."""
    pairs: NDArray[np.int64]
    """(steps,), pairs masked at each step; and what share of the hits of the class and of all others they hold."""
    forget_share: NDArray[np.float64]
    retain_share: NDArray[np.float64]


def open_work(task: Task) -> Work:
    """Hold the model; sweep one block of classes at a time."""
    use_cores()
    warm()  # before any clock starts: compilation is no sweep's
    counts = arrays.open_array(task.path("counts"), "counts")
    splits = tuple(
        Split(
            split,
            inputs.labels(task, split),
            arrays.open_array(task.path(f"codes_{split}"), "codes"),
            arrays.open_array(task.path(f"neighbours_{split}"), "neighbours"),
        )
        for split in SPLITS
    )
    bottleneck = read_bottleneck(task)
    names = inputs.read_manifest(task).classes
    bench = Bench(task, bottleneck, splits, counts, total_hits(counts), np.asarray(splits[0].codes[...]), names)
    wanted = inputs.wanted_classes(task)
    size = block_size(len(wanted))

    def sweep_block(unit: str) -> Facts:
        if unit == BEFORE:
            return measure(bench)
        classes = wanted[int(unit) * size :][:size]
        hits = [class_hits(counts, k) for k in classes]
        runs = [
            make_run(bench, classes, hits, method=method, grid=grid, seed=seed)
            for method, grid in task.spec["methods"].items()
            for seed in grid.get("seeds", [0])
        ]
        for split in splits:
            for start in range(0, len(split.labels), BLOCK):
                watch(bench, split, start, classes, runs)
        rows = [without_nan(row) for run in runs for row in run_rows(bench, run)]
        write_rows(task.output.path / "rows" / f"{unit}.parquet", rows, SWEEP)
        changes = [row for run in runs for row in item_rows(bench, run)]
        write_rows(task.output.path / "items" / f"{unit}.parquet", changes, SWEEP_ITEMS)
        return {
            "rows": len(rows),
            "classes": classes,
            "seconds": {f"{run.method}/{run.seed}": round(run.seconds, 3) for run in runs},
        }

    return sweep_block


def make_run(
    bench: Bench, classes: list[int], hits: list[NDArray[np.int64]], *, method: str, grid: dict[str, Any], seed: int
) -> Run:
    """The grids of a block of classes, and when they remove which pair."""
    labels = bench.splits[0].labels.numpy()
    cases, tables = [], []
    for k, own in zip(classes, hits, strict=True):
        rows = np.flatnonzero(labels == k)
        if method == "uva":
            order = orders.by_activation(own, scope=grid["scope"])
        else:
            order = orders.by_example(bench.codes[rows], own, seed=seed)
        budgets = order.budgets(grid["grid"], shares=grid["unit"] == "shares", what=what_of(method, bench.names[k]))
        rule = order.smallest(orders.TAU)
        numbers = sorted({0, *budgets, rule})
        table = step_table([order.position], [numbers])
        by_step = [by_steps(table, weights, len(numbers)) for weights in (np.ones_like(own), own, bench.total)]
        others = (bench.total.sum() - own.sum()) or np.nan
        shares = by_step[1] / own.sum(), (by_step[2] - by_step[1]) / others
        cases.append(Case(k, numbers, order.available, numbers.index(rule), by_step[0], *shares))
        tables.append(table)
    v, steps = len(bench.names), max(len(case.budgets) for case in cases)
    right, among = ({split: np.zeros((len(classes), steps, v), np.int64) for split in SPLITS} for _ in range(2))
    lost, gained = (np.zeros((len(classes), steps), np.int64) for _ in range(2))
    change = np.zeros((len(classes), len(bench.splits[1].labels)), np.int8)
    return Run(method, seed, cases, np.concatenate(tables, axis=2), right, among, lost, gained, change)


def by_steps(table: NDArray[np.uint8], weights: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
    """(steps,) the sum of the weights (c, m) on the pairs that are masked at each grid step."""
    sums = np.bincount(table.ravel(), weights=weights.ravel(), minlength=steps)[:steps]
    return sums.cumsum().astype(np.int64)


def watch(bench: Bench, split: Split, start: int, classes: list[int], runs: Sequence[Run]) -> None:
    """Sweep one block of items under every run, and count who is still predicted right."""
    rows = slice(start, start + BLOCK)
    items = Items(
        inputs.embeddings(bench.task, split.name, start=start, stop=start + BLOCK),
        torch.from_numpy(np.asarray(split.codes[rows])),
        torch.from_numpy(np.asarray(split.neighbours[rows])),
    )
    for run in runs:
        clock = time.perf_counter()
        forget = [[k] for k in classes]
        predicted, among = sweep(bench.bottleneck, items, run.table, steps=run.steps, forget=forget)
        run.seconds += time.perf_counter() - clock
        run.right[split.name] += right_by_class(predicted, split.labels[rows], len(bench.names))
        run.among[split.name] += right_by_class(among, split.labels[rows], len(bench.names))
        if split.name == "test":
            compare_items(run, predicted, split.labels[rows], start, classes)


def compare_items(run: Run, predicted: Tensor, labels: Tensor, start: int, classes: list[int]) -> None:
    """Keep which of a block of test items the masks lose and gain; predicted: (classes, steps, n) int16."""
    lost, gained = changed(predicted, labels, forget=[[k] for k in classes])
    run.lost += lost
    run.gained += gained
    for i, case in enumerate(run.cases):
        was, now = (predicted[i, step] == labels for step in (0, case.rule))
        change = now.to(torch.int8) - was.to(torch.int8)
        change[(labels < 0) | (labels == case.k)] = 0
        run.change[i, start : start + len(labels)] = change.numpy()


def measure(bench: Bench) -> Facts:
    """The model before anything is forgotten: accuracies, items of each class, and the membership attack by loss."""
    v = len(bench.names)
    facts: dict[str, dict[str, Any]] = {"items": {}, "right": {}, "accuracy": {}}
    scores: dict[str, NDArray[np.float64]] = {}
    weights = bench.bottleneck.values.flatten(0, 1)
    for split in bench.splits:
        right, parts = np.zeros(v, np.int64), [np.empty(0)]
        for start in range(0, len(split.labels), BLOCK):
            rows = slice(start, start + BLOCK)
            labels = split.labels[rows]
            codes = torch.from_numpy(np.asarray(split.codes[rows]))[labels >= 0]
            labels = labels[labels >= 0]
            if len(labels):
                logits = logits_of(CodeFeatures(codes, bench.total.shape[1]), weights)
                right += torch.bincount(labels[logits.argmax(1) == labels], minlength=v).numpy()
                parts.append(-cross_entropy(logits.double(), labels, reduction="none").numpy())
        scores[split.name] = np.concatenate(parts)
        items = split.sizes(v)
        facts["items"][split.name], facts["right"][split.name] = items.tolist(), right.tolist()
        facts["accuracy"][split.name] = float(right.sum() / items.sum()) if items.sum() else None
    both = all(len(score) for score in scores.values())
    return {**facts, "membership_auc": auc(scores["train"], scores["test"]) if both else None}


def run_rows(bench: Bench, run: Run) -> Iterator[dict[str, Any]]:
    """The result rows of one method and seed."""
    sizes = {split.name: split.sizes(len(bench.names)) for split in bench.splits}
    for i, case in enumerate(run.cases):
        found = {split: scores(run.right[split][i], run.among[split][i], sizes[split], case.k) for split in SPLITS}
        accuracies = {f"{split}_{name}": values for split in SPLITS for name, values in found[split].accuracies.items()}
        for g, number in enumerate(case.budgets):
            now = {name: float(values[g]) for name, values in accuracies.items()}
            by_class_then, by_class_now = (found["test"].by_class[step] for step in (0, g))
            damage, worst = neighbour_damage(by_class_then, by_class_now, forget=[case.k])
            yield {
                "class": case.k,
                "name": bench.names[case.k],
                "method": run.method,
                "seed": run.seed,
                "budget": number,
                "share": number / case.available if case.available else 0.0,
                "pairs_masked": int(case.pairs[g]),
                "pairs_masked_share": float(case.pairs[g] / bench.total.size),
                "forget_hit_share": float(case.forget_share[g]),
                "retain_hit_share": float(case.retain_share[g]),
                **now,
                **{f"{name}_relative": ratio(now[name], accuracies[name][0]) for name in RELATIVE},
                "worst_neighbour": None if worst < 0 else worst,
                "neighbour_damage": damage,
                "test_retain_lost": int(run.lost[i, g]),
                "test_retain_gained": int(run.gained[i, g]),
                "digest": bench.task.output.digest,
            }


def item_rows(bench: Bench, run: Run) -> Iterator[dict[str, Any]]:
    """What each test item adds to the sum of the retain changes of a unit's known classes, at the rule's N."""
    sizes = bench.splits[1].sizes(len(bench.names))
    total = np.zeros(run.change.shape[1])
    for i, case in enumerate(run.cases):
        if run.right["test"][i, 0, case.k]:  # a class that was never known has nothing to forget
            total += run.change[i] / max(1, sizes.sum() - sizes[case.k])
    for item in np.flatnonzero(total).tolist():
        yield {"method": run.method, "seed": run.seed, "item": item, "change": float(total[item])}


RELATIVE = ("train_forget", "train_retain", "test_forget", "test_retain")


def ratio(now: float, before: float) -> float:
    """What is left: now / before; NaN, which becomes null, when there was nothing to lose."""
    return now / before if before else float("nan")


@dataclass(frozen=True, slots=True)
class Scores:
    """Accuracies on one split, step by step; an accuracy over no items is NaN."""

    accuracies: dict[str, NDArray[np.float64]]
    by_class: NDArray[np.float64]
    """(steps, v)."""


def scores(right: NDArray[np.int64], among: NDArray[np.int64], sizes: NDArray[np.int64], k: int) -> Scores:
    """Accuracies from the items of each class (steps, v) that are right, among all and among the retain classes."""
    others = sizes.sum() - sizes[k]
    with np.errstate(invalid="ignore", divide="ignore"):
        by_class = right / sizes
        found = {
            "forget": by_class[:, k],
            "retain": (right.sum(1) - right[:, k]) / others,
            "retain_among_retain": (among.sum(1) - among[:, k]) / others,
        }
    return Scores(found, by_class)


def finish(task: Task) -> Facts:
    """One table of all units; what the bottleneck reaches, and leaks, before anything is forgotten."""
    marks = task.output.marks()
    model = marks.pop(BEFORE)
    for folder, table in (("rows", SWEEP_TABLE), ("items", SWEEP_ITEMS_TABLE)):
        compact([task.output.path / folder / f"{unit}.parquet" for unit in marks], task.output.path / table)
    return {"rows": sum(mark["rows"] for mark in marks.values()), **model}
