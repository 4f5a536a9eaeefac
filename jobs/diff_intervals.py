"""Intervals over test items of differences between two experiments, made of what each item adds to both."""

from collections.abc import Sequence

import polars as pl

from jobs.results.experiment import Experiment
from jobs.results.headline import before, item_changes
from jobs.results.sweep_tables import half_interval


def retain_widths(a: Experiment, b: Experiment, known: Sequence[pl.DataFrame]) -> dict[str, float | None]:
    """Method -> half the interval of `over_test_items`; known: of A and of B as in `per_class`."""
    sizes = [sum(before(each).items["test"]) for each in (a, b)]
    if sizes[0] != sizes[1]:  # one skipped an item
        return {}
    items = [item_changes(each) for each in (a, b)]
    widths = {}
    for method in known[0]["method"].unique():
        own = pl.col("method") == method
        tables = [None if table is None else table.filter(own) for table in items]
        widths[method] = over_test_items([table.filter(own) for table in known], tables, sizes[0])
    return widths


def over_test_items(known: Sequence[pl.DataFrame], items: Sequence[pl.DataFrame | None], n: int) -> float | None:
    """Half the 95 % interval of the difference of two mean retain changes in points, over test items like these.

    known: of A and of B as in `per_class`, one method; items: as in `jobs.results.headline.item_changes`, that method;
    n: test items, the same of both.
    returns: None where a sweep does not say what each item adds, or the two knew other classes: items add them up.
    """
    if not known[0].select("class").equals(known[1].select("class")):
        return None
    parts = []
    for classes, table in zip(known, items, strict=True):
        if table is None:
            return None
        share = 100 * n / max(1, int(classes["seeds"].sum()))  # a row of `by_class` each, of which the mean is
        parts.append(table.group_by("item").agg(pl.col("change").sum() * share))
    both = parts[0].join(parts[1], on="item", how="full", coalesce=True, suffix=" b").sort("item")
    difference = both["change b"].fill_null(0.0) - both["change"].fill_null(0.0)
    return half_interval(difference.extend_constant(0.0, n - len(difference)))
