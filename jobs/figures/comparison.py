"""Figures of the comparison: masks beside baselines, controls and oracles; attacks; costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from dkvb.statistics import interval
from jobs.errors import BadRequest
from jobs.figures import Choice
from jobs.figures.style import COLOURS, LINE, MARKERS, key, label, name_rows, sheet
from jobs.results.compare_notes import worth
from jobs.results.compare_tables import attacks_table, costs_table, crossed, known_rows, rows_of
from jobs.results.experiment import Experiment
from jobs.results.sweep_tables import half_interval
from store.places import quoted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADS = {
    "values": "on the bottleneck's values",
    "values-lda": "on values that are solved for",
    "linear": "on a linear head",
    "linear-lda": "on a linear head that is solved for",
}

REFERENCES = ("none", "retrain")
"""The model before, and the oracle: what the others are looked at beside."""

MASK = {"color": COLOURS[0], "marker": MARKERS[0]}
OTHER = {"color": COLOURS[1], "marker": MARKERS[1]}

JUDGED = {
    "forget": "forget class,\ntest (%)",
    "change": "other classes,\nchange (points)",
    "tow": "ToW",
}

ATTACKED = {
    "population loss, auc": "membership\nAUC",
    "probe logits, balanced accuracy": "probe of\nlogits",
    "recovery 10 shots, steps": "steps to\nrecover",
}

LIRA = {
    "u-lira, auc": "U-LiRA\nAUC",
    "u-lira, tpr at 0.1 % fpr": "U-LiRA, TPR\nat 0.1 % FPR",
    "u-lira, klom": "KLoM\n(nats)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A mean with what it spreads over."""

    mean: float
    low: float
    high: float
    worst: float | None = None
    """Of a class."""
    oracle: float | None = None


class Band(NamedTuple):
    """Rows of a figure that belong together."""

    title: str
    panels: Mapping[str, str]
    """Measures, and what stands below their axes."""
    bars: dict[str, dict[str, Bar]]
    """By method and measure."""


def compare(experiment: Experiment, choice: Choice) -> "Figure":
    """Draw what every method leaves of the class, changes for the others, and how near it is to the oracle."""
    needs(experiment)
    rows, unknown = known_rows(rows_of(experiment, "compare"))
    if rows.is_empty():
        raise BadRequest(f"{experiment.root}: {experiment.name}: no compared class was known before: nothing to draw")
    return draw_compare(rows, experiment.name, unknown=unknown)


def attacks(experiment: Experiment, choice: Choice) -> "Figure":
    """Draw what attacks learn of a forgotten class from every method's model, beside the oracle's."""
    needs(experiment)
    return draw_attacks(attacks_table(experiment), experiment.name)


def costs(experiment: Experiment, choice: Choice) -> "Figure":
    """Draw what one request costs by every method: time, computation, memory."""
    needs(experiment)
    return draw_costs(costs_table(experiment), experiment.name)


def needs(experiment: Experiment) -> None:
    """Raise BadRequest where nothing was compared."""
    if not {"tuning", "solved"} & {*experiment.steps}:
        raise BadRequest(
            f"{experiment.root}: {experiment.name}: nothing was compared, so there is no table to draw: give its spec "
            f"a [compare] section (docs/format.md) and run it: `dkvb run SPEC --root {quoted(experiment.root)}`"
        )


def draw_compare(rows: pl.DataFrame, name: str, *, unknown: int = 0) -> "Figure":
    """Draw a row a method, a panel a measure, the methods of the first head by their ToW and of the others likewise.

    rows: of the compare step's table, of classes that were known.
    """
    keys = ["class", "seed", "head"]
    before = rows.filter(pl.col("method") == "none").select(*keys, pl.col("test_retain").alias("before"))
    rows = rows.join(before, on=keys).with_columns(
        (100 * (pl.col("test_retain") - pl.col("before"))).alias("change"),
        (100 * pl.col("test_forget")).alias("forget"),
    )
    bands: list[Band] = []
    for head, title in HEADS.items():
        part = rows.filter(pl.col("head") == head)
        if part.is_empty():
            continue
        methods = {str(method): own for (method,), own in part.group_by("method", maintain_order=True)}
        bars = {method: {score: bar(own, score) for score in JUDGED} for method, own in methods.items()}
        places = {method: place for place, method in enumerate(bands[0].bars)} if bands else {}
        ranked = sorted(
            bars.items(), key=lambda item: (item[0] in REFERENCES, places.get(item[0], 0), -item[1]["tow"].mean)
        )
        bands.append(Band(title, JUDGED, dict(ranked)))
    classes, seeds = rows["class"].n_unique(), rows["seed"].n_unique()
    by_t = ["bars of the change: 95 % of the mean over classes like these (Student's t, seeds averaged)"]
    return draw_bands(
        bands,
        f"{name}: {'one class' if classes == 1 else f'each of {classes} classes'} forgotten by itself, on "
        f"{'one model' if seeds == 1 else f'{seeds} models'}",
        *(by_t if classes > 1 else []),
        f"{'other bars: ' if classes > 1 else ''}{worth(classes, seeds).removesuffix('.')}",
        "|: the worst class; ToW: nearness to the oracle",
        *([f"never known, left out: {unknown} classes"] if unknown else []),
    )


def bar(rows: pl.DataFrame, score: str) -> Bar:
    """The mean of a score of one method over classes and seeds, its 95 % interval as in the table, and the worst.

    The change has that of `class_widths`, the others those of `ranked`; without one both ends are the mean.
    """
    values = crossed(rows, score)
    worst = float(np.nanmax(values) if score == "forget" else np.nanmin(values))
    if not np.isfinite(values).all():
        mean = float(np.nanmean(values))
        return Bar(mean=mean, low=mean, high=mean, worst=worst)
    mean, low, high = interval(values, seed=0)
    if score == "change":
        half = half_interval(pl.Series(values.mean(1))) or 0.0
        low, high = mean - half, mean + half
    return Bar(mean=mean, low=low, high=high, worst=worst)


def draw_bands(bands: Sequence[Band], *title: str) -> "Figure":
    """Draw bands below each other: in each a row a method, a column a measure; equal measures on equal axes."""
    rows = [len(band.bars) for band in bands]
    figure = sheet(0.75 + sum(1.3 * LINE * count + 0.3 for count in rows), *title)
    columns = max(len(band.panels) for band in bands)
    grid = figure.subplots(len(bands), columns, sharey="row", squeeze=False, height_ratios=rows)
    first: dict[str, Axes] = {}
    for line, band, below in zip(grid, bands, [*bands[1:], None], strict=True):
        for panel, (measure, words) in zip(line, band.panels.items(), strict=True):
            if first.setdefault(measure, panel) is not panel:
                panel.sharex(first[measure])
            draw_bars(panel, [found.get(measure) for found in band.bars.values()], list(band.bars))
            panel.locator_params(axis="x", nbins=3)
            if below is None or below.panels is not band.panels:
                panel.set_xlabel(words)
        head_rows(line, band.title, list(band.bars))
    key(figure, {"masks": {**MASK, "linestyle": ""}, "other methods": {**OTHER, "linestyle": ""}})
    return figure


def head_rows(line: Sequence["Axes"], title: str, methods: Sequence[str]) -> None:
    """Name the rows of a band, and the band above its first row."""
    name_rows(line[0], [label(method, 70) for method in methods])
    line[0].set_title(title)
    for panel in line[1:]:
        panel.spines["left"].set_visible(False)
        panel.tick_params(axis="y", length=0)


def look(method: str) -> dict[str, str]:
    """Colour and mark of a method."""
    if method in REFERENCES:
        return {"color": "0.3", "marker": "D"}
    return MASK if method.startswith(("uva", "uve")) else OTHER


def draw_bars(panel: "Axes", bars: Sequence[Bar | None], methods: Sequence[str]) -> None:
    """Draw one measure of every method of a band; a dashed line where the oracle is."""
    oracles = [bar.oracle for bar in bars if bar is not None and bar.oracle is not None]
    if oracles:
        panel.axvline(oracles[0], color="0.3", linewidth=0.6, linestyle=(0, (3, 1.5)))
    for row, (method, found) in enumerate(zip(methods, bars, strict=True)):
        if found is None:
            continue
        how = look(method)
        panel.plot([found.low, found.high], [row, row], color=how["color"], linewidth=0.8)
        panel.plot([found.mean], [row], color=how["color"], marker=how["marker"])
        if found.worst is not None:
            panel.plot([found.worst], [row], "|", color=how["color"], markersize=4, markeredgewidth=0.6)


def draw_attacks(table: pl.DataFrame, name: str) -> "Figure":
    """Draw a row a method, a panel an attack, a dashed line where the oracle is.

    table: as in `jobs.results.compare_tables.attacks_table`.
    """
    bars: dict[str, dict[str, dict[str, Bar]]] = {}
    for row in table.iter_rows(named=True):
        measure = f"{row['attack']}, {row['measure']}"
        if measure in ATTACKED | LIRA and row["value"] is not None:
            oracle, spread = row["oracle"], row["low"] is not None
            low, high = (oracle + row[side] if spread else row["value"] for side in ("low", "high"))
            found = Bar(mean=row["value"], low=low, high=high, oracle=oracle)
            band = f"lira {row['head']}" if measure in LIRA else row["head"]
            bars.setdefault(band, {}).setdefault(row["method"], {})[measure] = found
    titles = {**HEADS, **{f"lira {head}": f"U-LiRA, {title}" for head, title in HEADS.items()}}
    bands = [
        Band(titles[band], LIRA if band.startswith("lira ") else ATTACKED, dict(sorted(bars[band].items(), key=placed)))
        for band in titles
        if band in bars
    ]
    if not bands:
        raise BadRequest(
            f"{name}: none of its attacks is one that this figure draws; `dkvb table ROOT --table attacks` shows all"
        )
    return draw_bands(
        bands,
        f"{name}: attacks on what has forgotten a class",
        "membership: by loss; probe: balanced accuracy; steps of descent on 10 items until the class is back (30: not)",
        "dashed: the oracle, which never saw the class; bars: 95 % of the difference from it",
    )


def placed(item: tuple[str, object]) -> tuple[bool, bool, str]:
    """Where a method is drawn: masks, others, references."""
    return item[0] in REFERENCES, look(item[0]) is not MASK, item[0]


def draw_costs(table: pl.DataFrame, name: str) -> "Figure":
    """Draw seconds with their range, FLOPs with and without the backbone, and memory: a row a head and method.

    table: as in `jobs.results.compare_tables.costs_table`.
    """
    from matplotlib.ticker import EngFormatter, NullLocator

    first = next((head for head in HEADS if head in table["head"]), None)
    quick = table.filter(pl.col("head") == first).sort("seconds", "method")["method"].to_list()
    place = pl.col("method").replace_strict(dict(zip(quick, range(len(quick)), strict=True)), default=len(quick))
    parts = {head: table.filter(pl.col("head") == head).sort(place, "seconds", "method") for head in HEADS}
    parts = {head: part for head, part in parts.items() if len(part)}
    rows = [len(part) for part in parts.values()]
    figure = sheet(
        0.75 + sum(1.3 * LINE * count + 0.3 for count in rows),
        f"{name}: what one request to forget a class costs on this machine",
        "time: median and range of warm runs, without evaluation; open marks: with the backbone's passes, uncached",
    )
    grid = figure.subplots(len(parts), 3, sharex="col", sharey="row", squeeze=False, height_ratios=rows)
    for line, (head, part) in zip(grid, parts.items(), strict=True):
        for row, cost in enumerate(part.iter_rows(named=True)):
            how = look(cost["method"])
            range_of_runs = [cost["seconds_least"], cost["seconds_most"]]
            line[0].plot(range_of_runs, [row, row], color=how["color"], linewidth=0.8)
            line[0].plot([cost["seconds"]], [row], color=how["color"], marker=how["marker"])
            draw_size(line[1], cost["flops_uncached"], row, {**how, "markerfacecolor": "white"})
            flops = [cost["flops_forward"], cost["flops_backward"]]
            draw_size(line[1], None if None in flops else sum(flops), row, how)
            draw_size(line[2], cost["peak_bytes"], row, how)
        head_rows(line, HEADS[head], part["method"].to_list())
    for panel, words, unit in zip(grid[-1], ("time", "FLOPs", "memory added"), ("s", "", "B"), strict=True):
        panel.set_xscale("log")
        low, high = (math.log10(end) for end in panel.get_xlim())
        decades = [10.0**power for power in range(math.ceil(low), math.floor(high) + 1)]
        panel.set_xticks(decades[:: max(1, len(decades) - 1)])
        panel.set_xticks(decades, minor=True)
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(EngFormatter(unit, places=0))
        panel.set_xlabel(words)
    key(figure, {"masks": {**MASK, "linestyle": ""}, "other methods": {**OTHER, "linestyle": ""}})
    return figure


def draw_size(panel: "Axes", size: float | None, row: int, how: Mapping[str, str]) -> None:
    """Draw a number on an axis of orders of magnitude: zero at its left end, nothing where none was measured."""
    if size:
        panel.plot([size], [row], linestyle="", **how)  # type: ignore[arg-type]
    elif size is not None:
        panel.text(0, row, "0", transform=panel.get_yaxis_transform(), color=how["color"], va="center", ha="center")
