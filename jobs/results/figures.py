"""Figures of the result tables."""

import io
from typing import Any
from warnings import catch_warnings

import polars as pl

from dkvb.orders import TAU
from jobs.errors import BadRequest
from jobs.printable import shown
from jobs.results.headline import at_rule
from jobs.results.words import ITEMS, METHODS
from store.files import exists, read_bytes, write_atomic
from store.places import Place

LEGEND = 10
"""Most classes that all get a colour and a name of their own."""

NAMED = 5
"""Classes that get one where there are more: those at whose N of the rule the others lose most."""


LONGEST = 30
"""Most letters of a class name that are shown."""


def cut(name: str) -> str:
    """A name of a class, for the legend."""
    return name if len(name := shown(name)) <= LONGEST else f"{name[:LONGEST]}…"


def shows(path: Place, made_of: str) -> bool:
    """Whether a figure is there, and was drawn of this."""
    return exists(path) and made_of.encode() in read_bytes(path)


def figure(rows: pl.DataFrame, path: Place, *, title: str, made_of: str = "") -> None:
    """Retain against forget accuracy along N: one line per class, one column per method, the class's test items above.

    Below are its training items, which a request is about; the retain accuracy is that of test items in both. A dot
    marks each class before, a ring at the N of the rule, which no test item chooses.

    rows: the sweep's table; of several seeds the first is drawn.
    made_of: is kept in the file (a PNG), for `shows`.
    raises: BadRequest when matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BadRequest("figures need matplotlib: pip install 'dkvb-unlearning[report]'") from None
    methods = [method for method in METHODS if method in rows["method"].unique()]
    drawn = Figure(figsize=(4.8 * len(methods) + 1, 8.2), layout="constrained")
    panels = drawn.subplots(len(ITEMS), len(methods), sharex=True, sharey=True, squeeze=False)
    drawn_lines: dict[str, Any] = {}
    wanted = named_classes(rows)
    for row, split in zip(panels, ITEMS, strict=True):
        for panel, method in zip(row, methods, strict=True):
            of_method = rows.filter(pl.col("method") == method)
            of_seed = of_method.filter(pl.col("seed") == of_method["seed"].min()).sort("budget")
            drawn_lines |= draw(panel, of_seed, f"{split}_forget", wanted)
            panel.set_xlabel(f"forget class: accuracy on its {ITEMS[split]} (%)")
            panel.tick_params(labelbottom=True)
        row[0].set_ylabel("retain classes: test accuracy (%)")
    for panel, method in zip(panels[0], methods, strict=True):
        panel.set_title(METHODS[method].title)
    panels[0, 0].set_xlim(102, -3)  # From remembered, on the left, to forgotten.
    marks = {"before": panels[0, 0].plot([], [], "o", color="0.3", markersize=5)[0]}
    marks["at the rule's N"] = panels[0, 0].plot([], [], "o", color="0.3", markersize=9, fillstyle="none")[0]
    # Not by matplotlib's labels, which would leave out names that begin with "_".
    legend = drawn.legend(
        [*drawn_lines.values(), *marks.values()],
        [*map(cut, drawn_lines), *marks],
        fontsize=8,
        title="forget class",
        title_fontsize=8,
        loc="outside right center",
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name with two "$" is no formula
    held = f"the rule's N: the smallest that holds {100 * TAU:g} % of the class's training activations"
    few = f"; named: the {NAMED} that cost the others most" if len(wanted) < rows["class"].n_unique() else ""
    drawn.suptitle(f"{title}\n{held}{few}", fontsize=10)
    buffer = io.BytesIO()
    form = path.suffix[1:] or "png"
    with catch_warnings(action="ignore", category=UserWarning):  # names may have characters that no font has
        drawn.savefig(buffer, format=form, dpi=160, metadata={"Comment": made_of} if made_of else None)
    write_atomic(path, buffer.getvalue())


def named_classes(rows: pl.DataFrame) -> list[int]:
    """Indexes of the classes with a colour and a name: all, or those whose going costs the others most."""
    classes = rows["class"].unique().sort().to_list()
    if len(classes) <= LEGEND:
        return classes
    before = rows.filter(pl.col("budget") == 0).select("method", "class", "seed", pl.col("test_retain").alias("before"))
    ruled = at_rule(rows).join(before, on=["method", "class", "seed"])
    change = (pl.col("test_retain") - pl.col("before")).min().alias("change")
    return ruled.group_by("class").agg(change).sort("change", "class")["class"].to_list()[:NAMED]


def draw(panel: Any, rows: pl.DataFrame, forget: str, wanted: list[int]) -> dict[str, Any]:
    """Draw one panel; returns its lines by class name, one for all that have none.

    rows: of one method and seed, by N; forget: the column along x; wanted: the classes with a name.
    """
    classes = rows.select("class", "name").unique().sort("class")
    ruled = at_rule(rows)
    lines = {}
    others = f"{len(classes) - len(wanted)} other classes"
    for k, name in sorted(classes.iter_rows(), key=lambda one: one[0] in wanted):
        line, ring = rows.filter(pl.col("class") == k), ruled.filter(pl.col("class") == k)
        named = k in wanted
        style: dict[str, Any] = {"color": f"C{wanted.index(k)}"} if named else {"color": "0.6", "alpha": 0.35}
        x, y = 100 * line[forget], 100 * line["test_retain"]
        lines[name if named else others] = panel.plot(
            x, y, linewidth=1.2 if named else 0.6, marker="." if named else "", markersize=4, **style
        )[0]
        panel.plot(x[:1], y[:1], "o", markersize=5 if named else 3, **style)
        panel.plot(
            100 * ring[forget], 100 * ring["test_retain"], "o", markersize=9 if named else 5, fillstyle="none", **style
        )
    panel.grid(visible=True, linewidth=0.3)
    panel.axvline(0, color="0.7", linewidth=0.8)
    return {name: line for name, line in lines.items() if name != others} | {
        name: line for name, line in lines.items() if name == others
    }
