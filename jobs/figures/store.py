"""Figures of the store: which class is mistaken for which, what classes share, what masks take, how keys are used."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dkvb.orders import TAU
from dkvb.statistics import change_width
from jobs.errors import BadRequest
from jobs.figures import Choice
from jobs.figures.style import (
    COLOURS,
    COLUMN,
    LINE,
    MARKERS,
    NAMED,
    OTHER,
    End,
    label,
    name_ends,
    name_rows,
    sheet,
    width,
)
from jobs.printable import per_cent
from jobs.query import pairs
from jobs.query.stored import Stored
from jobs.results.experiment import Experiment
from store.places import quoted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELLS = 16
"""Most classes with a row of a matrix of their own."""

NUMBERED = 11
"""Most rows of a matrix whose cells hold numbers."""

BARS = 14
"""Most rows of a ranking."""


def confusion(experiment: Experiment, choice: Choice) -> "Figure":
    """Draw which class test items are taken for: before, and what a mask changes."""
    stored = Stored(experiment)
    mask, forget, about = masked(stored, choice)
    return draw_confusion(pairs.confusion(stored, mask), stored.classes, forget, f"{experiment.name}{about}")


def overlap(experiment: Experiment, choice: Choice) -> "Figure":
    """Draw how far each two classes share pairs, or one class with the others."""
    stored = Stored(experiment)
    table = pairs.overlaps(stored)
    if not choice.classes:
        return draw_overlap(table, stored.classes, experiment.name)
    if len(choice.classes) > 1:
        raise BadRequest(f"found {len(choice.classes)} times --class, expected one: it is ranked against all others")
    return draw_sharers(table, stored.index(choice.classes[0]), experiment.name)


def collateral(experiment: Experiment, choice: Choice) -> "Figure":
    """Draw what a mask takes from the other classes: of their activations, and on their test items."""
    stored = Stored(experiment)
    mask, forget, about = masked(stored, choice)
    if mask is None:
        raise BadRequest(
            "a figure of the kind 'collateral' is of a mask: add --class NAME for the rule's, or --mask MASK for one "
            f"that `dkvb unlearn {quoted(experiment.root)} --class NAME` wrote"
        )
    return draw_collateral(pairs.collateral(stored, mask), forget, f"{experiment.name}{about}")


def load(experiment: Experiment, choice: Choice) -> "Figure":
    """Draw how many keys of each codebook training uses, and how evenly."""
    stored = Stored(experiment)
    return draw_load(stored.activations.load(), experiment.name, keys=stored.size[1])


def masked(stored: Stored, choice: Choice) -> tuple[NDArray[np.bool_] | None, list[int], str]:
    """The mask of a choice, the classes that it forgets, and both in words; no mask where none is chosen."""
    if choice.mask is not None:
        mask, header = stored.read_mask(choice.mask)
        names = [str(name) for name in header.get("classes", ())]
        words = f"under a mask of {int(mask.sum())} pairs"
        forget = [k for k, name in enumerate(stored.classes) if name in names]
    elif choice.classes:
        forget = sorted({stored.index(name) for name in choice.classes})
        mask, names = stored.rule_mask(forget), [stored.classes[k] for k in forget]
        words = f"via Activations, N by the rule ({100 * TAU:g} % of activations)"
    else:
        return None, [], ": the model before anything is forgotten"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    named = f"{', '.join(label(name, 90) for name in names[:NAMED])}{more}"
    return mask, forget, f": {named} forgotten, {words}"


def draw_confusion(cells: pl.DataFrame, classes: Sequence[str], forget: Sequence[int], title: str) -> "Figure":
    """Draw shares of each class's test items before and, under a mask, their changes.

    cells: as in `jobs.query.pairs.confusion`. With many classes: the forgotten, those that are confused most (with a
    mask: that change most), and all others together.
    """
    v = len(classes)
    at = cells["class"].to_numpy(), cells["predicted"].to_numpy()
    before, after = np.zeros((v, v)), np.zeros((v, v))
    before[at] = cells["before"].to_numpy()
    if changed := "after" in cells.columns:
        after[at] = cells["after"].to_numpy()
    chosen, names = list(range(v)), [label(name) for name in classes]
    if v > CELLS:
        moved = np.abs(after - before) if changed else before * (1 - np.eye(v))
        most = np.argsort(-(moved.sum(0) + moved.sum(1)), kind="stable").tolist()
        first = [*forget, *(k for k in most if k not in set(forget))][: CELLS - 1]
        chosen = sorted(first)
        before, after = together(before, chosen), together(after, chosen)
        names = [*(names[k] for k in chosen), f"{v - len(chosen)} others"]
    items = np.maximum(before.sum(1, keepdims=True), 1)
    shares = {"share of the class's test items (%)": 100 * before / items}
    if changed:
        shares["change under the mask (points)"] = 100 * (after - before) / items
    words = "row: class of an item; column: what it is taken for"
    figure = sheet(down(names) + (side(names) + 0.2) * len(shares), title, words)
    panels = figure.subplots(len(shares), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (what, values), colours in zip(panels, shares.items(), ("Blues", "PuOr_r"), strict=False):
        bound = 100.0 if colours == "Blues" else float(np.abs(values).max(initial=1))
        draw_matrix(panel, values, names, colours, (0 if colours == "Blues" else -bound, bound))
        panel.set_title(what)
    name_columns(panels[-1], names)
    return figure


def together(cells: NDArray[np.float64], chosen: Sequence[int]) -> NDArray[np.float64]:
    """A matrix of some rows and columns, and the sums of all others in its last: (chosen + 1, chosen + 1)."""
    rest = np.setdiff1d(np.arange(len(cells)), chosen)
    rows = np.vstack([cells[list(chosen)], cells[rest].sum(0, keepdims=True)])
    return np.hstack([rows[:, list(chosen)], rows[:, rest].sum(1, keepdims=True)])


def draw_matrix(
    panel: "Axes", values: NDArray[np.float64], names: Sequence[str], colours: str, bounds: tuple[float, float]
) -> None:
    """Draw a matrix as cells, with a scale at its right; small ones hold their numbers."""
    cells = panel.pcolormesh(values, cmap=colours, vmin=bounds[0], vmax=bounds[1], edgecolors="white", linewidth=0.3)
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
    panel.set_yticks(np.arange(len(names)) + 0.5, names)
    panel.set_ylim(len(names), 0)
    panel.tick_params(length=0)
    scale = panel.figure.colorbar(cells, ax=panel, fraction=0.04, pad=0.02)
    scale.outline.set_visible(False)
    if len(names) <= NUMBERED:
        for (i, j), value in np.ndenumerate(values):
            if np.isfinite(value) and round(value):
                dark = (value - bounds[0]) / (bounds[1] - bounds[0])
                white = dark > 0.6 if bounds[0] == 0 else abs(dark - 0.5) > 0.35
                panel.text(j + 0.5, i + 0.5, f"{value:.0f}", ha="center", va="center", color="w" if white else "k")


def side(names: Sequence[str]) -> float:
    """Height in inches of a matrix whose cells are square, or flat where they are few."""
    return min(COLUMN - 0.55 - max(map(width, names)) / 72, 0.4 * len(names))


def down(names: Sequence[str]) -> float:
    """Height in inches of upright names."""
    return max(map(width, names)) / 72 + 0.15


def name_columns(panel: "Axes", names: Sequence[str]) -> None:
    """Name the columns of a matrix, upright."""
    panel.set_xticks(np.arange(len(names)) + 0.5, names, rotation=90)


def draw_overlap(table: pl.DataFrame, classes: Sequence[str], title: str) -> "Figure":
    """Draw the weighted overlap of each two classes, like beside like; with many classes the closest two by name.

    table: as in `jobs.query.pairs.overlaps`.
    """
    v = len(classes)
    alike = np.zeros((v, v))
    a, b = table["class"].to_numpy(), table["other"].to_numpy()
    alike[a, b] = alike[b, a] = 100 * table["weighted"].fill_null(0).to_numpy()
    order = by_likeness(alike)
    cells = alike[np.ix_(order, order)]
    np.fill_diagonal(cells, np.nan)
    names = [label(classes[k]) for k in order] if v <= CELLS else []
    title = f"{title}: overlap of {v} classes, like beside like"
    words = "weighted overlap: activations that two classes share (%)"
    most = float(np.nanmax(cells, initial=0))
    if names:
        figure = sheet(down(names) + side(names) + 0.1, title, words)
        (panel,) = figure.subplots(1, 1, squeeze=False)[0]
        draw_matrix(panel, cells, names, "Blues", (0, most or 1))
        name_columns(panel, names)
        return figure
    whole, ranking = COLUMN - 0.6, 0.3 + 1.35 * LINE * BARS
    figure = sheet(whole + ranking + 0.2, title, words)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(whole, ranking))[:, 0]
    panel, closest = above.subplots(1, 1), below.subplots(1, 1)
    shown = panel.imshow(cells, cmap="Blues", vmin=0, vmax=most or 1, interpolation="nearest", aspect="auto")
    panel.grid(visible=False)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)
    above.colorbar(shown, ax=panel, fraction=0.04, pad=0.02).outline.set_visible(False)
    two = table.filter(pl.col("class") != pl.col("other")).sort("weighted", descending=True, nulls_last=True)
    two = two.head(BARS)
    names = [f"{label(row['name'])} – {label(row['other_name'])}" for row in two.iter_rows(named=True)]
    draw_ranking(closest, names, 100 * two["weighted"].fill_null(0).to_numpy())
    closest.set_title("the classes that are most alike")
    closest.set_xlabel("weighted overlap (%)")
    return figure


def by_likeness(alike: NDArray[np.float64]) -> list[int]:
    """Indexes in an order that puts like beside like: (v,) of (v, v) symmetric in [0, 100]."""
    if len(alike) < 3:
        return list(range(len(alike)))
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    apart = 100 - alike
    np.fill_diagonal(apart, 0)
    return [int(k) for k in leaves_list(linkage(squareform(apart, checks=False), "average"))]


def draw_sharers(table: pl.DataFrame, k: int, title: str) -> "Figure":
    """Draw the classes that share most with one; table: as in `jobs.query.pairs.overlaps`."""
    own = table.filter((pl.col("class") == k) != (pl.col("other") == k)).with_columns(
        pl.when(pl.col("class") == k).then("other_name").otherwise("name").alias("sharer")
    )
    alone = table.filter(pl.col("class") == k, pl.col("other") == k).row(0, named=True)
    own = own.sort("weighted", descending=True, nulls_last=True, maintain_order=True).head(BARS)
    exclusive = alone["exclusive"]
    words = "" if exclusive is None else f"; {per_cent(exclusive, 0)} of its activations are on pairs of its own"
    figure = sheet(0.4 + 1.35 * LINE * len(own), f"{title}: who shares pairs with {label(alone['name'], 90)}{words}")
    (panel,) = figure.subplots(1, 1, squeeze=False)[0]
    draw_ranking(panel, [label(name, 90) for name in own["sharer"]], 100 * own["weighted"].fill_null(0).to_numpy())
    panel.set_xlabel("weighted overlap (%)")
    return figure


def draw_ranking(panel: "Axes", names: Sequence[str], values: NDArray[np.float64]) -> None:
    """Draw a value a row, the first on top."""
    panel.barh(range(len(names)), values, height=0.6, color=COLOURS[0])
    name_rows(panel, names)
    panel.set_xlim(left=0)


def draw_collateral(table: pl.DataFrame, forget: Sequence[int], title: str) -> "Figure":
    """Draw each other class: the activations that a mask takes, and its change of accuracy; named: the five that lose.

    table: as in `jobs.query.pairs.collateral`; forget: indexes of the classes that are meant to lose.
    """
    gone = table.filter(pl.col("class").is_in(list(forget)))
    others = table.filter(~pl.col("class").is_in(list(forget)), pl.col("test_items") > 0)
    if others.is_empty():
        raise BadRequest("no class is left besides the forgotten ones: a mask can take nothing from any")
    change = 100 * (pl.col("gained") - pl.col("lost")) / pl.col("test_items")
    others = others.with_columns(change.alias("change"), (100 * pl.col("hit_share").fill_null(0)).alias("taken"))
    lines = [
        f"{label(row['name'], 90)}: {row['right_before']} of {row['test_items']} test items right before, "
        f"{row['right_after']} after"
        for row in gone.sort("class").head(NAMED).iter_rows(named=True)
    ]
    rho = others.select(pl.corr("taken", "change", method="spearman")).item()
    ranks = "" if rho is None or math.isnan(rho) else f"; rank correlation {rho:.2f}"
    height = 2.4
    figure = sheet(height, title, *lines, f"bars: 95 % over test items{ranks}")
    (panel,) = figure.subplots(1, 1, squeeze=False)[0]
    worst = others.sort("change", "taken", "class", descending=[False, True, False]).head(NAMED)
    rest = others.filter(~pl.col("class").is_in(worst["class"].implode()))
    panel.plot(rest["taken"], rest["change"], "o", color=OTHER, alpha=min(0.8, max(0.15, 60 / len(others))))
    around = 100 * change_width(*(worst[part].to_numpy() for part in ("lost", "gained", "test_items")))
    ends = []
    for place, row in enumerate(worst.iter_rows(named=True)):
        panel.errorbar(
            [row["taken"]],
            [row["change"]],
            yerr=[around[place]],
            fmt=MARKERS[place],
            color=COLOURS[place],
            markersize=4,
            elinewidth=0.6,
        )
        ends.append(End(row["taken"], row["change"], label(row["name"]), COLOURS[place]))
    panel.axhline(0, color="0.3", linewidth=0.5)
    panel.set_xlabel("training activations taken (%)")
    panel.set_ylabel("test accuracy: change (points)")
    panel.set_xlim(left=0)
    low, high = panel.get_ylim()
    panel.set_ylim(min(low, -1), max(high, 1))  # where nothing changes, an axis of hundredths would say otherwise
    name_ends(panel, sorted(ends, key=lambda end: -end.x), height - 0.5)
    return figure


def draw_load(table: pl.DataFrame, title: str, *, keys: int) -> "Figure":
    """Draw every codebook: its keys above, shares of its activations below.

    table: as in `store.query.Activations.load`; keys: of a codebook, used or not.
    """
    place = np.arange(1, len(table) + 1)
    unused = 100 * table["unused"].sum() / (keys * len(table))
    figure = sheet(
        3.0,
        f"{title}: load of {len(table)} codebooks of {keys} keys; unused: {unused:.1f} %",
        "effective: keys that would spread as far if hit alike",
    )
    panels = figure.subplots(2, 1, sharex=True)
    drawn = (
        (("used", "used", 1), ("effective", "effective", 1)),
        (("exclusive_share", "on keys of\none class", 100), ("largest_share", "on the\nbusiest key", 100)),
    )
    for panel, lines in zip(panels, drawn, strict=True):
        ends = []
        for number, (column, words, factor) in enumerate(lines):
            values = factor * table[column].sort(descending=True).to_numpy()
            panel.plot(place, values, color=COLOURS[number], marker="." if len(table) <= 32 else "")
            ends.append(End(float(place[-1]), float(values[-1]), words, COLOURS[number]))
        panel.set_ylim(0, 1.04 * panel.get_ylim()[1])
        name_ends(panel, ends, 0.5)
    panels[0].set_ylabel("keys")
    panels[1].set_ylabel("activations (%)")
    panels[1].set_xlabel("codebooks, sorted for each line")
    return figure
