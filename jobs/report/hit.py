"""Who is hit where a class is forgotten: at every N the classes that lose most test items, with counts.

The sweep's tables keep the worst neighbour alone. The page asks for more of them, so the sweep of test items is done
anew, from stored codes: about a third of a second for each class and method of a data set of 10,000 test items. Of the
classes that cost the others most, it is done for as many as `WORK` allows.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dkvb import orders
from dkvb.orders import RemovalOrder
from jobs.query.stored import Stored
from jobs.report.swept import Swept, first_seed
from store import arrays
from store.checksums import checked_on_disk
from store.layout import CHECKPOINT

if TYPE_CHECKING:
    from jobs.inputs import SweptItems

MOST = 5
"""Classes that are named for each N."""
WORK = 100_000_000
"""Codes of test items that may be swept for a page, of all classes and methods together: of 39 masks on CIFAR-10."""
TOGETHER = 16
"""Classes that are swept together at most: each takes c * m bytes."""

Hit = tuple[int, int, int]
"""A class, and how many of its test items were right before and are right after."""


def hit(stored: Stored, swept: Swept) -> dict[tuple[str, int], list[list[Hit]]]:
    """Method and class -> for each N of its grid the classes that lose most, those that lose the largest part first.

    Method by method, classes that cost the others most come first, until `WORK` is used up; the rest is left out.
    """
    left = WORK // max(1, sum(swept.items["test"]) * stored.size[0])
    found: dict[tuple[str, int], list[list[Hit]]] = {}
    for method in swept.methods:
        rows = [row for row in first_seed(swept.of(method)) if row["budget"] is not None]
        rows.sort(key=lambda row: (row["retain change"] is None, row["retain change"] or 0))
        classes = [row["class"] for row in rows[: max(0, left - len(found))]]
        for start in range(0, len(classes), TOGETHER):
            some = classes[start : start + TOGETHER]
            made = [order(stored, method, k, seed=rows[0]["seed"]) for k in some]
            grids = [swept.grid(method, k) for k in some]
            right = right_along(stored, made, grids, some)
            for k, grid, counts in zip(some, grids, right, strict=True):
                items = np.array(swept.items["test"])
                found[method, k] = [losers(counts[0], now, items, forget=k) for now in counts[: len(grid)]]
    return found


def losers(was: NDArray[np.int64], now: NDArray[np.int64], items: NDArray[np.int64], *, forget: int) -> list[Hit]:
    """The other classes that lose most, at most `MOST`; all arrays: (v,)."""
    lost = (was - now) / np.maximum(items, 1)
    lost[forget] = 0
    most = np.argsort(-lost, kind="stable")[:MOST].tolist()
    return [(k, int(was[k]), int(now[k])) for k in most if lost[k] > 0]


def right_along(
    stored: Stored, removal: Sequence[RemovalOrder], grids: Sequence[Sequence[int]], classes: Sequence[int]
) -> NDArray[np.int64]:
    """(k, b, v) test items of each class that are right, for each forgotten class at each N; b: of the longest grid."""
    from dkvb.bottleneck import Bottleneck
    from dkvb.metrics import right_by_class
    from dkvb.sweep import budget_table, sweep

    with checked_on_disk(stored.experiment.artefact("values").path / CHECKPOINT) as file:
        model = Bottleneck.load(file)
    table = budget_table([one.position for one in removal], grids)
    longest, forget = max(map(len, grids)), [[k] for k in classes]
    right = np.zeros((len(classes), longest, len(stored.classes)), np.int64)
    items = swept_items(stored, "test")
    for rows in items.blocks():
        predicted, _ = sweep(model, items.read(rows), table, budgets=longest, forget=forget)
        right += right_by_class(predicted, items.labels[rows], right.shape[2])
    return right


def swept_items(stored: Stored, split: str) -> "SweptItems":
    """The items of a split as a sweep needs them."""
    import torch

    from jobs.inputs import SweptItems

    data = stored.of_split("embeddings", split).data
    return SweptItems(
        split,
        torch.from_numpy(stored.labels(split)),
        lambda rows: torch.from_numpy(arrays.read_shards(data, "embeddings", start=rows.start, stop=rows.stop)),
        stored.codes(split),
        stored.neighbours(split),
    )


def order(stored: Stored, method: str, k: int, *, seed: int) -> RemovalOrder:
    """The order in which a method of the sweep takes away the pairs of one class."""
    if method != "uve":
        return stored.removal_order([k], scope=stored.experiment.spec["sweep"]["uva"].get("scope", "global"))
    hits = stored.activations.of_class(k)
    codes = stored.codes("train").rows(np.flatnonzero(stored.labels("train") == k))
    return orders.by_example(codes, hits, seed=seed)
