"""Step: sets of classes, each forgotten together; a block of sets a unit, with every method, budget and seed.

Sets are those that the spec names, and random ones of given sizes: a draw is one random order of all classes that have
training items, and its set of a size is the first so many of it, so within a draw larger sets hold the smaller.

Budgets are as of `jobs.unlearn`: N pairs of all classes of a set together, or N examples of each of them.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dkvb import orders
from dkvb.metrics import changed, neighbour_damage, right_by_class
from dkvb.orders import RemovalOrder
from dkvb.seeds import generator
from dkvb.sweep import step_table, sweep
from jobs import inputs
from jobs.classes import class_hits, class_indexes, total_hits
from jobs.comparison.masks import Watched
from jobs.errors import BadRequest
from jobs.rows import without_nan
from jobs.step import SPLITS, Facts, Task, Work
from jobs.worker import blocks, use_cores
from store import arrays
from store.layout import SETS, SETS_TABLE
from store.tables import compact, write_rows

VERSION = 1
LEASE_S = 86400

SETS_OF_UNIT = 16
"""Sets of a unit at most."""

UNITS = 16
"""Units at least, where there are as many sets."""

HALF = "half"
"""A size that stands for half of the classes."""


@dataclass(frozen=True, slots=True)
class ForgetSet:
    """Classes that are forgotten together."""

    members: tuple[int, ...]
    """Indexes, increasing."""
    draw: int | None
    """Of which random order it is the beginning; None for a set that the spec names."""


def forget_sets(task: Task) -> list[ForgetSet]:
    """Those that the spec names, then the random ones, by draw and size."""
    names, spec = inputs.read_manifest(task).classes, task.spec
    there = np.unique(inputs.labels(task, "train").numpy())
    there = there[there >= 0]
    made = []
    for named in spec["sets"]:
        members = class_indexes(names, named)
        if missing := [names[k] for k in members if k not in there]:
            raise BadRequest(f"sweep.sets: class {missing[0]!r} has no training items to forget; leave it out")
        made.append(ForgetSet(tuple(members), None))
    sizes = sorted({max(1, len(there) // 2) if size == HALF else size for size in spec["sizes"]})
    if sizes and sizes[-1] >= len(there):
        raise BadRequest(
            f"sweep.sizes: found {sizes[-1]}, expected less than the {len(there)} classes that have training items: "
            "somebody must be left to look at"
        )
    for draw in range(spec["draws"] if sizes else 0):
        order = there[torch.randperm(len(there), generator=generator(spec["seed"], "forget sets", draw)).numpy()]
        made += [ForgetSet(tuple(sorted(order[:size].tolist())), draw) for size in sizes]
    return made


def prepare(task: Task) -> list[str]:
    """Blocks of the sets."""
    inputs.check_alike(task)
    sets = forget_sets(task)
    for one in sets:
        if len(one.members) >= len(inputs.read_manifest(task).classes):
            raise BadRequest("sweep.sets: found a set of all classes, expected one that leaves somebody to look at")
    return blocks(len(sets), block_size(len(sets)))


def block_size(sets: int) -> int:
    """Sets of a unit."""
    return max(1, min(SETS_OF_UNIT, sets // UNITS))


@dataclass(frozen=True, slots=True)
class Shared:
    """What all units share."""

    task: Task
    items: Watched
    labels: dict[str, NDArray[np.int64]]
    """Split -> (n,) classes; -1 for a skipped item."""
    sizes: dict[str, NDArray[np.int64]]
    """Split -> (v,) items of each class."""
    counts: arrays.StoredArray
    total: NDArray[np.int64]
    """(c, m) hits of all classes."""
    codes: NDArray[np.int16]
    """(n, c) of the training items: what Unlearning via Examples draws from."""
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Case:
    """One set under one method and seed, before anything is swept."""

    forget: ForgetSet
    order: RemovalOrder
    budgets: list[int]
    """Increasing, the first 0."""
    rule: int
    """N of the rule, which is one of them."""


def open_work(task: Task) -> Work:
    """Hold the model; sweep one block of sets at a time."""
    use_cores()
    labels = {split: inputs.labels(task, split).numpy() for split in SPLITS}
    names = inputs.read_manifest(task).classes
    counts = arrays.open_array(task.path("counts"), "counts")
    shared = Shared(
        task=task,
        items=Watched.of(task),
        labels=labels,
        sizes={split: np.bincount(own[own >= 0], minlength=len(names)) for split, own in labels.items()},
        counts=counts,
        total=total_hits(counts),
        codes=arrays.read(task.path("codes_train"), "codes"),
        names=names,
    )
    sets = forget_sets(task)
    size = block_size(len(sets))

    def sweep_block(unit: str) -> Facts:
        first = int(unit) * size
        rows: list[dict[str, Any]] = []
        for method, grid in task.spec["methods"].items():
            for seed in grid.get("seeds", [0]):
                cases = [case_of(shared, one, method, grid, seed) for one in sets[first : first + size]]
                rows += swept(shared, cases, first=first, method=method, seed=seed)
        write_rows(task.output.path / "rows" / f"{unit}.parquet", [without_nan(row) for row in rows], SETS)
        return {"rows": len(rows), "sets": len(sets[first : first + size])}

    return sweep_block


def case_of(shared: Shared, forget: ForgetSet, method: str, grid: dict[str, Any], seed: int) -> Case:
    """The order in which a set loses its pairs, and the budgets that it is looked at."""
    hits = [class_hits(shared.counts, k) for k in forget.members]
    if method == "uva":
        order = orders.by_activation(reduce(np.add, hits), scope=grid["scope"])
    else:  # N examples of each class
        each = [
            orders.by_example(shared.codes[shared.labels["train"] == k], own, seed=seed)
            for k, own in zip(forget.members, hits, strict=True)
        ]
        position = reduce(np.minimum, (one.position for one in each))
        order = RemovalOrder(position, reduce(np.add, hits), max(one.available for one in each))
    what = "pairs that these classes activate" if method == "uva" else "training items of the largest of these classes"
    budgets = order.budgets(grid["grid"], shares=grid["unit"] == "shares", what=what)
    rule = order.smallest(orders.TAU)
    return Case(forget, order, sorted({0, *budgets, rule}), rule)


def swept(shared: Shared, cases: list[Case], *, first: int, method: str, seed: int) -> Iterator[dict[str, Any]]:
    """The rows of some sets under one method and seed; first: number of the first set."""
    forget = [list(case.forget.members) for case in cases]
    table = step_table([case.order.position for case in cases], [case.budgets for case in cases])
    v, steps = len(shared.names), max(len(case.budgets) for case in cases)
    right, among = ({split: np.zeros((len(cases), steps, v), np.int64) for split in SPLITS} for _ in range(2))
    lost, gained = (np.zeros((len(cases), steps), np.int64) for _ in range(2))
    for split in SPLITS:
        for rows, items in shared.items.blocks(split):
            labels = torch.from_numpy(shared.labels[split][rows])
            predicted, predicted_among = sweep(shared.items.bottleneck, items, table, steps=steps, forget=forget)
            right[split] += right_by_class(predicted, labels, v)
            among[split] += right_by_class(predicted_among, labels, v)
            if split == "test":
                for total, block in zip((lost, gained), changed(predicted, labels, forget=forget), strict=True):
                    total += block
    for i, case in enumerate(cases):
        members = list(case.forget.members)
        for g, number in enumerate(case.budgets):
            accuracies = {
                f"{split}_{name}": value
                for split in SPLITS
                for name, value in rates(right[split][i, g], among[split][i, g], shared.sizes[split], members).items()
            }
            with np.errstate(invalid="ignore"):
                then, now = (right["test"][i, step] / shared.sizes["test"] for step in (0, g))
            damage, worst = neighbour_damage(then, now, forget=members)
            mask = case.order.mask(number)
            yield {
                "set": first + i,
                "size": len(members),
                "draw": case.forget.draw,
                "members": json.dumps(members),
                "names": json.dumps([shared.names[k] for k in members], ensure_ascii=False),
                "method": method,
                "seed": seed,
                "budget": number,
                "share": number / case.order.available if case.order.available else 0.0,
                "rule": number == case.rule,
                "pairs_masked": int(mask.sum()),
                "pairs_masked_share": float(mask.mean()),
                "forget_hit_share": orders.hit_share(case.order.hits, mask),
                "retain_hit_share": orders.hit_share(shared.total - case.order.hits, mask),
                **accuracies,
                "worst_neighbour": None if worst < 0 else worst,
                "neighbour_damage": damage,
                "test_retain_lost": int(lost[i, g]),
                "test_retain_gained": int(gained[i, g]),
                "digest": shared.task.output.digest,
            }


def rates(
    right: NDArray[np.int64], among: NDArray[np.int64], sizes: NDArray[np.int64], members: list[int]
) -> dict[str, float]:
    """Accuracies of a set and of all other classes; NaN over no items.

    right, among: (v,) items of each class that are right, among all classes and among those that stay.
    sizes: (v,) items of each class.
    """
    out = np.zeros(len(sizes), bool)
    out[members] = True

    def rate(counts: NDArray[np.int64], wanted: NDArray[np.bool_]) -> float:
        items = int(sizes[wanted].sum())
        return int(counts[wanted].sum()) / items if items else float("nan")

    return {"forget": rate(right, out), "retain": rate(right, ~out), "retain_among_retain": rate(among, ~out)}


def finish(task: Task) -> Facts:
    """One table of all units."""
    marks = task.output.marks()
    compact([task.output.path / "rows" / f"{unit}.parquet" for unit in marks], task.output.path / SETS_TABLE)
    return {"rows": sum(mark["rows"] for mark in marks.values()), "sets": sum(mark["sets"] for mark in marks.values())}
