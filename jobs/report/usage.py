"""What the store of activations says: how evenly codebooks are used, and which classes share their pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from dkvb.overlap_matrix import OverlapMatrix
from jobs.query.stored import Stored
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
    name_cell,
    number,
    number_cell,
    percent,
)
from jobs.report.swept import LABEL

DRAWN = 24
"""Most classes of a drawing with a square for each two."""
ALIKE = 3
"""Classes that are named beside a class."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the counts say."""

    names: Sequence[str]
    keys: int
    """m, of each codebook."""
    load: pl.DataFrame
    """As of `store.query.Activations.load`."""
    overlap: OverlapMatrix

    def alike(self) -> dict[int, list[tuple[int, int]]]:
        """Class -> the classes that share most activations with it, and how many per cent."""
        found = {}
        for k, shares in enumerate(self.overlap.weighted):
            shares = np.nan_to_num(shares)
            shares[k] = 0
            most = np.argsort(-shares, kind="stable")[:ALIKE]
            found[k] = [(int(other), round(100 * shares[other])) for other in most if shares[other] > 0]
        return {k: pairs for k, pairs in found.items() if pairs}


def read_usage(stored: Stored) -> Usage:
    """The counts of an experiment; raises: BadRequest where they are not finished; ArtefactDamaged."""
    from dkvb.overlap_matrix import overlap_matrix

    activations = stored.activations
    overlap = overlap_matrix((counts for _, counts in activations.codebooks()), len(stored.classes))
    return Usage(stored.classes, stored.size[1], activations.load(), overlap)


def store(usage: Usage) -> Section:
    """Codebook load, and overlap of classes."""
    load, c = usage.load, len(usage.load)
    used = 100 * int(load["used"].to_numpy().sum()) / (c * usage.keys)
    effective = load["effective"].to_numpy()
    blocks: list[Block] = [
        Paragraph(
            "A training item selects one key in every codebook. A class is forgotten by taking away the pairs it "
            "selects, so what it shares with others is what forgetting can cost them."
        ),
        Tiles(
            [
                Tile("Pairs that training uses", percent(used, 1), f"of {c:,} × {usage.keys:,}"),
                Tile(
                    "Keys as if used alike",
                    number(float(np.median(effective)), 0),
                    f"median of the codebooks, {number(effective.min(), 0)} to {number(effective.max(), 0)}",
                ),
                Tile(
                    "Busiest key",
                    percent(100 * load["largest_share"].to_numpy().max()),
                    "of its codebook's activations, at most",
                ),
                Tile(
                    "Of one class alone",
                    percent(100 * load["exclusive_share"].to_numpy().mean(), 1),
                    "of activations, on pairs that no other class selects",
                ),
            ]
        ),
        Figures(
            [
                svg.histogram(
                    id="load",
                    title="Codebook load",
                    description=f"How evenly {c:,} codebooks use their {usage.keys:,} keys. Keys as if used alike: "
                    f"least {number(effective.min(), 1)}, median {number(float(np.median(effective)), 1)}, most "
                    f"{number(effective.max(), 1)}.",
                    values=effective,
                    label=f"keys as if used alike, of {usage.keys:,} in a codebook",
                    counted="codebooks",
                ),
                *([squares(usage)] if 1 < len(usage.names) <= DRAWN else []),
            ]
        ),
        Heading("Which classes share activations"),
        Paragraph(
            "Shared: the share of activations that two classes have on the same pairs, the mean over codebooks. Alone: "
            "the share of a class's activations on pairs that no other class selects; such pairs cost nobody anything."
        ),
        Table(
            id="overlap",
            caption="Overlap of classes, those that share most first",
            columns=[
                Column("Class"),
                Column("Shares most with, %", numeric=True, sorted="descending", names=True),
                Column("Alone, %", numeric=True),
                Column("Pairs", numeric=True),
            ],
            rows=overlap_rows(usage),
        ),
    ]
    return Section("store", "The store of activations", blocks)


def overlap_rows(usage: Usage) -> list[list[Cell]]:
    """A row a class."""
    alike: Mapping[int, Sequence[tuple[int, int]]] = usage.alike()
    weighted, rows = usage.overlap.weighted, []
    for k, each in enumerate(usage.names):
        near = alike.get(k, [])
        most = 100 * float(weighted[k, near[0][0]]) if near else None
        beside = ", ".join(f"{isolated(name(usage.names[other], other))} {share}" for other, share in near)
        alone = float(usage.overlap.exclusive[k])
        cells = [
            name_cell(each, k),
            Cell(beside or NOTHING, value=most, name=True),
            number_cell(None if np.isnan(alone) else 100 * alone, 1),
            number_cell(int(usage.overlap.shared[k, k]), 0),
        ]
        rows.append((most or 0.0, cells))
    return [cells for _, cells in sorted(rows, key=lambda row: -row[0])]


def squares(usage: Usage) -> svg.Drawing:
    """Every two classes."""
    names = [clip(name(each), LABEL) for each in usage.names]
    weighted = usage.overlap.weighted
    nearest = [
        f"{name(usage.names[k])} with {name(usage.names[pairs[0][0]])} {pairs[0][1]} %"
        for k, pairs in usage.alike().items()
    ]
    return svg.heat(
        id="squares",
        title="Shared activations of each two classes",
        description="Each class with the one that it shares most with: " + "; ".join(nearest),
        names=names,
        shares=weighted,
    )
