"""Items named in tables: Parquet and CSV files, polars frames and series; or in a list."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.errors import BadRequest
from jobs.item_files import check_once, read_names
from jobs.printable import shown
from jobs.results.formats import cell_text

COLUMN = "item_key"
"""What the column is called in the table `items` of `dkvb query ROOT sql`."""

SPLIT = "split"
"""A column of that table: its rows may be of test items, which have the same keys."""

SHOWN = 5
"""Columns that a message names."""

Names = str | os.PathLike[str] | Sequence[str | int] | NDArray[Any] | pl.Series | pl.DataFrame
"""Items as Python names them: a file as of `read_names`, a list or an array, a series, or a frame."""


def item_names(items: Names) -> list[str]:
    """What items are called, by any of these; raises: BadRequest, also where there are none."""
    if isinstance(items, str | os.PathLike):
        return read_names(Path(items))
    if isinstance(items, pl.DataFrame):
        names = frame_names(items, "items")
    elif isinstance(items, pl.Series):
        names = series_names(items, "items")
    elif isinstance(items, Sequence | np.ndarray):
        names = [listed(name) for name in items]
    else:
        raise BadRequest(
            f"items: found {type(items).__name__}, expected a list of keys, a polars Series or DataFrame, or a file"
        )
    if not names:
        raise BadRequest("items: found none, expected what items are called")
    check_once(names)
    return names


def listed(name: object) -> str:
    """An item of a list: a key, or a row as a number; raises: BadRequest."""
    if isinstance(name, str):
        return name
    if isinstance(name, int | np.integer) and not isinstance(name, bool):
        return str(name)
    raise BadRequest(f"items: found {shown(repr(name))}, expected keys (texts) or rows (whole numbers)")


def parquet_names(data: bytes, where: str) -> list[str]:
    """The items that a Parquet file names; raises: BadRequest."""
    try:
        schema = pl.read_parquet_schema(io.BytesIO(data))
        wanted = [column_of(schema, where), *([SPLIT] if SPLIT in schema else [])]
        frame = pl.read_parquet(io.BytesIO(data), columns=list(dict.fromkeys(wanted)))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadRequest(f"{where}: cannot be read as Parquet: {error}") from error
    return frame_names(frame, where)


def csv_names(data: bytes, where: str) -> list[str]:
    """The items that a CSV file names; raises: BadRequest, also where its first line does not name the column.

    A file without such a line would lose its first item.
    """
    try:
        frame = pl.read_csv(io.BytesIO(data), infer_schema=False)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise BadRequest(f"{where}: cannot be read as CSV: {error}") from error
    if COLUMN not in frame.columns:
        raise BadRequest(
            f"{where}: its first line names no column {COLUMN!r} (found {some_columns(frame.columns)}): call the "
            "column of keys so, or give a text file with one key per line"
        )
    return [cell_text(name) for name in frame_names(frame, where)]


def frame_names(frame: pl.DataFrame, where: str) -> list[str]:
    """The items that a frame names; where: as messages say it. raises: BadRequest."""
    column = column_of(frame.schema, where)
    if SPLIT in frame.columns and (others := sorted({*frame[SPLIT].cast(pl.String).to_list()} - {"train"}, key=str)):
        raise BadRequest(
            f"{where}: column {SPLIT!r} says {', '.join(shown(repr(name)) for name in others[:SHOWN])}, expected "
            "'train' in every row: only training items can be forgotten; leave the other rows out"
        )
    return series_names(frame[column], f"{where}: column {column!r}")


def column_of(schema: Mapping[str, pl.DataType], where: str) -> str:
    """The column that says what items are called: by its name, the only one of texts, or the only one.

    raises: BadRequest where it is not plain which that is.
    """
    columns = [name for name in schema if name != SPLIT]
    texts = [name for name in columns if is_text(schema[name])]
    for found in ([COLUMN] if COLUMN in schema else [], texts, columns):
        if len(found) == 1:
            return found[0]
    raise BadRequest(
        f"{where}: which of its columns says what items are called? Found {some_columns([*schema])}; call it "
        f"{COLUMN!r}, or leave the others out"
    )


def series_names(series: pl.Series, where: str) -> list[str]:
    """What items are called by a series of texts, or of rows; raises: BadRequest."""
    if not is_text(series.dtype) and not series.dtype.is_integer():
        raise BadRequest(f"{where}: found {series.dtype}, expected keys (texts) or rows (whole numbers)")
    if series.null_count():
        raise BadRequest(
            f"{where}: {series.null_count()} of {len(series)} rows name no item; leave them out, or, where a root of "
            "an older version recorded no keys, give rows of training items as the only column"
        )
    return [str(name) for name in series.to_list()]


def is_text(dtype: pl.DataType) -> bool:
    """Whether values of a type are texts."""
    return dtype in (pl.String, pl.Categorical, pl.Enum)


def some_columns(names: Sequence[str]) -> str:
    """The first few columns."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(shown(repr(name)) for name in names[:SHOWN]) or "none") + more
