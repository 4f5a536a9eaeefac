"""Figures of the result tables."""

import io

import polars as pl

from jobs.errors import BadRequest
from jobs.shown import shown
from store.places import Place, write_atomic

TITLES = {"uva": "via Activations", "uve": "via Examples"}
LEGEND = 10
"""Most classes that get a colour and a name of their own."""


def figure(rows: pl.DataFrame, path: Place, *, title: str) -> None:
    """Retain against forget accuracy on the test split along N: one line a class, one panel a method.

    rows: the sweep's table; of several seeds the first is drawn.
    raises: BadRequest when matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BadRequest("figures need matplotlib: pip install 'dkvb-unlearning[report]'") from None
    methods = [method for method in TITLES if method in rows["method"].unique()]
    drawn = Figure(figsize=(4.8 * len(methods) + 1, 4.6), layout="constrained")
    panels = drawn.subplots(1, len(methods), sharex=True, sharey=True, squeeze=False)[0]
    classes = rows.select("class", "name").unique().sort("class")
    named = len(classes) <= LEGEND
    drawn_lines = {}
    for panel, method in zip(panels, methods, strict=True):
        own = rows.filter(pl.col("method") == method)
        own = own.filter(pl.col("seed") == own["seed"].min()).sort("budget")
        for k, name in classes.iter_rows():
            line = own.filter(pl.col("class") == k)
            x, y = 100 * line["test_forget"], 100 * line["test_retain"]
            style = {"color": f"C{k % LEGEND}"} if named else {"color": "0.5", "alpha": 0.35}
            drawn_lines[name] = panel.plot(
                x, y, linewidth=1.2 if named else 0.6, marker=".", markersize=4 if named else 0, **style
            )[0]
            panel.plot(x[:1], y[:1], "o", markersize=5, color=style["color"], alpha=style.get("alpha", 1))
        panel.set_title(TITLES[method])
        panel.set_xlabel("forget class: test accuracy (%)")
        panel.grid(visible=True, linewidth=0.3)
        panel.axvline(0, color="0.7", linewidth=0.8)
    panels[0].set_xlim(102, -2)  # From remembered, on the left, to forgotten.
    panels[0].set_ylabel("retain classes: test accuracy (%)")
    if named:
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
    drawn.suptitle(title)
    buffer = io.BytesIO()
    drawn.savefig(buffer, format=path.suffix[1:] or "png", dpi=160)
    write_atomic(path, buffer.getvalue())
