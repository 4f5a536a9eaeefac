"""Who is hit where a class is forgotten: the classes that lose most test items at the N of the rule, with counts.

The sweep keeps the worst neighbour alone. The others are counted anew from stored codes, which takes about a second for
each class of a data set of 10,000 test items: of the classes that cost the others most, as many as `WORK` allows.
"""

import numpy as np
from numpy.typing import NDArray

from dkvb import orders
from jobs.query.outcome import Outcome
from jobs.query.stored import Stored
from jobs.report.swept import Swept, first_seed

MOST = 5
"""Classes that are named for each forgotten class."""
WORK = 30_000_000
"""Codes that may be looked up anew for a page, of all classes and methods together: those of 11 masks on CIFAR-10."""

Hit = tuple[int, int, int]
"""A class, and how many of its test items were right before and are right after."""


def hit(stored: Stored, swept: Swept) -> dict[tuple[str, int], list[Hit]]:
    """Method and class -> the classes that lose most where it is forgotten, those that lose the largest part first.

    Method by method, classes that cost the others most come first, until `WORK` is used up; the rest is left out.
    """
    before = Outcome.of(stored, "test")
    v, items = len(swept.names), np.bincount(before.labels, minlength=len(swept.names))
    was = right(before, v)
    left = WORK // max(1, len(before.labels) * stored.size[0])
    found: dict[tuple[str, int], list[Hit]] = {}
    for method in swept.methods:
        rows = [row for row in first_seed(swept.of(method)) if row["budget"] is not None]
        rows.sort(key=lambda row: (row["retain change"] is None, row["retain change"] or 0))
        for row in rows[: left - len(found)]:
            k = row["class"]
            _, under = Outcome.both(stored, "test", mask(stored, method, k, n=row["budget"], seed=row["seed"]))
            now = right(under, v)
            lost = (was - now) / np.maximum(items, 1)
            lost[k] = 0
            most = np.argsort(-lost, kind="stable")[:MOST].tolist()
            found[method, k] = [(other, int(was[other]), int(now[other])) for other in most if lost[other] > 0]
    return found


def right(outcome: Outcome, v: int) -> NDArray[np.int64]:
    """(v,) test items of each class that are right."""
    return np.bincount(outcome.labels[outcome.right], minlength=v)


def mask(stored: Stored, method: str, k: int, *, n: int, seed: int) -> NDArray[np.bool_]:
    """(c, m) what a method of the sweep masks of one class at N."""
    hits = stored.activations.of_class(k)
    if method == "uva":
        scope = stored.experiment.spec["sweep"]["uva"].get("scope", "global")
        return orders.by_activation(hits, scope=scope).mask(n)
    codes = stored.codes("train").rows(np.flatnonzero(stored.labels("train") == k))
    return orders.by_example(codes, hits, seed=seed).mask(n)
