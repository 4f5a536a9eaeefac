"""Figures of the sweep: each class forgotten by itself, along N and at the N of the rule."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dkvb.orders import TAU
from dkvb.statistics import change_width, clopper_pearson
from jobs.errors import BadRequest
from jobs.figures import Choice
from jobs.figures.style import COLOURS, LINE, MARKERS, NAMED, OTHER, TEXT, key, label, name_rows, sheet
from jobs.query.stored import Stored
from jobs.results.experiment import Experiment
from jobs.results.headline import FORGOTTEN, KEYS, KNOWN, at_rule, by_class, sweep_table
from jobs.results.words import ITEMS, METHODS
from store.places import quoted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RULE = f"N by the rule ({100 * TAU:g} % of a class's activations)"

AT_RULE: dict[str, Any] = {"color": "0.15", "linewidth": 1.1, "linestyle": (0, (1, 1))}
"""The line at the rule's N: often near the end of the axis, where a plain one would be taken for a frame."""

POINTS = 41
"""Places along N at which the curves of several classes are averaged."""

ROWS = 14
"""Most classes with a row of their own."""

FORGET, RETAIN = COLOURS[1], COLOURS[0]

STYLES = {"test": "-", "train": (0, (3, 1.5))}
"""Lines of test and of training items."""


def curves(experiment: Experiment, choice: Choice) -> "Figure":
    """Draw what the other classes lose while each class goes: named are some classes, or the five that cost most."""
    rows = known(sweep_table(experiment), experiment)
    return draw_curves(rows, experiment.name, chosen(rows, experiment, choice, most=len(COLOURS)))


def along(experiment: Experiment, choice: Choice) -> "Figure":
    """Draw accuracy along N: over all classes with their spread, or of some with the intervals over their items."""
    rows = known(sweep_table(experiment), experiment)
    wanted = chosen(rows, experiment, choice, most=NAMED)
    return draw_classes(rows, experiment.name, wanted) if wanted else draw_along(rows, experiment.name)


def misses(experiment: Experiment, choice: Choice) -> "Figure":
    """Draw what is still recognised of each class at the rule's N."""
    return draw_misses(by_class(known(first_seed(sweep_table(experiment)), experiment)), experiment.name)


def known(rows: pl.DataFrame, experiment: Experiment) -> pl.DataFrame:
    """The rows of classes that were known before, and have test items; raises: BadRequest without any."""
    first = rows.filter(pl.col("budget") == 0, pl.col("test_items") > 0, pl.col("test_forget") > 0)
    if first.is_empty():
        raise BadRequest(
            f"{experiment.root}: {experiment.name}: no class of the sweep was known before it was forgotten: "
            f"nothing to draw (`dkvb table {quoted(experiment.root)} --table classes` shows each)"
        )
    return rows.join(first.select(KEYS), on=KEYS, how="semi", maintain_order="left")


def chosen(rows: pl.DataFrame, experiment: Experiment, choice: Choice, *, most: int) -> list[int]:
    """Indexes of the classes that a figure is narrowed down to; raises: BadRequest for what cannot be drawn."""
    wanted = list(dict.fromkeys(map(Stored(experiment).index, choice.classes)))
    if len(wanted) > most:
        raise BadRequest(f"found {len(wanted)} classes, expected at most {most}: as many as can be told apart")
    for k in wanted:
        if k not in rows["class"]:
            raise BadRequest(
                f"{experiment.classes[k]!r} is not in the sweep, was never known, or has no test items: nothing "
                f"to draw (`dkvb table {quoted(experiment.root)} --table classes` shows each class)"
            )
    return wanted


def first_seed(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of each method's first seed."""
    return rows.filter(pl.col("seed") == pl.col("seed").min().over("method"))


def present(rows: pl.DataFrame) -> list[str]:
    """The methods that were swept, in the order in which they are drawn."""
    there = set(rows["method"].unique())
    return [method for method in METHODS if method in there]


def changes(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows by N, with the change of retain accuracy in points."""
    before = pl.col("test_retain").first().over("method", "class", "seed")
    return rows.sort(*KEYS, "budget").with_columns((100 * (pl.col("test_retain") - before)).alias("change"))


def draw_curves(rows: pl.DataFrame, name: str, wanted: Sequence[int] = ()) -> "Figure":
    """Draw the change of retain accuracy against the accuracy left of the class: a line a class, the named on top.

    rows: as in `sweep_table`; wanted: indexes of the classes to name, at most as many as there are colours.
    """
    rows = changes(first_seed(rows))
    ruled, methods = at_rule(rows), present(rows)
    classes = rows["class"].unique().sort().to_list()
    title = f"{name}: what the other classes lose while each of {len(classes)} goes"
    if not wanted:
        costly = ruled.group_by("class").agg(pl.col("change").min()).sort("change", "class")["class"].to_list()
        wanted = classes if len(classes) <= len(COLOURS) else costly[:NAMED]
        title += "" if len(wanted) == len(classes) else f"; named: the {len(wanted)} that cost most"
    rest = len(classes) - len(wanted)
    figure = sheet(1.6 * len(methods) + 0.7, title, f"marks: {RULE}; at the right with 95 % over items")
    grid = figure.subplots(len(methods), 2, sharex="col", sharey=True, squeeze=False, width_ratios=(5, 2))
    for (panel, strip), method in zip(grid, methods, strict=True):
        own, at = rows.filter(pl.col("method") == method), ruled.filter(pl.col("method") == method)
        faint = min(0.6, max(0.08, 15 / len(classes)))
        for (k,), line in own.group_by("class", maintain_order=True):
            if k not in wanted:
                panel.plot(100 * line["test_forget"], line["change"], color=OTHER, alpha=faint, linewidth=0.6)
        for place, k in enumerate(wanted):
            draw_curve(panel, own.filter(pl.col("class") == k), at.filter(pl.col("class") == k), place)
        draw_strip(strip, at, wanted)
        for side in (panel, strip):
            side.axhline(0, color="0.3", linewidth=0.5)
        panel.set_title(f"{METHODS[method].title}{changed(at)}")
    names = dict(rows.select("class", "name").unique().iter_rows())
    ticks = [label(names[k]) for k in wanted] + ([f"{rest} others"] if rest else [])
    grid[-1, 1].set_xticks(range(len(ticks)), ticks, rotation=90)
    grid[-1, 1].set_xlim(-0.6, len(ticks) - 0.4)
    grid[0, 0].set_xlim(103 * rows["test_forget"].to_numpy().max(), -4)  # From remembered, on the left, to forgotten.
    grid[-1, 0].set_xlabel("forget class: test accuracy left (%)")
    figure.supylabel("other classes: change of test accuracy (points)", fontsize=TEXT)
    return figure


def draw_curve(panel: "Axes", line: pl.DataFrame, ruled: pl.DataFrame, place: int) -> None:
    """Draw a named class, with a mark at the rule's N; place: of its colour and its mark."""
    colour = COLOURS[place]
    panel.plot(100 * line["test_forget"], line["change"], color=colour, linewidth=1.1)
    panel.plot(
        100 * ruled["test_forget"],
        ruled["change"],
        MARKERS[place],
        color=colour,
        markerfacecolor="white",
        markersize=4,
        zorder=3,
    )


def draw_strip(strip: "Axes", ruled: pl.DataFrame, wanted: Sequence[int]) -> None:
    """Draw the changes at the rule's N side by side: of the named classes, and of all others from lowest to highest."""
    width = 100 * change_width(
        *(ruled[part].fill_null(0).to_numpy() for part in ("test_retain_lost", "test_retain_gained", "test_others"))
    )
    ruled = ruled.with_columns(pl.Series("width", width).fill_nan(0))
    for place, k in enumerate(wanted):
        for row in ruled.filter(pl.col("class") == k).iter_rows(named=True):
            strip.errorbar(
                [place],
                [row["change"]],
                yerr=[row["width"]],
                fmt=MARKERS[place],
                color=COLOURS[place],
                markerfacecolor="white",
                markersize=4,
                elinewidth=0.7,
            )
    rest = ruled.filter(~pl.col("class").is_in(list(wanted)))["change"].drop_nulls().to_numpy()
    if len(rest):
        strip.plot([len(wanted)] * 2, [rest.min(), rest.max()], color=OTHER, linewidth=3, alpha=0.5)
        strip.plot([len(wanted)], [rest.mean()], "_", color="0.2", markersize=5)
    strip.grid(visible=False, axis="x")


def changed(ruled: pl.DataFrame) -> str:
    """The mean change at the rule's N, and the worst, in words."""
    found = ruled["change"].drop_nulls().to_numpy()
    if not len(found):
        return ""
    return f": {found.mean():+.2f} points at the rule's N, worst {found.min():+.2f}"


def accuracy_bounds(rows: pl.DataFrame, accuracy: str, items: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % bounds over items, in percent, of accuracies in [0, 1]: (rows,) each."""
    counts = rows[items].fill_null(0).to_numpy()
    right = np.round(rows[accuracy].fill_null(0).to_numpy() * counts).astype(np.int64)
    low, high = clopper_pearson(right, counts)
    return 100 * low, 100 * high


def draw_along(rows: pl.DataFrame, name: str) -> "Figure":
    """Draw accuracies along N: means over classes and seeds, and how far classes spread around them.

    rows: as in `sweep_table`. Between the N that were measured, classes are followed along straight lines.
    """
    methods, classes = present(rows), rows["class"].n_unique()
    inner = classes >= 2 * NAMED
    bands = "bands: from the lowest to the highest class" + (", and the middle 80 % of classes" if inner else "")
    figure = sheet(
        2.25 + 1.3 * LINE, f"{name}: each of {classes} classes forgotten by itself", f"{bands}; dotted: {RULE}"
    )
    panels = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    for panel, method in zip(panels, methods, strict=True):
        own = rows.filter(pl.col("method") == method)
        mark_rule(panel, at_rule(own))
        for part, colour in (("retain", RETAIN), ("forget", FORGET)):
            for split, style in STYLES.items():
                shares, paths = followed(own, f"{split}_{part}")
                panel.plot(shares, paths.mean(0), color=colour, linestyle=style, linewidth=1.1)
                if split == "test":
                    panel.fill_between(shares, paths.min(0), paths.max(0), color=colour, alpha=0.15, linewidth=0)
                    if inner:
                        low, high = np.percentile(paths, [10, 90], axis=0)
                        panel.fill_between(shares, low, high, color=colour, alpha=0.25, linewidth=0)
        frame(panel, method)
    panels[0].set_ylabel("accuracy (%)")
    explain(figure)
    return figure


def draw_classes(rows: pl.DataFrame, name: str, wanted: Sequence[int]) -> "Figure":
    """Draw accuracies along N of some classes, a row each, with 95 % intervals over their test items.

    rows: as in `sweep_table`, the wanted classes among them.
    """
    rows, methods = first_seed(rows), present(rows)
    figure = sheet(
        0.45 + 1.3 * LINE + 1.5 * len(wanted),
        f"{name}: each class forgotten by itself",
        f"bands: 95 % over test items; dotted: {RULE}",
    )
    panels = figure.subplots(len(wanted), len(methods), sharex="col", sharey=True, squeeze=False)
    for row, k in zip(panels, wanted, strict=True):
        for panel, method in zip(row, methods, strict=True):
            own = rows.filter(pl.col("method") == method, pl.col("class") == k).sort("budget")
            mark_rule(panel, at_rule(own))
            share = 100 * own["share"].to_numpy()
            for part, colour, items in (("retain", RETAIN, "test_others"), ("forget", FORGET, "test_items")):
                low, high = accuracy_bounds(own, f"test_{part}", items)
                panel.fill_between(share, low, high, color=colour, alpha=0.2, linewidth=0)
                for split, style in STYLES.items():
                    panel.plot(share, 100 * own[f"{split}_{part}"], color=colour, linestyle=style, linewidth=1.1)
            frame(panel, method)
            panel.label_outer()
        found = own.row(0, named=True)
        row[0].set_title(f"{label(found['name'], 80)} ({found['test_items']} test items)")
        row[0].set_ylabel("accuracy (%)")
    explain(figure)
    return figure


def followed(rows: pl.DataFrame, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracies of one method along N.

    returns: (POINTS,) shares in percent, up to the largest that every class and seed has; (runs, POINTS) percent.
    """
    runs = [run.sort("budget") for _, run in rows.group_by("class", "seed", maintain_order=True)]
    last = min(float(run["share"][-1]) for run in runs)
    shares = np.linspace(0, last, POINTS)
    paths = [np.interp(shares, run["share"].to_numpy(), run[column].fill_null(np.nan).to_numpy()) for run in runs]
    return 100 * shares, 100 * np.array(paths)


def mark_rule(panel: "Axes", ruled: pl.DataFrame) -> None:
    """Shade where the rule's N lies: from its least to its largest share over classes, a dotted line at their mean."""
    shares = 100 * ruled["share"].to_numpy()
    if len(shares):
        panel.axvspan(shares.min(), shares.max(), color="0.88", linewidth=0)
        panel.axvline(shares.mean(), **AT_RULE)


def frame(panel: "Axes", method: str) -> None:
    """Set limits and name the axis of N."""
    panel.set_xlim(0, 106)
    panel.set_xticks(range(0, 101, 25))
    panel.set_ylim(-2, 102)
    panel.set_xlabel(f"N {METHODS[method].title}\n(% of {METHODS[method].of})")


def explain(figure: "Figure") -> None:
    """Say below a figure which line is what."""
    lines = {
        f"{part}, {ITEMS[split]}": {"color": colour, "linestyle": style}
        for part, colour in (("forget class", FORGET), ("other classes", RETAIN))
        for split, style in STYLES.items()
    }
    key(figure, {**lines, "N by the rule": AT_RULE})


def draw_misses(classes: pl.DataFrame, name: str) -> "Figure":
    """Draw what is left of each class at the rule's N, the classes with most left first, with 95 % over items.

    classes: as in `jobs.results.headline.by_class`, of one seed a method.
    """
    told = classes.filter(pl.col("outcome").is_in([FORGOTTEN, KNOWN]))
    left = pl.max_horizontal("train after", "test after").max()
    worst = told.group_by("class").agg(left.alias("left")).sort("left", "class", descending=[True, False])
    shown = worst["class"].to_list()
    shown = shown if len(shown) <= ROWS + 2 else shown[:ROWS]
    methods, rest = present(told), len(worst) - len(shown)
    names = [label(told.filter(pl.col("class") == k)["name"][0], 64) for k in shown]
    if rest:
        names.append(f"{rest} others")
    counts = (
        f"{METHODS[m].title} {(told.filter(pl.col('method') == m)['outcome'] == FORGOTTEN).sum()}" for m in methods
    )
    figure = sheet(
        0.65 + 1.4 * LINE * max(4, len(names)),
        f"{name}: what is still recognised of each class at {RULE}",
        f"forgotten, at most 0.5 % of either: {', '.join(counts)} of {len(worst)} classes; bars: 95 % over items",
    )
    panels = figure.subplots(1, 2, sharey=True)
    marks = [{"color": COLOURS[i], "marker": MARKERS[i], "linestyle": ""} for i in range(len(methods))]
    for panel, split in zip(panels, ("train", "test"), strict=True):
        for place, method in enumerate(methods):
            own = told.filter(pl.col("method") == method)
            shift = 0.18 * (2 * place - len(methods) + 1)
            for row, k in enumerate(shown):
                one = own.filter(pl.col("class") == k)
                if not one.is_empty():
                    value, low, high = (one[f"{split} {part}"][0] for part in ("after", "95 % low", "95 % high"))
                    panel.plot([low, high], [row + shift] * 2, color=COLOURS[place], linewidth=0.7)
                    panel.plot([value], [row + shift], **marks[place])
            others = own.filter(~pl.col("class").is_in(shown))[f"{split} after"].drop_nulls()
            if rest and len(others):
                at = len(shown) + shift
                panel.plot([others.min(), others.max()], [at, at], color=COLOURS[place], linewidth=1.8, alpha=0.5)
                panel.plot([others.mean()], [at], **marks[place])
        panel.margins(x=0.04)
        panel.set_xlabel(f"{ITEMS[split]} left (%)")
    name_rows(panels[0], names)
    key(figure, {METHODS[method].title: marks[i] for i, method in enumerate(methods)})
    return figure
