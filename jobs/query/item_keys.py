"""Items by their keys: path of a file, name of a tar member, row of a parquet file; read when somebody asks by one."""

import numpy as np

from jobs.errors import BadRequest
from jobs.query.stored import Stored
from store import arrays

SHOWN = 3
"""Items that are named where one key leads to several."""


def row_of(stored: Stored, split: str, key: str) -> int:
    """The row of a split's item; raises: BadRequest where no item, or more than one, has that key."""
    data = stored.of_split("manifest", split).data
    if not arrays.promised(data, "item_key"):
        raise BadRequest(
            f"item {f'{split}:{key}'!r}: no such shard and row, and an older version read the images, which recorded "
            f"no keys of items; write {split}:17 (a row), or {split}:SHARD#17 (a place in a shard)"
        )
    keys = arrays.read(data, "item_key")
    rows = np.flatnonzero(keys == key)
    if not len(rows):
        raise BadRequest(
            f"item {f'{split}:{key}'!r}: no item of {split} has that key, as {keys[0]!r} is one, and no shard has that "
            "name and so many items"
        )
    if len(rows) > 1:
        names = ", ".join(f"{split}:{name}" for name in stored.item_names(split, rows[:SHOWN].tolist()))
        more = ", ..." if len(rows) > SHOWN else ""
        raise BadRequest(f"item {f'{split}:{key}'!r}: {len(rows)} items have that key; write one as {names}{more}")
    return int(rows[0])
