"""Result tables: one Parquet file per unit, then one for all of them."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from store.checksums import checked
from store.errors import ArtefactMissing, NotARoot
from store.files import write_atomic
from store.places import Place


def write_rows(path: Place, rows: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> None:
    """Write rows as parquet, atomically; every row has every column of the schema."""
    write_table(path, pl.DataFrame(list(rows), schema=dict(schema), strict=True))


def write_table(path: Place, table: pl.DataFrame) -> None:
    """Write a table as parquet, atomically."""
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    write_atomic(path, buffer.getvalue())


def read_table(path: Place, schema: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """Read a table.

    schema: the columns and types that it must have; compared before any data is read.
    raises: ArtefactMissing; ArtefactDamaged; NotARoot for another table, or a file that is none.
    """
    try:
        data = checked(path)
    except FileNotFoundError:
        raise ArtefactMissing(f"{path}: no table there; run `dkvb run` on this root first") from None
    try:
        columns = pl.read_parquet_schema(io.BytesIO(data))
        if schema is not None and dict(columns) != dict(schema):
            raise NotARoot(f"{path}: its columns or types are not those that dkvb writes; it was changed")
        return pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, ValueError) as error:
        if isinstance(error, NotARoot):
            raise
        raise NotARoot(f"{path}: not a readable table: {error}; it was changed or damaged") from error


def compact(parts: Sequence[Place], target: Place, schema: Mapping[str, Any] | None = None) -> None:
    """Write the tables of all units as one, in the order given; schema: of the table where there may be no unit."""
    none = [] if schema is None else [pl.DataFrame(schema=dict(schema))]
    write_table(target, pl.concat([read_table(part) for part in parts] or none))
