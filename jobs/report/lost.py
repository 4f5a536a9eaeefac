"""What the sweep says was lost: what forgetting a class costs the others."""

from collections.abc import Mapping
from typing import Any

from jobs.report import svg
from jobs.report.records import (
    NOTHING,
    Block,
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
    number,
    number_cell,
)
from jobs.report.swept import DRAWN, LABEL, Swept, first_cells, first_columns, first_seed, worst_text
from jobs.results.headline import FORGOTTEN, KNOWN
from jobs.results.words import METHODS


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
        total, several = swept.total(method), swept.seeds(method) > 1
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
                    Tile(
                        "Others, worst class",
                        f"{number(total['retain change worst'], sign=True)} points",
                        worst_class(swept, method),
                    ),
                    Tile(
                        "Among them alone",
                        f"{number(total['among retain change'], sign=True)} points",
                        "predicted among the other classes",
                    ),
                    Tile(
                        "Worst neighbour",
                        f"{number(negative(total['neighbour damage worst']), sign=True)} points",
                        worst_neighbour(swept, method),
                    ),
                ]
            ),
            Table(
                id=f"lost-{method}",
                caption=f"Cost to the others, {METHODS[method].title}",
                columns=[
                    *first_columns(several=several),
                    Column("Others, points", numeric=True, sorted="ascending"),
                    Column("Items lost, gained", numeric=True),
                    Column("Worst neighbour, points", numeric=True, names=True),
                    Column("Before, after %", numeric=True),
                ],
                rows=[
                    [*first_cells(row, several=several), *lost_cells(swept.names, row)]
                    for row in costliest(swept.of(method))
                ],
            ),
        ]
    return Section("lost", "What was lost", blocks)


def told_rows(swept: Swept, method: str) -> list[dict[str, Any]]:
    """Rows of a method that its means are over."""
    return [row for row in swept.of(method) if row["outcome"] in (FORGOTTEN, KNOWN)]


def worst_class(swept: Swept, method: str) -> str:
    """Which class costs all others most."""
    rows = [row for row in costliest(told_rows(swept, method)) if row["retain change"] is not None]
    return f"where {isolated(name(rows[0]['name']))} is forgotten" if rows else ""


def worst_neighbour(swept: Swept, method: str) -> str:
    """Which class loses most, and where."""
    rows = [row for row in told_rows(swept, method) if row["worst_neighbour"] is not None]
    if not rows:
        return ""
    worst = max(rows, key=lambda row: row["neighbour damage"] or 0)
    beside = isolated(name(swept.names[worst["worst_neighbour"]]))
    return f"{beside}, where {isolated(name(worst['name']))} is forgotten"


def negative(value: float | None) -> float | None:
    """A loss as a change."""
    return None if value is None else -value


def costliest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that cost the others most first; those without a number last."""
    known = sorted((row for row in rows if row["retain change"] is not None), key=lambda row: row["retain change"])
    return [*known, *(row for row in rows if row["retain change"] is None)]


def lost_cells(names: list[str], row: Mapping[str, Any]) -> list[Cell]:
    """One row of the table behind its name."""
    width, (gone, won) = row["retain change ± 95 % over items"], (row["test_retain_lost"], row["test_retain_gained"])
    change = number_cell(row["retain change"], sign=True, detail="" if width is None else f"± {number(width)}")
    counts = Cell(NOTHING) if gone is None else Cell(f"{gone:,}, {won:,}", value=gone)
    both = Cell(f"{number(row['retain before'])}, {number(row['retain after'])}", value=row["retain after"])
    worst, damage = row["worst_neighbour"], row["neighbour damage"]
    if worst is None or damage is None:
        return [change, counts, Cell(NOTHING), both]
    lost_items = f" ({row['its lost items']:,} of {row['its test items']:,} items)" if row["its lost items"] else ""
    beside = Cell(name(names[worst], worst), number(-damage, sign=True) + lost_items, -damage, name=True)
    return [change, counts, beside, both]


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
