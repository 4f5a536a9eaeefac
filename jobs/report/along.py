"""Forget and retain along N: all classes as a picture, and what the script of the page reads of each."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from dkvb.orders import TAU
from jobs.report import svg
from jobs.report.hit import Hit
from jobs.report.records import Explorer, Figures, Paragraph, Section, name, number
from jobs.report.swept import Swept
from jobs.results.words import METHODS

POINTS = 40_000
"""Most N of all classes and methods together that a page carries: about 31 bytes each."""


def along(swept: Swept) -> Section:
    """Forget and retain along N: all classes as a picture, one class where there is a script."""
    return Section(
        "along",
        "Along N",
        [
            Paragraph(
                "What more or less N would do: the mean over all classes, and from the least to the most. The rule "
                f"takes the smallest N that holds {100 * TAU:g} % of the class's training activations; nothing on this "
                "page is chosen by these curves."
            ),
            Figures([mean_along(swept, method) for method in swept.methods]),
            Explorer(),
        ],
    )


def mean_along(swept: Swept, method: str) -> svg.Drawing:
    """Mean, least and most over classes, by shares of N."""
    rows = swept.rows.filter(pl.col("method") == method)
    rows = rows.filter(pl.col("seed") == rows["seed"].min()).sort("class", "budget")
    columns = ("train_forget", "test_forget", "test_retain")
    parts = [part for _, part in rows.group_by("class", maintain_order=True) if not has_nulls(part, columns)]
    curves, said = [], []
    if parts:
        end = min(float(part["share"][-1]) for part in parts)
        x = np.linspace(0, end, 41)
        for column, style, dashed, what in (
            ("test_retain", "b", False, "test items of all other classes right"),
            ("train_forget", "a", False, "training items of the class still known"),
            ("test_forget", "a", True, "test items of the class still known"),
        ):
            y = np.array([np.interp(x, part["share"], part[column]) for part in parts]) * 100
            band = {} if dashed else {"low": y.min(0).tolist(), "high": y.max(0).tolist()}
            middle = y.mean(0).tolist()
            curves.append(svg.Curve(x=(100 * x).tolist(), y=middle, style=style, dashed=dashed, **band))
            said.append(
                f"{what}: {number(middle[0])} % at N = 0, {number(middle[20])} % halfway, "
                f"{number(middle[-1])} % at the end"
            )
    return svg.curves(
        id=f"along-{method}",
        title=f"{METHODS[method].title[:1].upper()}{METHODS[method].title[1:]}: mean of {len(parts):,} classes",
        description=f"Along N in % of the {METHODS[method].of}. Means over classes: " + "; ".join(said),
        curves=curves,
        label=f"N in % of the {METHODS[method].of}",
        legend=[
            svg.Key("line", "a", "training items still known, %"),
            svg.Key("dashes", "a", "test items still known, %"),
            svg.Key("line", "b", "others right, %"),
            svg.Key("band", "c", "least to most over classes"),
        ],
    )


def has_nulls(rows: pl.DataFrame, columns: Sequence[str]) -> bool:
    """Whether a number is missing in some columns."""
    return bool(rows.select(pl.any_horizontal(pl.col(columns).is_null().any()))[0, 0])


def explored(
    swept: Swept,
    alike: Mapping[int, Sequence[tuple[int, int]]],
    losers: Mapping[tuple[str, int], Sequence[Sequence[Hit]]] = MappingProxyType({}),
) -> dict[str, Any]:
    """What the script of the page reads: every class along N, as counts.

    alike: class -> the classes that share most activations with it, in per cent.
    losers: method and class -> for each N the classes that lose most (`jobs.report.hit.hit`).
    """
    others = sum(swept.items["test"])
    return {
        "classes": [name(each, k) for k, each in enumerate(swept.names)],
        "train": [*swept.items["train"]],
        "test": [*swept.items["test"]],
        "others": [others - items for items in swept.items["test"]],
        "alike": {str(k): [list(pair) for pair in pairs] for k, pairs in alike.items()},
        "methods": [
            {"title": METHODS[method].title, "of": METHODS[method].of, "rows": explored_rows(swept, method, losers)}
            for method in swept.methods
        ],
    }


def kept(budgets: int, rule: int | None, most: int) -> list[int]:
    """Places in a grid that a page carries: the first, the last, the rule's, and others evenly between."""
    places = np.linspace(0, budgets - 1, min(most, budgets)).round().astype(int).tolist()
    return sorted({*places, *([] if rule is None else [rule])})


def explored_rows(
    swept: Swept, method: str, losers: Mapping[tuple[str, int], Sequence[Sequence[Hit]]]
) -> list[dict[str, Any]]:
    """One row a class, of the first seed."""
    most = max(3, POINTS // (len(swept.names) * len(swept.methods)) - 1)
    rows = swept.rows.filter(pl.col("method") == method)
    rows = rows.filter(pl.col("seed") == rows["seed"].min()).sort("class", "budget")
    made = []
    for (k,), part in rows.group_by("class", maintain_order=True):
        holds = ((part["budget"] > 0) & (part["forget_hit_share"] >= TAU - 1e-9)).arg_true().to_list()
        places = kept(len(part), holds[0] if holds else None, most)
        part = part[places]
        right = (part["test_retain"] * part["test_others"]).round().cast(pl.Int64)
        damage = (10000 * part["neighbour_damage"]).round().cast(pl.Int64)
        made.append(
            {
                "k": k,
                "most": round(part["budget"][-1] / (part["share"][-1] or 1)),
                "n": part["budget"].to_list(),
                "rule": places.index(holds[0]) if holds else None,
                **{
                    split: (part[f"{split}_forget"] * part[f"{split}_items"]).round().cast(pl.Int64).to_list()
                    for split in ("train", "test")
                },
                "right": right[0],
                "change": (right - right[0]).to_list(),
                "worst": [
                    None if lost is None else other for other, lost in zip(part["worst_neighbour"], damage, strict=True)
                ],
                "damage": [max(lost or 0, 0) for lost in damage],
                **({"hit": [losers[method, k][place] for place in places]} if (method, k) in losers else {}),
            }
        )
    return made
