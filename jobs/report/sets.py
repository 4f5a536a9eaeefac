"""What became of sets of classes that were forgotten together."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from jobs.report import svg
from jobs.report.beside import done, run_text
from jobs.report.records import (
    Block,
    Cell,
    Column,
    Figures,
    Heading,
    Missing,
    Paragraph,
    Section,
    Table,
    clip,
    name,
    number,
    number_cell,
    percent,
)
from jobs.report.swept import LABEL
from jobs.results.experiment import Experiment
from jobs.results.sets_tables import again, at_rule, by_size, sets_rows
from jobs.results.words import METHODS

TITLE = "Sets of classes"


def sets(experiment: Experiment) -> list[Section]:
    """The section on sets of classes; none where the spec asks for no sets."""
    if "sets" not in experiment.steps:
        return []
    if not (done(experiment, "sets") and done(experiment, "sweep")):
        missing = Missing("No set of classes was forgotten yet:", run_text(experiment))
        return [Section("sets", TITLE, [missing])]
    each = at_rule(sets_rows(experiment))
    return [Section("sets", TITLE, blocks(each, by_size(each)))]


def blocks(each: pl.DataFrame, table: pl.DataFrame) -> list[Block]:
    """What is said of sets; each: as of `at_rule`; table: as of `by_size`."""
    made: list[Block] = [
        Paragraph(
            "The classes of a set are forgotten together, at the N of the rule for the set. Random sets are the first "
            "classes of random orders; the ± is the standard deviation over these draws, and an item counts once for "
            "each set that it is in."
        )
    ]
    there = [method for method in METHODS if method in table["method"].unique()]
    drawings = [spread(each, method) for method in there if has_draws(each, method)]
    made += [Figures(drawings)] if drawings else []
    for method in there:
        rows = table.filter(pl.col("method") == method).to_dicts()
        made += [Heading(f"Unlearning {METHODS[method].title}"), set_table(method, rows)]
    return made


def has_draws(each: pl.DataFrame, method: str) -> bool:
    """Whether something was known of a random set."""
    return not each.filter("known", pl.col("method") == method, pl.col("draw").is_not_null()).is_empty()


def set_table(method: str, rows: Sequence[dict[str, Any]]) -> Table:
    """One row per size of random sets, or set that the spec names."""
    return Table(
        id=f"sets-{method}",
        caption=f"Sets of classes, {METHODS[method].title}",
        columns=[
            Column("Classes"),
            Column("Size", numeric=True),
            Column("Forgotten", numeric=True),
            Column("Training items still known", numeric=True),
            Column("Test items still known", numeric=True),
            Column("Others, points", numeric=True),
            Column("Worst neighbour, points", numeric=True),
        ],
        rows=[
            [
                Cell(f"{row['draws']:,} draws{again(row['draws'], row['different sets'])}")
                if row["named set"] is None
                else Cell(name(row["named set"]), name=True),
                number_cell(row["size"], 0),
                Cell(f"{row['forgotten']:,} of {row['sweeps']:,}", value=row["forgotten"] / row["sweeps"]),
                *(still_known(row, split) for split in ("train", "test")),
                number_cell(
                    row["retain change"],
                    sign=True,
                    detail=", ".join(
                        [
                            *([f"± {number(row['retain change sd'])}"] if row["retain change sd"] is not None else []),
                            f"worst {number(row['retain change worst'], sign=True)}",
                        ]
                    ),
                ),
                number_cell(negative(row["neighbour damage worst"]), sign=True),
            ]
            for row in rows
        ],
    )


def negative(value: float | None) -> float | None:
    """A loss as a change."""
    return None if value is None else -value


def still_known(row: dict[str, Any], split: str) -> Cell:
    """Count, and per cent on average."""
    right, items, after = (row[f"{split} {what}"] for what in ("right", "items", "after"))
    return number_cell(None) if after is None else Cell(f"{right:,} of {items:,}", percent(after), after)


def spread(each: pl.DataFrame, method: str) -> svg.Drawing:
    """Accuracies of random sets and of all others: means, from the least to the most over draws, a row a size."""
    known = each.filter("known", pl.col("method") == method, pl.col("draw").is_not_null())
    rows, said = [], []
    for (size,), own in known.sort("size").group_by("size", maintain_order=True):
        lanes = []
        for column, form, style, what in LANES:
            values = own[column].drop_nulls().to_list()
            if values:
                mean, low, high = sum(values) / len(values), min(values), max(values)
                text = f"{size} classes, {what}: {number(mean)} %, over draws {number(low)} to {number(high)} %"
                lanes.append([svg.Mark(value=mean, low=low, high=high, form=form, style=style, tip=text)])
                said.append(text)
        rows.append(svg.Row(clip(f"{size} {'class' if size == 1 else 'classes'}", LABEL), lanes))
    return svg.rows(
        id=f"sets-{method}-chart",
        title=f"Test items by size of the set, {METHODS[method].title}",
        description="Share of test items that is recognised after a random set was forgotten. " + "; ".join(said),
        rows=rows,
        x=(0, 100),
        label="test items recognised, %",
        legend=[svg.Key(form, style, f"{what}, least to most") for _, form, style, what in LANES],
    )


LANES = (
    ("test after", "square", "a", "classes of the set"),
    ("retain after", "disc", "b", "all other classes"),
)
"""Column, form, colour and words of what a row shows."""
