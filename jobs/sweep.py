"""Step: the sweep; one forget class a unit, with every method, budget and seed."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb import masks
from dkvb.bottleneck import Bottleneck
from dkvb.metrics import retain_predictions
from dkvb.sweep import Items, sweep, watch
from jobs import data
from jobs.classes import class_hits, class_indexes
from jobs.errors import BadRequest
from jobs.step import Facts, Task, Work
from store import arrays
from store.layout import CHECKPOINT, SWEEP, SWEEP_TABLE
from store.tables import compact, write_rows

VERSION = 2
LEASE_S = 86400


def prepare(task: Task) -> list[str]:
    """The classes asked for; refuses a grid that asks for more than a class has."""
    names = data.read_manifest(task).classes
    wanted = range(len(names)) if task.spec["classes"] is None else class_indexes(names, task.spec["classes"])
    data.check_alike(task)
    labels = data.labels(task, "train")
    counts = arrays.open_array(task.path("counts"), "counts")
    for k in wanted:
        if not (labels == k).any():
            raise BadRequest(f"class {names[k]!r} has no training items to forget; leave it out with sweep.classes")
        for method, grid in task.spec["methods"].items():
            _budgets(method, grid, class_hits(counts, k), int((labels == k).sum()), name=names[k])
    return [f"{k:05d}" for k in wanted]


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


@dataclass(slots=True)
class Bench:
    """What all units share: the model and the items it is watched on."""

    bottleneck: Bottleneck
    items: Items
    labels: Tensor
    """(n,) int64."""
    train: int
    """Rows before this one are training items, the others test items."""
    total: NDArray[np.int64]
    """(c, m) int64, hits of all classes."""
    names: tuple[str, ...]


def open_work(task: Task) -> Work:
    """Hold the model and all items; sweep one class at a time."""
    torch.set_num_threads(1)
    bottleneck = Bottleneck.load(task.inputs["values"].path / CHECKPOINT)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for split in ("train", "test"):
        labels = data.labels(task, split)
        codes = data.tensor(task, f"codes_{split}", "codes")
        keep = labels >= 0
        parts.append((data.embeddings(task, split)[keep], codes[keep], labels[keep]))
    z, codes, labels = (torch.cat(pair) for pair in zip(*parts, strict=True))
    counts = arrays.open_array(task.path("counts"), "counts")
    total = total_hits(counts)
    bench = Bench(
        bottleneck, watch(bottleneck, z, codes), labels, len(parts[0][0]), total, data.read_manifest(task).classes
    )

    right = bench.items.logits.argmax(1) == labels
    reached = {
        "train": right[: bench.train].double().mean().item(),
        "test": right[bench.train :].double().mean().item(),
    }

    def sweep_class(unit: str) -> Facts:
        k = int(unit)
        hits = class_hits(counts, k)
        rows, seconds = [], {}
        for method, grid in task.spec["methods"].items():
            for seed in grid.get("seeds", [0]):
                begin = time.perf_counter()
                rows += list(sweep_rows(bench, k, hits, method=method, grid=grid, seed=seed))
                seconds[f"{method}/{seed}"] = round(time.perf_counter() - begin, 3)
        for row in rows:
            row["digest"] = task.output.digest
        write_rows(task.output.path / "rows" / f"{unit}.parquet", rows, SWEEP)
        return {"rows": len(rows), "seconds": seconds, "accuracy": reached}

    return sweep_class


def total_hits(counts: Any) -> NDArray[np.int64]:
    """(c, m) int64: the hits of all classes, added class by class so that one class is in memory at a time."""
    total = np.zeros(counts.shape[1:], np.int64)
    for k in range(counts.shape[0]):
        total += class_hits(counts, k)
    return total


def sweep_rows(
    bench: Bench, k: int, hits: NDArray[np.int64], *, method: str, grid: dict[str, Any], seed: int
) -> Iterator[dict[str, Any]]:
    """The result rows of one class, method and seed."""
    own = (bench.labels[: bench.train] == k).nonzero()[:, 0]
    if method == "uva":
        position = masks.activation_positions(hits, scope=grid["scope"])
    else:
        position = masks.example_positions(bench.items.codes[own].numpy(), hits.shape[1], seed=seed)
    numbers, available = _budgets(method, grid, hits, len(own), name=bench.names[k])
    step = torch.from_numpy(masks.steps_of(position, numbers))
    before = scores(bench, bench.items.logits.argmax(1), retain_predictions(bench.items.logits, [k]), k)
    after = sweep(bench.bottleneck, bench.items, step, steps=len(numbers), forget=[k])
    for number, (predicted, among_retain) in zip(numbers, after, strict=True):
        mask = position < number
        now = scores(bench, predicted, among_retain, k)
        damage = before.by_class - now.by_class
        damage[k] = -torch.inf
        damage = damage.nan_to_num(nan=-torch.inf)
        yield {
            "class": k,
            "name": bench.names[k],
            "method": method,
            "seed": seed,
            "budget": number,
            "share": number / available if available else 0.0,
            "pairs_masked": int(mask.sum()),
            "pairs_masked_share": float(mask.mean()),
            "forget_hit_share": masks.hit_share(hits, mask),
            "retain_hit_share": masks.hit_share(bench.total - hits, mask),
            **now.accuracies,
            **{f"{name}_relative": ratio(now.accuracies[name], before.accuracies[name]) for name in RELATIVE},
            "worst_neighbour": int(damage.argmax()),
            "neighbour_damage": damage.max().item(),
        }


RELATIVE = ("train_forget", "train_retain", "test_forget", "test_retain")


def ratio(now: float, before: float) -> float:
    """What is left: now / before; NaN when there was nothing to lose."""
    return now / before if before else float("nan")


@dataclass(frozen=True, slots=True)
class Scores:
    """Accuracies of one model on all items."""

    accuracies: dict[str, float]
    by_class: Tensor
    """(v,) float64, test accuracy of each class; NaN for a class without test items."""


def scores(bench: Bench, predicted: Tensor, among_retain: Tensor, k: int) -> Scores:
    """Accuracies of the predictions; an accuracy over no items is NaN.

    predicted, among_retain: (n,) int64, the latter with the argmax over the retain classes only.
    """
    v = len(bench.names)
    found: dict[str, float] = {}
    by_class = torch.empty(0)
    for split, rows in (("train", slice(0, bench.train)), ("test", slice(bench.train, None))):
        labels = bench.labels[rows]
        sizes = torch.bincount(labels, minlength=v).double()
        right = torch.bincount(labels[predicted[rows] == labels], minlength=v).double()
        right_among = torch.bincount(labels[among_retain[rows] == labels], minlength=v).double()
        others = sizes.sum() - sizes[k]
        found[f"{split}_forget"] = (right[k] / sizes[k]).item()
        found[f"{split}_retain"] = ((right.sum() - right[k]) / others).item()
        found[f"{split}_retain_among_retain"] = ((right_among.sum() - right_among[k]) / others).item()
        by_class = right / sizes
    return Scores(found, by_class)


def finish(task: Task) -> Facts:
    """One table of all units; what the bottleneck reaches before anything is forgotten."""
    marks = task.output.marks()
    compact([task.output.path / "rows" / f"{unit}.parquet" for unit in marks], task.output.path / SWEEP_TABLE)
    accuracy = next(iter(marks.values()))["accuracy"]
    return {"rows": sum(mark["rows"] for mark in marks.values()), "accuracy": accuracy}
