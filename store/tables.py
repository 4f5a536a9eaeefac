"""Result tables: one parquet file a unit, then one for all."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from store.artefacts import write_atomic
from store.errors import ArtefactMissing


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> None:
    """Write rows as parquet, atomically; every row has every column of the schema."""
    write_table(path, pl.DataFrame(list(rows), schema=dict(schema), strict=True))


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write a table as parquet, atomically."""
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    write_atomic(path, buffer.getvalue())


def read_table(path: Path) -> pl.DataFrame:
    """Read a table; raises: ArtefactMissing."""
    if not path.exists():
        raise ArtefactMissing(f"{path}: no table there; run `dkvb run` on this root first")
    return pl.read_parquet(path)


def compact(parts: Sequence[Path], target: Path) -> None:
    """Put the units' tables into one, in the order given."""
    write_table(target, pl.concat([read_table(part) for part in parts]))
