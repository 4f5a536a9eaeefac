"""What the sweep says was forgotten, and what other parts of the page read of the sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from jobs.report import svg
from jobs.report.records import (
    NOTHING,
    Block,
    Bullets,
    Cell,
    Column,
    Figures,
    Heading,
    Paragraph,
    Section,
    Table,
    Tile,
    Tiles,
    clip,
    isolated,
    name,
    name_cell,
    number,
    number_cell,
    percent,
    text_cell,
)
from jobs.results.experiment import Experiment
from jobs.results.headline import (
    FORGOTTEN,
    GONE,
    KEYS,
    KNOWN,
    at_rule,
    before,
    by_class,
    item_changes,
    left_out,
    sweep_table,
)
from jobs.results.sweep_tables import by_method
from jobs.results.words import METHODS

DRAWN = 20
"""Classes of a drawing with a row for each: the worst."""
NAMED = 10
"""Classes that are named in a sentence."""
LABEL = 15
"""Columns of a name beside a row."""


@dataclass(frozen=True)
class Swept:
    """The tables of a sweep."""

    names: list[str]
    """(v,) of all classes, as the model says them."""
    items: Mapping[str, Sequence[int]]
    """Split -> (v,) items of each class."""
    rows: pl.DataFrame
    """As of `sweep_table`."""
    classes: pl.DataFrame
    """As of `by_class`, with worst_neighbour, test_retain_lost and test_retain_gained at the rule's N."""
    summary: pl.DataFrame
    """As of `by_method`."""

    @property
    def methods(self) -> list[str]:
        """Those that were swept, in the order of `METHODS`."""
        there = set(self.rows["method"].unique())
        return [method for method in METHODS if method in there]

    def seeds(self, method: str) -> int:
        """How many orders of examples each class was forgotten by."""
        return self.rows.filter(pl.col("method") == method)["seed"].n_unique()

    def of(self, method: str) -> list[dict[str, Any]]:
        """Rows of `classes` of one method."""
        return self.classes.filter(pl.col("method") == method).to_dicts()

    def grid(self, method: str, k: int) -> list[int]:
        """Every N that a class was swept at, increasing, by the lowest seed."""
        rows = self.rows.filter(pl.col("method") == method, pl.col("class") == k)
        return rows.filter(pl.col("seed") == rows["seed"].min())["budget"].sort().to_list()

    def total(self, method: str) -> dict[str, Any]:
        """The row of `summary`."""
        return self.summary.filter(pl.col("method") == method).row(0, named=True)


def read_swept(experiment: Experiment) -> Swept:
    """The sweep of an experiment; raises: BadRequest where it is not finished; ArtefactDamaged."""
    rows, items = sweep_table(experiment), before(experiment).items
    classes = by_class(rows)
    more = at_rule(rows).select(*KEYS, "worst_neighbour", "test_retain_lost", "test_retain_gained")
    summary = by_method(classes, item_changes(experiment), test_items=sum(items["test"]))
    classes = classes.join(more, on=KEYS, how="left", maintain_order="left")
    return Swept(experiment.classes, items, rows, classes, summary)


def first_columns(*, several: bool) -> list[Column]:
    """The class, and the seed; several: whether there is more than one."""
    return [Column("Class forgotten"), *([Column("Seed", numeric=True)] if several else [])]


def first_cells(row: Mapping[str, Any], *, several: bool) -> list[Cell]:
    """The same of one row."""
    return [name_cell(row["name"], row["class"]), *([number_cell(row["seed"], 0)] if several else [])]


def forgotten(swept: Swept) -> Section:
    """What is still known of each class, on its training and on its test items."""
    blocks: list[Block] = [
        Paragraph(
            f"Each class is forgotten by itself, at the N of the rule. It counts as forgotten where at most "
            f"{100 * GONE:g} % of its training items and of its test items are still recognised. Intervals are "
            "Clopper-Pearson's 95 %, in brackets, over items like the class's own. Classes of which most is left come "
            "first; N is also given in per cent of what there is."
        ),
        *([Bullets(lines)] if (lines := left_out_lines(swept.classes)) else []),
        Figures([still_known(swept, method) for method in swept.methods]),
    ]
    for method in swept.methods:
        total, seeds = swept.total(method), swept.seeds(method)
        told = total[FORGOTTEN] + total[KNOWN]
        blocks += [
            Heading(f"Unlearning {METHODS[method].title}: {METHODS[method].what}"),
            Tiles(
                [
                    Tile(
                        "Classes forgotten",
                        f"{total[FORGOTTEN]:,} of {total['runs']:,}",
                        f"each by {seeds} seeds" if seeds > 1 else "",
                    ),
                    *(
                        Tile(
                            f"{what} still known",
                            f"{total[f'{split} right'] or 0:,} of {total[f'{split} items'] or 0:,}"
                            if told
                            else NOTHING,
                            f"on average {percent(total[f'{split} after'])}, "
                            f"before {percent(total[f'{split} before'])}",
                        )
                        for split, what in (("train", "Training items"), ("test", "Test items"))
                    ),
                    Tile("Pairs masked", percent(total["pairs masked %"]), "of all pairs, on average"),
                ]
            ),
            Table(
                id=f"forgotten-{method}",
                caption=f"Still known, {METHODS[method].title}",
                columns=[
                    *first_columns(several=seeds > 1),
                    Column("Training items still known", numeric=True, sorted="descending"),
                    Column("Test items still known", numeric=True),
                    Column("Before: training, test %", numeric=True),
                    Column("N", numeric=True),
                    Column("Outcome"),
                ],
                rows=[
                    [
                        *first_cells(row, several=seeds > 1),
                        known_cell(row, "train"),
                        known_cell(row, "test"),
                        before_cell(row),
                        budget_cell(row),
                        text_cell(row["outcome"]),
                    ]
                    for row in least_forgotten(swept.of(method))
                ],
            ),
        ]
    return Section("forgotten", "What was forgotten", blocks)


def left_out_lines(classes: pl.DataFrame) -> list[str]:
    """Which classes were not forgotten, or tell nothing."""
    lines = []
    for outcome, names in left_out(classes).items():
        rest = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
        lines.append(f"{outcome}: {', '.join(isolated(name(each)) for each in names[:NAMED])}{rest}")
    return lines


def least_forgotten(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of which most is left on training items first, then on test items; those without a number last."""
    return sorted(rows, key=lambda row: (-(row["train after"] or 0), -(row["test after"] or 0), row["class"]))


def budget_cell(row: Mapping[str, Any]) -> Cell:
    """N, and its share of what there is."""
    share = row["N as %"]
    return number_cell(row["budget"], 0, detail="" if share is None else percent(share, 1))


def before_cell(row: Mapping[str, Any]) -> Cell:
    """What was known on both splits before; sorted by the test items."""
    return Cell(f"{number(row['train before'])}, {number(row['test before'])}", value=row["test before"])


def known_cell(row: Mapping[str, Any], split: str) -> Cell:
    """Count, per cent, interval."""
    if row[f"{split} right"] is None or row[f"{split} 95 % low"] is None:
        return Cell(NOTHING)
    bounds = f"{number(row[f'{split} 95 % low'])}–{number(row[f'{split} 95 % high'])}"
    return Cell(
        f"{row[f'{split} right']:,} of {row[f'{split} items']:,}",
        f"{percent(row[f'{split} after'])} ({bounds})",
        row[f"{split} after"],
    )


def first_seed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the lowest seed: what is drawn."""
    least = min((row["seed"] for row in rows), default=0)
    return [row for row in rows if row["seed"] == least]


def worst_text(shown: int, there: int) -> str:
    """Which classes a drawing shows."""
    return "" if shown == there else f" (the {shown} worst of {there:,})"


def still_known(swept: Swept, method: str) -> svg.Drawing:
    """Before and after, a row a class."""
    told = [row for row in first_seed(swept.of(method)) if row["train after"] is not None]
    drawn = least_forgotten(told)[:DRAWN]

    def lane(row: Mapping[str, Any], split: str, form: str, style: str) -> list[svg.Mark]:
        was, now = row[f"{split} before"], row[f"{split} after"]
        if was is None or now is None:
            return []
        tip = f"{name(row['name'])}, {split}: {number(was)} % before, {number(now)} % after"
        return [
            svg.Mark(value=was, form="ring", style=style),
            svg.Mark(value=now, low=min(was, now), high=max(was, now), form=form, style=style, tip=tip),
        ]

    return svg.rows(
        id=f"known-{method}",
        title=f"Before and after, {METHODS[method].title}{worst_text(len(drawn), len(told))}",
        description="Share of each class's items that is recognised, before and after it was forgotten. "
        + "; ".join(
            f"{name(row['name'])}: training items {number(row['train before'])} % to {number(row['train after'])} %, "
            f"test items {number(row['test before'])} % to {number(row['test after'])} %"
            for row in drawn
        ),
        rows=[
            svg.Row(clip(name(row["name"]), LABEL), [lane(row, "train", "square", "a"), lane(row, "test", "disc", "b")])
            for row in drawn
        ],
        x=(0, 100),
        label="items recognised, %",
        legend=[
            svg.Key("square", "a", "training items, after"),
            svg.Key("disc", "b", "test items, after"),
            svg.Key("ring", "c", "before"),
        ],
    )
