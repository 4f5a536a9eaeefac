"""Figure of sets of classes that are forgotten together: accuracies against the size of the set, SCRUB beside."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from dkvb.orders import TAU
from jobs.errors import BadRequest
from jobs.figures import Choice
from jobs.figures.style import COLOURS, key, sheet
from jobs.figures.sweep import present
from jobs.results.compare_tables import scope_table
from jobs.results.experiment import Experiment
from jobs.results.sets_tables import at_rule, sets_rows
from jobs.results.words import METHODS
from store.artefacts import Artefact
from store.places import quoted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORGET, RETAIN = COLOURS[1], COLOURS[0]

ACCURACIES = {"test": FORGET, "retain": RETAIN}
"""Of the classes of a set, and of all others: each has a column before and one after."""

BESIDE = {"scrub": ("SCRUB", "s"), "retrain": ("retrained without the set", "D")}
"""Methods of the comparison that stand beside, in words, and their marks."""

AMONG = "among retain change"
"""Where the classes of the set may not be predicted: a set that goes takes no items of others any more."""

DOTS, DASHES = (0, (1, 1.5)), (0, (3, 1.5))
"""Lines of what was before, and of AMONG."""

SHIFTS = (-0.15, 0.15)
"""How far marks beside lie from the middle of their size, in sizes."""


def sets(experiment: Experiment, choice: Choice) -> "Figure":
    """Draw accuracies against the size of the set, with their spread over draws; SCRUB where it was compared."""
    rows = at_rule(sets_rows(experiment)).filter("known")
    if rows.is_empty():
        raise BadRequest(
            f"{experiment.root}: {experiment.name}: nothing was known of any set before it was forgotten: nothing to "
            f"draw (`dkvb table {quoted(experiment.root)} --table sets` shows each size)"
        )
    return draw_sets(rows, experiment.name, compared(experiment))


def compared(experiment: Experiment) -> pl.DataFrame:
    """Sets of classes in the table of scope, on the bottleneck's values, by size; no rows where there is no table."""
    numbers = ("test after", "retain after", "change")
    schema = {"size": pl.Int64, "method": pl.String, **dict.fromkeys(numbers, pl.Float64)}
    if "scope" not in experiment.steps or not Artefact(experiment.root, "scope", experiment.steps["scope"]).done:
        return pl.DataFrame(schema=schema)
    rows = scope_table(experiment).filter(pl.col("kind") == "classes", pl.col("head") == "values")
    before = rows.filter(pl.col("method") == "none").select("size", before="test_retain")
    rows = rows.join(before, on="size").filter(pl.col("method").is_in([*BESIDE]))
    accuracy = {"test after": 100 * pl.col("test_forget"), "retain after": 100 * pl.col("test_retain")}
    change = 100 * (pl.col("test_retain") - pl.col("before"))
    return rows.select(pl.col("size").cast(pl.Int64), "method", **accuracy, change=change).sort("size")


def draw_sets(rows: pl.DataFrame, name: str, beside: pl.DataFrame) -> "Figure":
    """Draw two panels a method: accuracies along the size of the set, and what the other classes gain or lose.

    rows: as of `at_rule`, of sets of which something was known; beside: as of `compared`.
    """
    numbers = ("test before", "test after", "retain before", "retain after", "retain change", AMONG)
    each = rows.group_by("method", "set", maintain_order=True).agg(
        pl.col("size").first().cast(pl.Int64), pl.col("draw", "members").first(), pl.col(numbers).mean()
    )  # over seeds
    sizes = sorted(each["size"].unique().to_list())
    beside = beside.filter(pl.col("size").is_in(sizes))
    draws = each["draw"].drop_nulls().n_unique()
    spread = f"; bars: from the lowest to the highest of {draws} draws, thick: their middle 80 %" if draws else ""
    counts = each.drop_nulls("draw").group_by("size").agg(pl.col("members").n_unique()).sort("size").iter_rows()
    if few := [f"{different:,} of size {size:,}" for size, different in counts if different < draws]:
        spread += f"; different sets: {', '.join(few)}"
    methods = present(each)
    title = f"{name}: sets of classes forgotten together, test items"
    apart = "the comparison's own set of each size, another than these, on one seed (table scope)"
    marked = " and ".join(words for method, (words, _) in BESIDE.items() if method in beside["method"])
    figure = sheet(
        3.3,
        title,
        f"N by the rule ({100 * TAU:g} % of the set's activations){spread}",
        *([f"{marked}: {apart}"] if marked else []),
    )
    grid = figure.subplots(2, len(methods), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 2))
    for (upper, lower), method in zip(grid.T, methods, strict=True):
        own = each.filter(pl.col("method") == method)
        for part, colour in ACCURACIES.items():
            draw_means(upper, own, sizes, f"{part} before", color=colour, linestyle=DOTS)
            draw_after(upper, own, sizes, f"{part} after", colour)
            draw_beside(upper, beside, sizes, f"{part} after", colour)
        draw_after(lower, own, sizes, "retain change", RETAIN)
        draw_means(lower, own, sizes, AMONG, color=RETAIN, linestyle=DASHES)
        draw_beside(lower, beside, sizes, "change", RETAIN)
        lower.axhline(0, color="0.3", linewidth=0.5)
        upper.set_title(METHODS[method].title)
        upper.set_ylim(-3, 103)
        lower.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
        lower.set_xlim(-0.5, len(sizes) - 0.5)
        lower.set_xlabel("classes forgotten together")
        for panel in (upper, lower):
            panel.grid(visible=False, axis="x")
    grid[0, 0].set_ylabel("accuracy (%)")
    grid[1, 0].set_ylabel("others: change\n(points)")
    explain(figure, draws=draws > 0, named=bool(each["draw"].is_null().any()), beside=beside["method"].to_list())
    return figure


def draw_means(panel: "Axes", rows: pl.DataFrame, sizes: Sequence[int], column: str, **look: Any) -> None:
    """Draw the means of random sets along their sizes, as a line."""
    means = rows.filter(pl.col("draw").is_not_null()).group_by("size").agg(pl.col(column).mean()).sort("size")
    panel.plot([*map(sizes.index, means["size"])], means[column], linewidth=0.9, **look)


def draw_after(panel: "Axes", rows: pl.DataFrame, sizes: Sequence[int], column: str, colour: str) -> None:
    """Draw random sets by their means along the sizes and their spread over draws; and sets with a name one by one."""
    random, named = rows.filter(pl.col("draw").is_not_null()), rows.filter(pl.col("draw").is_null())
    places, means = [], []
    for place, size in enumerate(sizes):
        values = random.filter(pl.col("size") == size)[column].drop_nulls().to_numpy()
        if len(values):
            panel.plot([place] * 2, [values.min(), values.max()], color=colour, linewidth=0.7)
            middle = np.percentile(values, [10, 90])
            panel.plot([place] * 2, middle, color=colour, linewidth=3, alpha=0.4, solid_capstyle="butt")
            places.append(place)
            means.append(values.mean())
    panel.plot(places, means, "o-", color=colour, markersize=2.5, linewidth=1)
    at = [*map(sizes.index, named["size"])]
    panel.plot(at, named[column], "o", color=colour, markerfacecolor="white", markersize=4)


def draw_beside(panel: "Axes", beside: pl.DataFrame, sizes: Sequence[int], column: str, colour: str) -> None:
    """Draw the methods of the comparison."""
    for (method, (_, mark)), shift in zip(BESIDE.items(), SHIFTS, strict=True):
        found = beside.filter(pl.col("method") == method)
        panel.plot([sizes.index(size) + shift for size in found["size"]], found[column], mark, color=colour)


def explain(figure: "Figure", *, draws: bool, named: bool, beside: Sequence[str]) -> None:
    """Say below a figure what its lines and marks are."""
    dark: dict[str, Any] = {"color": "0.3", "linestyle": ""}
    lines: dict[str, dict[str, Any]] = {
        "classes of the set": {"color": FORGET, "marker": "o"},
        "all other classes": {"color": RETAIN, "marker": "o"},
        **({"before": {"color": "0.3", "linestyle": DOTS}} if draws else {}),
        **({"others among themselves": {"color": RETAIN, "linestyle": DASHES}} if draws else {}),
        **({"a set that the spec names": {**dark, "marker": "o", "markerfacecolor": "white"}} if named else {}),
        **{words: {**dark, "marker": mark} for method, (words, mark) in BESIDE.items() if method in beside},
    }
    key(figure, lines)
