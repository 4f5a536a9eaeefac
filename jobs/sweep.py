"""Step: the sweep; a block of classes a unit, each forgotten by itself, with every method, budget and seed."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb import masks
from dkvb.bottleneck import Bottleneck
from dkvb.metrics import right_by_class
from dkvb.sweep import Items, step_table, sweep
from jobs import data
from jobs.classes import class_hits, total_hits
from jobs.errors import BadRequest
from jobs.heads import read_bottleneck
from jobs.step import SPLITS, Facts, Task, Work, blocks, use_cores
from store import arrays
from store.layout import BLOCK, SWEEP, SWEEP_TABLE
from store.tables import compact, write_rows

VERSION = 3
LEASE_S = 86400

CLASSES = 64
"""Classes of a unit at most: rows of values are read from memory once for all of them; their steps take c * m bytes
each."""

UNITS = 16
"""Units at least, where there are as many classes: work for as many workers."""


def prepare(task: Task) -> list[str]:
    """Blocks of the classes asked for; refuses a grid that asks for more than a class has."""
    names, wanted = data.read_manifest(task).classes, data.wanted_classes(task)
    data.check_alike(task)
    labels = data.labels(task, "train")
    counts = arrays.open_array(task.path("counts"), "counts")
    for k in wanted:
        if not (labels == k).any():
            raise BadRequest(f"class {names[k]!r} has no training items to forget; leave it out with sweep.classes")
        hits = class_hits(counts, k)
        for method, grid in task.spec["methods"].items():
            _budgets(method, grid, hits, int((labels == k).sum()), name=names[k])
    return blocks(len(wanted), block_size(len(wanted)))


def block_size(classes: int) -> int:
    """Classes of a unit."""
    return max(1, min(CLASSES, classes // UNITS))


def _budgets(
    method: str, grid: dict[str, Any], hits: NDArray[np.int64], items: int, *, name: str
) -> tuple[list[int], int]:
    """The numbers N of a grid for one class, beginning with 0, and how many there are at most."""
    if method == "uva":
        available, what = masks.activated_pairs(hits, scope=grid["scope"]), f"pairs that class {name!r} activates"
    else:
        available, what = items, f"training items of class {name!r}"
    numbers = masks.budgets(grid["grid"], available, shares=grid["unit"] == "shares", what=what)
    return sorted({0, *numbers}), available


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
    pairs: NDArray[np.int64]
    """(steps,), pairs masked at each step; and what share of the hits of the class and of all others they hold."""
    forget_share: NDArray[np.float64]
    retain_share: NDArray[np.float64]


def open_work(task: Task) -> Work:
    """Hold the model; sweep one block of classes at a time."""
    use_cores()
    counts = arrays.open_array(task.path("counts"), "counts")
    splits = tuple(
        Split(
            split,
            data.labels(task, split),
            arrays.open_array(task.path(f"codes_{split}"), "codes"),
            arrays.open_array(task.path(f"neighbours_{split}"), "neighbours"),
        )
        for split in SPLITS
    )
    bottleneck = read_bottleneck(task)
    names = data.read_manifest(task).classes
    bench = Bench(task, bottleneck, splits, counts, total_hits(counts), np.asarray(splits[0].codes[...]), names)
    wanted = data.wanted_classes(task)
    size = block_size(len(wanted))

    def sweep_block(unit: str) -> Facts:
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
        rows = [row for run in runs for row in run_rows(bench, run)]
        write_rows(task.output.path / "rows" / f"{unit}.parquet", rows, SWEEP)
        return {
            "rows": len(rows),
            "classes": classes,
            "seconds": {f"{run.method}/{run.seed}": round(run.seconds, 3) for run in runs},
            "accuracy": {
                split.name: float(runs[0].right[split.name][0, 0].sum() / split.sizes(len(names)).sum())
                for split in splits
            },
        }

    return sweep_block


def make_run(
    bench: Bench, classes: list[int], hits: list[NDArray[np.int64]], *, method: str, grid: dict[str, Any], seed: int
) -> Run:
    """The grids of a block of classes, and when they remove which pair."""
    m, labels = bench.total.shape[1], bench.splits[0].labels.numpy()
    cases, tables = [], []
    for k, own in zip(classes, hits, strict=True):
        rows = np.flatnonzero(labels == k)
        numbers, available = _budgets(method, grid, own, len(rows), name=bench.names[k])
        if method == "uva":
            position = masks.activation_positions(own, scope=grid["scope"])
        else:
            position = masks.example_positions(bench.codes[rows], m, seed=seed)
        table = step_table([position], [numbers])
        by_step = [by_steps(table, weights, len(numbers)) for weights in (np.ones_like(own), own, bench.total)]
        others = (bench.total.sum() - own.sum()) or np.nan
        cases.append(
            Case(k, numbers, available, by_step[0], by_step[1] / own.sum(), (by_step[2] - by_step[1]) / others)
        )
        tables.append(table)
    v, steps = len(bench.names), max(len(case.budgets) for case in cases)
    right, among = ({split: np.zeros((len(classes), steps, v), np.int64) for split in SPLITS} for _ in range(2))
    return Run(method, seed, cases, np.concatenate(tables, axis=2), right, among)


def by_steps(table: NDArray[np.uint8], weights: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
    """(steps,) the sum of the weights (c, m) on the pairs that are masked at each grid step."""
    sums = np.bincount(table.ravel(), weights=weights.ravel(), minlength=steps)[:steps]
    return sums.cumsum().astype(np.int64)


def watch(bench: Bench, split: Split, start: int, classes: list[int], runs: Sequence[Run]) -> None:
    """Sweep one block of items under every run, and count who is still predicted right."""
    rows = slice(start, start + BLOCK)
    items = Items(
        data.embeddings(bench.task, split.name, start=start, stop=start + BLOCK),
        torch.from_numpy(np.asarray(split.codes[rows])),
        torch.from_numpy(np.asarray(split.neighbours[rows])),
    )
    for run in runs:
        clock = time.perf_counter()
        forget = [[k] for k in classes]
        predicted, among = sweep(bench.bottleneck, items, run.table, steps=run.steps, forget=forget)
        run.right[split.name] += right_by_class(predicted, split.labels[rows], len(bench.names))
        run.among[split.name] += right_by_class(among, split.labels[rows], len(bench.names))
        run.seconds += time.perf_counter() - clock


def run_rows(bench: Bench, run: Run) -> Iterator[dict[str, Any]]:
    """The result rows of one method and seed."""
    sizes = {split.name: split.sizes(len(bench.names)) for split in bench.splits}
    for i, case in enumerate(run.cases):
        found = {split: scores(run.right[split][i], run.among[split][i], sizes[split], case.k) for split in SPLITS}
        damage = found["test"].by_class[0] - found["test"].by_class
        damage[:, case.k] = -np.inf
        damage = np.nan_to_num(damage, nan=-np.inf)
        accuracies = {f"{split}_{name}": values for split in SPLITS for name, values in found[split].accuracies.items()}
        for g, number in enumerate(case.budgets):
            now = {name: values[g] for name, values in accuracies.items()}
            yield {
                "class": case.k,
                "name": bench.names[case.k],
                "method": run.method,
                "seed": run.seed,
                "budget": number,
                "share": number / case.available if case.available else 0.0,
                "pairs_masked": int(case.pairs[g]),
                "pairs_masked_share": case.pairs[g] / bench.total.size,
                "forget_hit_share": case.forget_share[g],
                "retain_hit_share": case.retain_share[g],
                **now,
                **{f"{name}_relative": ratio(now[name], accuracies[name][0]) for name in RELATIVE},
                "worst_neighbour": int(damage[g].argmax()),
                "neighbour_damage": damage[g].max(),
                "digest": bench.task.output.digest,
            }


RELATIVE = ("train_forget", "train_retain", "test_forget", "test_retain")


def ratio(now: float, before: float) -> float:
    """What is left: now / before; NaN when there was nothing to lose."""
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
    """One table of all units; what the bottleneck reaches before anything is forgotten."""
    marks = task.output.marks()
    compact([task.output.path / "rows" / f"{unit}.parquet" for unit in marks], task.output.path / SWEEP_TABLE)
    accuracy = next(iter(marks.values()))["accuracy"]
    return {"rows": sum(mark["rows"] for mark in marks.values()), "accuracy": accuracy}
