"""Tables as people and programs read them."""

import io
import json
import textwrap
from collections.abc import Callable
from typing import Any

import polars as pl

from jobs.printable import shown
from jobs.rows import only_numbers


def cell(value: Any) -> str:
    """A cell for people."""
    if isinstance(value, float):
        return f"{value:.2g}" if 0 < abs(value) < 0.005 else f"{value:.2f}"
    return "" if value is None else shown(str(value))


def side_by_side(table: pl.DataFrame) -> pl.DataFrame:
    """A summary turned on its side for a terminal: one line per measure, one column per method."""
    measures = [name for name in table.columns if name != "method"]
    columns = {row["method"]: [cell(row[name]) for name in measures] for row in table.iter_rows(named=True)}
    return pl.DataFrame({"": measures, **columns})


MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\|`<[*"})
"""Columns, code, HTML, links and emphasis; not "_", which inside a word means nothing and is common in names."""


def markdown(table: pl.DataFrame) -> str:
    """A table in Markdown, columns aligned; what would make a name more than text in it is escaped."""
    cells = [table.columns, *([cell(v) for v in row] for row in table.iter_rows())]
    cells = [[text.translate(MARKDOWN) for text in row] for row in cells]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    numeric = [dtype.is_numeric() for dtype in table.dtypes]

    def line(row: list[str]) -> str:
        padded = (f"{c:>{w}}" if right else f"{c:<{w}}" for c, w, right in zip(row, widths, numeric, strict=True))
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, numeric, strict=True)) + "|"
    return "\n".join([line(cells[0]), rule, *(line(row) for row in cells[1:])]) + "\n"


LATEX = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\~{}", "^": r"\^{}"})


def latex(table: pl.DataFrame) -> str:
    """A table in LaTeX (booktabs)."""
    columns = "".join("r" if dtype.is_numeric() else "l" for dtype in table.dtypes)
    rows = [table.columns, *([cell(v) for v in row] for row in table.iter_rows())]
    head, *body = (" & ".join(text.translate(LATEX).replace("±", r"$\pm$") for text in row) + r" \\" for row in rows)
    return (
        "\n".join(
            [
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                head,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
            ]
        )
        + "\n"
    )


def csv(table: pl.DataFrame) -> str:
    """A table in CSV, at full precision. A name that a spreadsheet would take for a formula begins with an apostrophe.

    Parquet and JSON keep every name as it is.
    """
    plain = pl.selectors.string().map_elements(plain_cell, return_dtype=pl.String, skip_nulls=True)
    return table.with_columns(plain).write_csv()


def plain_cell(text: str) -> str:
    """A text for a spreadsheet."""
    return f"'{shown(text)}" if text.lstrip()[:1] in ("=", "+", "-", "@") else shown(text)


def records(table: pl.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table for JSON, which has no word for NaN and infinity: they are null."""
    return only_numbers(table).to_dicts()


def as_json(table: pl.DataFrame) -> str:
    """A table as a JSON list of rows."""
    return json.dumps(records(table), indent=2) + "\n"


def parquet(table: pl.DataFrame) -> bytes:
    """A table in parquet."""
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


FORMATS: dict[str, Callable[[pl.DataFrame], str | bytes]] = {
    "md": markdown,
    "csv": csv,
    "latex": latex,
    "parquet": parquet,
    "json": as_json,
}
"""How a table can be written, by name."""


def note(*sentences: str) -> str:
    """A paragraph below a table, in lines."""
    return textwrap.fill(" ".join(sentences), 118)


READ = ("md", "latex")
"""Those that people read: heads in plain words, shares in per cent (`jobs.results.heads`)."""
