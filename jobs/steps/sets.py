"""Step: sets of classes, each forgotten together; a block of sets a unit, with every method, budget and seed.

The grid of every set and seed holds the N of the rule too (`dkvb.orders.TAU`). A budget N of Unlearning via Activations
counts pairs, ranked by the hits of all classes of the set; one of Unlearning via Examples counts examples of each of
them, all of a class that has fewer.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dkvb import orders
from dkvb.compilation import warm
from jobs import inputs
from jobs.classes import class_hits
from jobs.forget_sets import ForgetSet, block_size, forget_sets
from jobs.kinds.sets import Asks
from jobs.rows import without_nan
from jobs.spec.schema import UvaGrid
from jobs.step import Facts, Task, Work
from jobs.sweeping import MethodSweep, Shared, available_in_words, check_budgets, check_grids, method_sweeps
from jobs.worker import blocks, use_cores
from store import arrays
from store.columns import SETS
from store.layout import SETS_TABLE
from store.tables import compact, write_rows


def read_sets(task: Task[Asks]) -> list[ForgetSet]:
    """The sets, in the order of their numbers; raises as `forget_sets`."""
    names, labels = inputs.read_manifest(task).classes, inputs.labels(task, "train").numpy()
    items = np.bincount(labels[labels >= 0], minlength=len(names))
    return forget_sets(task.asks.sets, names, items.tolist())


def prepare(task: Task[Asks]) -> list[str]:
    """Blocks of the sets; refuses a grid that asks for more pairs than a set activates."""
    inputs.check_alike(task)
    check_grids(task.asks.methods)
    sets, uva = read_sets(task), task.asks.methods.uva
    if uva is not None and uva.unit == "pairs":
        check_pairs(task, sets, uva)
    return blocks(len(sets), block_size(len(sets)))


def check_pairs(task: Task[Asks], sets: list[ForgetSet], grid: UvaGrid) -> None:
    """Raise BadBudget where a grid asks for more pairs than one of the sets activates."""
    counts, names = arrays.open_array(task.path("counts"), "counts"), inputs.read_manifest(task).classes
    activated = {k: np.packbits(class_hits(counts, k) > 0, axis=1) for one in sets for k in one.classes}
    for one in sets:
        together = np.unpackbits(np.bitwise_or.reduce([activated[k] for k in one.classes]), axis=1)
        available = orders.activated_pairs(together, scope=grid.scope)
        check_budgets(grid, available, available_in_words(grid, [names[k] for k in one.classes]))


def open_work(task: Task[Asks]) -> Work:
    """Hold the model; sweep one block of sets at a time."""
    use_cores()
    warm()  # before any clock starts: compilation is no sweep's
    shared = Shared.of(task)
    sets = read_sets(task)
    size = block_size(len(sets))

    def sweep_sets(unit: str) -> Facts:
        first = int(unit) * size
        forget = sets[first : first + size]
        sweeps = method_sweeps(shared, [one.classes for one in forget], task.asks.methods)
        for items in shared.items.values():
            for rows in items.blocks():
                block = items.read(rows)
                for swept in sweeps:
                    swept.sweep_block(items, rows, block)
        results = [row for swept in sweeps for row in rows_of(swept, forget, first)]
        write_rows(task.output.path / "rows" / f"{unit}.parquet", results, SETS)
        return {
            "rows": len(results),
            "sets": len(forget),
            "seconds": {f"{swept.method}/{swept.seed}": round(swept.seconds, 3) for swept in sweeps},
        }

    return sweep_sets


def rows_of(swept: MethodSweep, forget: Sequence[ForgetSet], first: int) -> Iterator[dict[str, Any]]:
    """The result rows of a block of sets; first: number of its first."""
    names = swept.shared.names
    for i, g, measures in swept.measures():
        classes = forget[i].classes
        about = {
            "set": first + i,
            "size": len(classes),
            "draw": forget[i].draw,
            "members": json.dumps(classes),
            "names": json.dumps([names[k] for k in classes], ensure_ascii=False),
            "rule": g == swept.cases[i].rule,
        }
        yield without_nan(about | measures)


def finish(task: Task[Asks]) -> Facts:
    """One table of all units."""
    marks = task.output.marks()
    compact([task.output.path / "rows" / f"{unit}.parquet" for unit in marks], task.output.path / SETS_TABLE)
    return {"rows": sum(mark["rows"] for mark in marks.values()), "sets": sum(mark["sets"] for mark in marks.values())}
