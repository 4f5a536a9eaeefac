"""Series: the numbers of tables and of a spec, each under a name of its own, as a board of experiments takes them."""

import math
from typing import Any, NamedTuple

import polars as pl

from jobs.printable import shown
from jobs.report.toml import value
from jobs.results import parts, sets_tables
from jobs.run.recorded import flat

SERIES: dict[str, tuple[tuple[str, ...], str | None]] = {
    "summary": (("method",), None),
    "classes": (("method", "seed"), "class"),
    "sweep": (("method", "name", "seed"), "budget"),
    "sets": (("method", "set"), "size"),
    "compare": (("head", "method"), None),
    "oracle_gap": (("seed",), "class"),
    "attacks": (("attack", "measure", "head", "method"), None),
    "metrics": (("metric", "head", "method"), None),
    "selection": (("weight", "tau"), None),
    "costs": (("head", "method"), None),
}
"""Table -> the columns that tell its series apart, and the one along which they run. `scope` has none: its forget sets
are of many kinds."""

MEASURES = {**parts.FEW, **dict.fromkeys(("attacks", "metrics"), ("value", "difference"))}
"""Table -> the columns whose numbers are taken, where it is not all."""


class Point(NamedTuple):
    """A number of a series."""

    tag: str
    """TABLE/COLUMN/..., with what tells the series apart: sweep/test_forget/uva/cat."""
    step: int
    """Where in the series; 0 where it is a single number."""
    number: float


def series(name: str, table: pl.DataFrame) -> list[Point]:
    """The numbers of a table, series by series, steps rising; what is no finite number is left out.

    They are of the columns that people get, by the names and in the units that programs read.
    """
    if name not in SERIES:
        return []
    if name in sets_tables.FOR_READERS:
        table = sets_tables.FOR_READERS[name](table)
    keys, step = SERIES[name]
    columns = [
        column
        for column in MEASURES.get(name, table.columns)
        if column in table.columns and table[column].dtype.is_numeric() and column not in (*keys, step)
    ]
    seeds = "seed" in keys and table["seed"].n_unique() > 1
    rows = (table if step is None else table.sort(step, maintain_order=True)).to_dicts()
    ends = [[said(key, row[key]) for key in keys if key != "seed" or seeds] for row in rows]
    return [
        Point(shown("/".join([name, column, *end])), 0 if step is None else int(row[step]), float(row[column]))
        for column in columns
        for row, end in zip(rows, ends, strict=True)
        if row[column] is not None and math.isfinite(row[column])
    ]


def said(key: str, one: Any) -> str:
    """What tells a series apart, in a tag."""
    return f"seed {one}" if key == "seed" else f"{key} {one:g}" if isinstance(one, float) else str(one)


def settings(spec: dict[str, Any]) -> dict[str, str | float]:
    """The keys of a spec with dots between, and their values; lists and booleans as TOML writes them."""
    return {
        key: one if isinstance(one, str | int | float) and not isinstance(one, bool) else value(one)
        for key, one in flat(spec).items()
    }
