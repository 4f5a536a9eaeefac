"""Rows of result tables: what is no number is null, as written and as read."""

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from store.places import Place
from store.tables import read_table


def without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row in which NaN and infinities are null: there was nothing to measure."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


def only_numbers(table: pl.DataFrame) -> pl.DataFrame:
    """A table in which NaN and infinities are null."""
    numbers = pl.selectors.float()
    return table.with_columns(pl.when(numbers.is_finite()).then(numbers))


def read_rows(path: Place, schema: Mapping[str, Any]) -> pl.DataFrame:
    """A table of `store.columns`, in which earlier versions wrote NaN and minus infinity; raises as `read_table`."""
    return only_numbers(read_table(path, schema))
