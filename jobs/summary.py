"""Result tables: the sweep read with polars, one line a class or one line a method, in the format asked for."""

import io
import json
from collections.abc import Callable
from typing import Any

import polars as pl

from jobs.experiment import Experiment
from jobs.shown import shown
from store.artefacts import as_written
from store.layout import SWEEP, SWEEP_TABLE
from store.tables import read_table

GONE = 0.005
"""Test accuracy of the forget class at which it counts as forgotten."""


def sweep_table(experiment: Experiment) -> pl.DataFrame:
    """All rows of the sweep, with the seconds of each class, method and seed (a unit's, shared out)."""
    artefact = experiment.artefact("sweep")
    schema = {"class": pl.Int32, "method": pl.String, "seed": pl.Int32, "seconds": pl.Float64}
    with as_written(artefact.path / "units"):
        seconds = [
            {
                "class": k,
                "method": run.partition("/")[0],
                "seed": int(run.partition("/")[2]),
                "seconds": taken / len(mark["classes"]),
            }
            for mark in artefact.marks().values()
            for run, taken in mark["seconds"].items()
            for k in mark["classes"]
        ]
        times = pl.DataFrame(seconds, schema=schema)
    rows = read_table(artefact.path / SWEEP_TABLE, SWEEP)
    return rows.join(times, on=["class", "method", "seed"], how="left")


def by_class(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a class, method and seed: before, and at the smallest N that forgets the class.

    The smallest N is the first of the grid at which the class's test accuracy is at most GONE; where none is, the
    first at which it is lowest. Accuracies in percent, changes in points.
    """
    keys = ["method", "class", "name", "seed"]
    before = rows.filter(pl.col("budget") == 0)
    reached = pl.when(pl.col("test_forget") <= GONE).then(0.0).otherwise(pl.col("test_forget"))
    at = rows.filter(pl.col("budget") > 0).with_columns(reached.alias("reached"))
    at = at.sort(*keys, "reached", "budget").group_by(keys, maintain_order=True).first()
    both = at.join(before, on=keys, suffix="_0")
    return both.select(
        *keys,
        "budget",
        (100 * pl.col("share")).alias("share %"),
        (100 * pl.col("pairs_masked_share")).alias("masked %"),
        (100 * pl.col("forget_hit_share")).alias("hits %"),
        (100 * pl.col("test_forget_0")).alias("forget before"),
        (100 * pl.col("test_forget")).alias("forget after"),
        (100 * pl.col("test_retain_0")).alias("retain before"),
        (100 * pl.col("test_retain")).alias("retain after"),
        (100 * (pl.col("test_retain") - pl.col("test_retain_0"))).alias("retain change"),
        (100 * (pl.col("test_retain_among_retain") - pl.col("test_retain_among_retain_0"))).alias(
            "among retain change"
        ),
        (100 * pl.col("neighbour_damage")).alias("neighbour damage"),
        "seconds",
    ).sort(keys)


def by_method(classes: pl.DataFrame) -> pl.DataFrame:
    """One row a method: mean, spread and worst over its classes and seeds, with a 95 % interval of the mean.

    Spread and interval (Student's t) are over classes, seeds averaged first: they speak of other classes like these.
    """
    change = pl.col("retain change")
    per_class = classes.group_by("method", "class").agg(change.mean()).group_by("method")
    spread = per_class.agg(
        change.std().alias("retain change sd"),
        change.map_batches(half_interval, return_dtype=pl.Float64, returns_scalar=True).alias("retain change ± 95 %"),
    )
    gone = pl.col("forget after") <= 100 * GONE
    return (
        classes.group_by("method")
        .agg(
            pl.len().alias("sweeps"),
            gone.sum().alias("forgotten"),
            pl.col("forget before").mean(),
            pl.col("forget after").mean(),
            pl.col("forget after").max().alias("forget after worst"),
            pl.col("share %").mean().alias("N share %"),
            pl.col("masked %").mean().alias("pairs masked"),
            pl.col("retain before").mean(),
            change.mean(),
            change.min().alias("retain change worst"),
            pl.col("among retain change").mean(),
            pl.col("neighbour damage").max().alias("neighbour damage worst"),
        )
        .join(spread, on="method")
        .select(
            pl.exclude("among retain change", "neighbour damage worst"), "among retain change", "neighbour damage worst"
        )
        .sort("method")
    )


def half_interval(values: pl.Series) -> float | None:
    """Half the width of the 95 % interval of a mean, by Student's t; None for fewer than two values."""
    from scipy.stats import t

    spread = values.std()
    if len(values) < 2 or not isinstance(spread, float):
        return None
    return float(t.ppf(0.975, len(values) - 1) * spread / len(values) ** 0.5)


def heads(experiment: Experiment) -> dict[str, float]:
    """Test accuracy in percent of the linear head and of the bottleneck before anything is forgotten."""
    steps = {"linear": "linear", "dkvb": "sweep"}
    with as_written(experiment.root):
        return {head: 100 * float(experiment.facts(step)["accuracy"]["test"]) for head, step in steps.items()}


TABLES: dict[str, Callable[[Experiment], pl.DataFrame]] = {
    "summary": lambda experiment: by_method(by_class(sweep_table(experiment))),
    "classes": lambda experiment: by_class(sweep_table(experiment)),
    "sweep": sweep_table,
}
"""The tables there are, by name."""


def cell(value: Any) -> str:
    """A cell for people."""
    if isinstance(value, float):
        return f"{value:.2f}"
    return "" if value is None else shown(str(value))


def side_by_side(table: pl.DataFrame) -> pl.DataFrame:
    """A summary turned on its side for a terminal: one line a measure, one column a method."""
    measures = [name for name in table.columns if name != "method"]
    columns = {row["method"]: [cell(row[name]) for name in measures] for row in table.iter_rows(named=True)}
    return pl.DataFrame({"": measures, **columns})


MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\|`<[*"})
"""Columns, code, HTML, links and emphasis; not "_", which inside a word means nothing and is common in names."""


def markdown(table: pl.DataFrame) -> str:
    """A table in Markdown, columns aligned; what would make a name more than text in it is escaped."""
    cells = [table.columns, *([cell(v) for v in row] for row in table.iter_rows())]
    cells = [[text.translate(MARKDOWN) for text in row] for row in cells]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    numeric = [dtype.is_numeric() for dtype in table.dtypes]

    def line(row: list[str]) -> str:
        padded = (f"{c:>{w}}" if right else f"{c:<{w}}" for c, w, right in zip(row, widths, numeric, strict=True))
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, numeric, strict=True)) + "|"
    return "\n".join([line(cells[0]), rule, *(line(row) for row in cells[1:])]) + "\n"


LATEX = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\~{}", "^": r"\^{}"})


def latex(table: pl.DataFrame) -> str:
    """A table in LaTeX (booktabs)."""
    columns = "".join("r" if dtype.is_numeric() else "l" for dtype in table.dtypes)
    rows = [table.columns, *([cell(v) for v in row] for row in table.iter_rows())]
    head, *body = (" & ".join(text.translate(LATEX).replace("±", r"$\pm$") for text in row) + r" \\" for row in rows)
    return (
        "\n".join(
            [
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                head,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
            ]
        )
        + "\n"
    )


def csv(table: pl.DataFrame) -> str:
    """A table in CSV, at full precision. A name that a spreadsheet would take for a formula begins with an apostrophe.

    Parquet and JSON keep every name as it is.
    """
    plain = pl.selectors.string().map_elements(plain_cell, return_dtype=pl.String, skip_nulls=True)
    return table.with_columns(plain).write_csv()


def plain_cell(text: str) -> str:
    """A text for a spreadsheet."""
    return f"'{shown(text)}" if text.lstrip()[:1] in ("=", "+", "-", "@") else shown(text)


def records(table: pl.DataFrame) -> list[dict[str, Any]]:
    """A table as rows for JSON, which has no word for NaN and infinity: they are null."""
    return table.with_columns(pl.when(pl.selectors.float().is_finite()).then(pl.selectors.float())).to_dicts()


def as_json(table: pl.DataFrame) -> str:
    """A table as a JSON list of rows."""
    return json.dumps(records(table), indent=2) + "\n"


def parquet(table: pl.DataFrame) -> bytes:
    """A table in parquet."""
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


FORMATS: dict[str, Callable[[pl.DataFrame], str | bytes]] = {
    "md": markdown,
    "csv": csv,
    "latex": latex,
    "parquet": parquet,
    "json": as_json,
}
"""How a table can be written, by name."""
