"""Figures of the result tables."""

import io
from typing import Any

import polars as pl

from dkvb.orders import TAU
from jobs.errors import BadRequest
from jobs.printable import shown
from jobs.results.headline import at_rule
from jobs.results.words import ITEMS, METHODS
from store.files import exists, read_bytes, write_atomic
from store.places import Place

LEGEND = 10
"""Most classes that get a colour and a name of their own."""


def shows(path: Place, made_of: str) -> bool:
    """Whether a figure is there, and was drawn of this."""
    return exists(path) and made_of.encode() in read_bytes(path)


def figure(rows: pl.DataFrame, path: Place, *, title: str, made_of: str = "") -> None:
    """Retain against forget accuracy along N: one line per class, one column per method, the class's test items above.

    Below are its training items, which a request is about; the retain accuracy is that of test items in both. A ring
    marks each class at the N of the rule, which no test item chooses.

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
    for row, split in zip(panels, ITEMS, strict=True):
        for panel, method in zip(row, methods, strict=True):
            of_method = rows.filter(pl.col("method") == method)
            of_seed = of_method.filter(pl.col("seed") == of_method["seed"].min()).sort("budget")
            drawn_lines |= draw(panel, of_seed, f"{split}_forget")
            panel.set_xlabel(f"forget class: accuracy on its {ITEMS[split]} (%)")
            panel.tick_params(labelbottom=True)
        row[0].set_ylabel("retain classes: test accuracy (%)")
    for panel, method in zip(panels[0], methods, strict=True):
        panel.set_title(METHODS[method].title)
    panels[0, 0].set_xlim(102, -3)  # From remembered, on the left, to forgotten.
    if len(drawn_lines) <= LEGEND:
        # Not by matplotlib's labels, which would leave out names that begin with "_".
        legend = drawn.legend(
            drawn_lines.values(),
            map(shown, drawn_lines),
            fontsize=8,
            title="forget class",
            title_fontsize=8,
            loc="outside right center",
        )
        for text in legend.get_texts():
            text.set_parse_math(False)  # a name with two "$" is no formula
    held = f"ring: the smallest N that holds {100 * TAU:g} % of the class's training activations"
    drawn.suptitle(f"{title}\n{held}", fontsize=10)
    buffer = io.BytesIO()
    form = path.suffix[1:] or "png"
    drawn.savefig(buffer, format=form, dpi=160, metadata={"Comment": made_of} if made_of else None)
    write_atomic(path, buffer.getvalue())


def draw(panel: Any, rows: pl.DataFrame, forget: str) -> dict[str, Any]:
    """Draw one panel; returns its lines by class name.

    rows: of one method and seed, by N; forget: the column along x.
    """
    classes = rows.select("class", "name").unique().sort("class")
    named = len(classes) <= LEGEND
    ruled = at_rule(rows)
    lines = {}
    for k, name in classes.iter_rows():
        line, ring = rows.filter(pl.col("class") == k), ruled.filter(pl.col("class") == k)
        style: dict[str, Any] = {"color": f"C{k % LEGEND}"} if named else {"color": "0.5", "alpha": 0.35}
        x, y = 100 * line[forget], 100 * line["test_retain"]
        lines[name] = panel.plot(
            x, y, linewidth=1.2 if named else 0.6, marker=".", markersize=4 if named else 0, **style
        )[0]
        panel.plot(x[:1], y[:1], "o", markersize=5, color=style["color"], alpha=style.get("alpha", 1))
        at = {"markeredgecolor": style["color"] if named else "C3", "markeredgewidth": 1.4 if named else 0.8}
        panel.plot(
            100 * ring[forget], 100 * ring["test_retain"], "o", markersize=9 if named else 4, fillstyle="none", **at
        )
    panel.grid(visible=True, linewidth=0.3)
    panel.axvline(0, color="0.7", linewidth=0.8)
    return lines
