"""What the sweep says: what was forgotten, and what the others lost."""

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
    text_cell,
)
from jobs.results.experiment import Experiment
from jobs.results.headline import FORGOTTEN, GONE, KEYS, at_rule, before, by_class, item_changes, left_out, sweep_table
from jobs.results.sweep_tables import by_method

DRAWN = 20
"""Classes of a drawing with a row for each: the worst."""
NAMED = 10
"""Classes that are named in a sentence."""
LABEL = 17
"""Columns of a name beside a row."""


@dataclass(frozen=True, slots=True)
class Method:
    """How a method is spoken of."""

    title: str
    what: str
    unit: str
    of: str


METHODS = {
    "uva": Method("via Activations", "the most activated pairs of the class go first", "pairs", "the activated pairs"),
    "uve": Method("via Examples", "the pairs of one example after another go", "examples", "the training items"),
}


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

    @property
    def seeds(self) -> bool:
        """Whether a method has several."""
        return self.rows.select("method", "seed").n_unique() > self.rows["method"].n_unique()

    def of(self, method: str) -> list[dict[str, Any]]:
        """Rows of `classes` of one method."""
        return self.classes.filter(pl.col("method") == method).to_dicts()

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


def first_columns(swept: Swept) -> list[Column]:
    """The class, and the seed where there are several."""
    return [Column("Class forgotten"), *([Column("Seed", numeric=True)] if swept.seeds else [])]


def first_cells(swept: Swept, row: Mapping[str, Any]) -> list[Cell]:
    """The same of one row."""
    return [name_cell(row["name"], row["class"]), *([number_cell(row["seed"], 0)] if swept.seeds else [])]


def forgotten(swept: Swept) -> Section:
    """What is still known of each class, on its training and on its test items."""
    blocks: list[Block] = [
        Paragraph(
            f"Each class is forgotten by itself, at the N of the rule. It counts as forgotten where at most "
            f"{100 * GONE:g} % of its training items and of its test items are still recognised. Intervals are "
            "Clopper-Pearson's 95 %, over items like the class's own. Classes of which most is left come first."
        ),
        *([Bullets(lines)] if (lines := left_out_lines(swept.classes)) else []),
        Figures([still_known(swept, method) for method in swept.methods]),
    ]
    for method in swept.methods:
        total = swept.total(method)
        told = total[FORGOTTEN] + total["not forgotten"]
        blocks += [
            Heading(f"Unlearning {METHODS[method].title}: {METHODS[method].what}"),
            Tiles(
                [
                    Tile(
                        "Classes forgotten", f"{total[FORGOTTEN]:,} of {total['sweeps']:,}", seeds_text(swept, method)
                    ),
                    *(
                        Tile(
                            f"{what} still known",
                            f"{total[f'{split} right'] or 0:,} of {total[f'{split} items'] or 0:,}"
                            if told
                            else NOTHING,
                            f"on average {number(total[f'{split} after'])} %, "
                            f"before {number(total[f'{split} before'])} %",
                        )
                        for split, what in (("train", "Training items"), ("test", "Test items"))
                    ),
                    Tile("Pairs masked", f"{number(total['pairs masked'])} %", "of all pairs, on average"),
                ]
            ),
            Table(
                id=f"forgotten-{method}",
                caption=f"Still known, {METHODS[method].title}",
                columns=[
                    *first_columns(swept),
                    Column("N", numeric=True),
                    Column("Training items still known", numeric=True, sorted="descending"),
                    Column("Test items still known", numeric=True),
                    Column("Outcome"),
                ],
                rows=[
                    [
                        *first_cells(swept, row),
                        budget_cell(row),
                        known_cell(row, "train"),
                        known_cell(row, "test"),
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


def seeds_text(swept: Swept, method: str) -> str:
    """How many orders of examples each class was forgotten by."""
    seeds = swept.rows.filter(pl.col("method") == method)["seed"].n_unique()
    return f"each by {seeds} seeds" if seeds > 1 else ""


def least_forgotten(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of which most is left on training items first, then on test items; those without a number last."""
    return sorted(rows, key=lambda row: (-(row["train after"] or 0), -(row["test after"] or 0), row["class"]))


def budget_cell(row: Mapping[str, Any]) -> Cell:
    """N, and its share of what there is."""
    share = row["share %"]
    return number_cell(row["budget"], 0, detail="" if share is None else f"{number(share, 1)} %")


def known_cell(row: Mapping[str, Any], split: str) -> Cell:
    """Count, per cent, interval, and what it was before."""
    if row[f"{split} right"] is None or row[f"{split} 95 % low"] is None:
        return Cell(NOTHING)
    bounds = f"{number(row[f'{split} low'])} to {number(row[f'{split} high'])}"
    return Cell(
        f"{row[f'{split} right']:,} of {row[f'{split} items']:,}",
        f"{number(row[f'{split} after'])} % ({bounds}), before {number(row[f'{split} before'])} %",
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


def lost(swept: Swept) -> Section:
    """What forgetting a class costs the others, the worst first."""
    blocks: list[Block] = [
        Paragraph(
            "Test accuracy of all other classes, before a class is forgotten and after, at the same N. The ± is a "
            "95 % interval over test items like these, item by item before and after. The worst neighbour is the "
            "class that loses most of its own test accuracy. Classes that cost the others most come first."
        ),
        Figures([changes(swept, method) for method in swept.methods]),
    ]
    for method in swept.methods:
        total = swept.total(method)
        over = [
            f"± {number(total[column])} over {what}"
            for column, what in (
                ("retain change ± 95 % over classes", "classes"),
                ("retain change ± 95 % over test items", "test items"),
            )
            if total[column] is not None
        ]
        blocks += [
            Heading(f"Unlearning {METHODS[method].title}"),
            Tiles(
                [
                    Tile("Others, on average", f"{number(total['retain change'], sign=True)} points", ", ".join(over)),
                    Tile("Others, worst class", f"{number(total['retain change worst'], sign=True)} points"),
                    Tile(
                        "Among them alone",
                        f"{number(total['among retain change'], sign=True)} points",
                        "predicted among the other classes",
                    ),
                    Tile("Worst neighbour", f"{number(negative(total['neighbour damage worst']), sign=True)} points"),
                ]
            ),
            Table(
                id=f"lost-{method}",
                caption=f"Cost to the others, {METHODS[method].title}",
                columns=[
                    *first_columns(swept),
                    Column("Others, points", numeric=True, sorted="ascending"),
                    Column("Items lost, gained", numeric=True),
                    Column("Worst neighbour, points", numeric=True, names=True),
                ],
                rows=[lost_cells(swept, row) for row in costliest(swept.of(method))],
            ),
        ]
    return Section("lost", "What was lost", blocks)


def negative(value: float | None) -> float | None:
    """A loss as a change."""
    return None if value is None else -value


def costliest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that cost the others most first; those without a number last."""
    known = sorted((row for row in rows if row["retain change"] is not None), key=lambda row: row["retain change"])
    return [*known, *(row for row in rows if row["retain change"] is None)]


def lost_cells(swept: Swept, row: Mapping[str, Any]) -> list[Cell]:
    """One row of the table."""
    width, (gone, won) = row["retain change ± 95 % over items"], (row["test_retain_lost"], row["test_retain_gained"])
    change = number_cell(
        row["retain change"],
        sign=True,
        detail=""
        if row["retain change"] is None
        else " ".join(
            [
                *([f"± {number(width)},"] if width is not None else []),
                f"{number(row['retain before'])} to {number(row['retain after'])} %",
            ]
        ),
    )
    counts = Cell(NOTHING) if gone is None else Cell(f"{gone:,}, {won:,}", value=gone)
    worst, damage = row["worst_neighbour"], row["neighbour damage"]
    if worst is None or damage is None:
        return [*first_cells(swept, row), change, counts, Cell(NOTHING)]
    beside = name(swept.names[worst], worst)
    return [
        *first_cells(swept, row),
        change,
        counts,
        Cell(beside, number(-damage, sign=True), -damage, name=True),
    ]


def changes(swept: Swept, method: str) -> svg.Drawing:
    """The change of all others and of the worst neighbour, a row a class."""
    told = [row for row in costliest(first_seed(swept.of(method))) if row["retain change"] is not None]
    drawn = told[:DRAWN]
    marks, texts = [], []
    for row in drawn:
        change, width = row["retain change"], row["retain change ± 95 % over items"]
        ends = (None, None) if width is None else (change - width, change + width)
        lane = []
        text = f"{name(row['name'])}: {number(change, sign=True)} points"
        if row["neighbour damage"] is not None and row["worst_neighbour"] is not None:
            beside = name(swept.names[row["worst_neighbour"]])
            text += f", worst neighbour {beside} {number(-row['neighbour damage'], sign=True)}"
            lane.append(svg.Mark(value=-row["neighbour damage"], form="square", style="b", tip=text))
        lane.append(svg.Mark(value=change, low=ends[0], high=ends[1], style="a", tip=text))
        marks.append(svg.Row(clip(name(row["name"]), LABEL), [lane]))
        texts.append(text)
    values = [
        end for row in marks for mark in row.lanes[0] for end in (mark.value, mark.low, mark.high) if end is not None
    ]
    return svg.rows(
        id=f"lost-{method}-chart",
        title=f"Change of the others, {METHODS[method].title}{worst_text(len(drawn), len(told))}",
        description="Change of test accuracy in points where a class is forgotten. " + "; ".join(texts),
        rows=marks,
        x=(min([0.0, *values]), max([0.0, *values]) or 0.1),
        label="change of test accuracy, points",
        legend=[
            svg.Key("disc", "a", "all others, with 95 % interval"),
            svg.Key("square", "b", "the worst neighbour alone"),
        ],
    )
