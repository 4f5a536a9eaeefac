"""Tables as people and programs read them."""

import io
import json
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import polars as pl

from jobs.printable import room, shown
from jobs.rows import only_numbers

NOISE = 1e-9
"""Below this a number is 0 and what rounding left of it."""


def cells(values: Iterable[Any]) -> list[str]:
    """The cells of a column for people, its numbers with as many decimals each: as many as the smallest needs."""
    values = list(values)
    small = min((size for v in values if isinstance(v, float) and (size := abs(v)) >= NOISE), default=1.0)
    digits = 2 if small >= 0.005 else 3 if small >= 0.0005 else 4
    return [cell(value, digits) for value in values]


def cell(value: Any, digits: int = 2) -> str:
    """A cell for people; digits: decimals of a number that is not whole."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        rounded = round(value, digits) + 0.0  # no "-0.00"
        lost = rounded == 0 and math.isfinite(value) and abs(value) >= NOISE
        return f"{value:.2g}" if lost else f"{rounded:.{digits}f}"
    return "" if value is None else shown(str(value))


def rows_of_cells(table: pl.DataFrame) -> list[list[str]]:
    """The rows of a table for people."""
    return [list(row) for row in zip(*(cells(column) for column in table.iter_columns()), strict=True)]


def side_by_side(table: pl.DataFrame) -> pl.DataFrame:
    """A summary turned on its side for a terminal: one line per measure, one column per method."""
    measures = [name for name in table.columns if name != "method"]
    lines = [cells(table[name]) for name in measures]
    columns = {method: [line[i] for line in lines] for i, method in enumerate(table["method"])}
    return pl.DataFrame({"": measures, **columns})


MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\|`<[*"})
"""Columns, code, HTML, links and emphasis; not "_", which inside a word means nothing and is common in names."""


def markdown(table: pl.DataFrame) -> str:
    """A table in Markdown, columns aligned; what would make a name more than text in it is escaped."""
    texts = [[text.translate(MARKDOWN) for text in row] for row in (table.columns, *rows_of_cells(table))]
    widths = [max(len(row[i]) for row in texts) for i in range(len(table.columns))]
    numeric = [dtype.is_numeric() for dtype in table.dtypes]

    def line(row: list[str]) -> str:
        padded = (f"{c:>{w}}" if right else f"{c:<{w}}" for c, w, right in zip(row, widths, numeric, strict=True))
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, numeric, strict=True)) + "|"
    return "\n".join([line(texts[0]), rule, *(line(row) for row in texts[1:])]) + "\n"


LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\~{}", "^": r"\^{}", "±": r"$\pm$", "\u00a0": "~"}
)

HEAD = 14
"""Most letters of a line of a column's head in LaTeX, where a longer one has several lines."""


def latex(table: pl.DataFrame, about: str = "") -> str:
    """A table in LaTeX (booktabs), below comments that say what it needs and what its columns mean.

    about: what the columns mean, in lines.
    """
    columns = "".join("r" if dtype.is_numeric() else "l" for dtype in table.dtypes)
    heads = [textwrap.wrap(head.replace(" %", "\u00a0%"), HEAD, break_long_words=False) for head in table.columns]
    high = max(map(len, heads), default=0)
    above = [list(row) for row in zip(*([""] * (high - len(head)) + head for head in heads), strict=True)]
    head, body = (
        [" & ".join(text.translate(LATEX) for text in row) + r" \\" for row in rows]
        for rows in (above, rows_of_cells(table))
    )
    return (
        "\n".join(
            [
                r"% \usepackage{booktabs}",
                *(f"% {line}" for line in about.splitlines() if line),
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                *head,
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
    return f"'{shown(text)}" if _is_formula(text) else shown(text)


def cell_text(cell: str) -> str:
    """The text of which `plain_cell` made a cell, but for characters that cannot be shown."""
    return cell[1:] if cell[:1] == "'" and _is_formula(cell[1:]) else cell


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet would take a text for a formula; or for one that has its apostrophe, which gets another."""
    return text.lstrip()[:1] in ("=", "+", "-", "@") or (text[:1] == "'" and _is_formula(text[1:]))


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


FORMATS: dict[str, Callable[..., str | bytes]] = {
    "md": markdown,
    "csv": csv,
    "latex": latex,
    "parquet": parquet,
    "json": as_json,
}
"""How a table can be written, by name."""


Sentence = str | tuple[str, tuple[str, ...]]
"""What a note says: always, or where one of some columns is shown."""


def note(*sentences: Sentence, columns: Sequence[str] = ()) -> str:
    """A paragraph below a table, in lines; columns: those that are shown, by the names that programs read."""
    said = [
        each if isinstance(each, str) else each[0]
        for each in sentences
        if isinstance(each, str) or {*each[1]} & {*columns}
    ]
    return textwrap.fill(" ".join(said), min(118, room(118)))


READ = ("md", "latex")
"""Those that people read: heads in plain words, shares in per cent (`jobs.results.heads`)."""
