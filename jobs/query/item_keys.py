"""What items are called, and how they are found: by key (path of a file, name of a tar member), by row, by SHARD#ROW.

Keys are read when somebody asks by one, or an answer names items. A root of an older version may have none.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jobs.errors import BadRequest
from jobs.query.stored import Stored
from jobs.step import SPLITS
from store import arrays
from store.errors import NotARoot
from store.manifest import Shard

SHOWN = 3
"""Items that are named where one key leads to several."""

NUMBER = re.compile(r"[0-9]{1,18}")
"""A row: Python refuses to read much longer numbers, and no split has so many items."""


def item_keys(stored: Stored, split: str, shards: Sequence[Shard]) -> NDArray[np.object_] | None:
    """(n,) keys of the items of a split; None where the version that read the images recorded none.

    raises: NotARoot where there are not as many as items.
    """
    data = stored.of_split("manifest", split).data
    if not arrays.promised(data, "item_key"):
        return None
    keys, items = arrays.read(data, "item_key"), sum(shard.items for shard in shards)
    if len(keys) != items:
        raise NotARoot(f"{data}: {len(keys)} keys of {items} items: it was changed")
    return keys


def item_names(stored: Stored, split: str, rows: Sequence[int]) -> list[str]:
    """What some items are called: by their keys, where `find_item` finds each by its key again, else SHARD#ROW."""
    if not rows:
        return []
    shards = stored.manifest(split).shards
    places, keys = item_places(shards, rows), item_keys(stored, split, shards)
    if keys is None:
        return places
    asked = {keys[row] for row in rows}
    times = Counter(key for key in keys.tolist() if key in asked)

    def leads_back(row: int) -> bool:
        found = row_at(keys[row], shards)
        return found == row or (found is None and times[keys[row]] == 1 and keys[row] != "")

    return [str(keys[row]) if leads_back(row) else place for row, place in zip(rows, places, strict=True)]


def item_places(shards: Sequence[Shard], rows: Sequence[int]) -> list[str]:
    """Where items lie: their shards and their places there, as SHARD#ROW."""
    ends = np.cumsum([shard.items for shard in shards])
    of = np.searchsorted(ends, rows, side="right")
    return [f"{shards[i].name}#{row - (ends[i] - shards[i].items)}" for i, row in zip(of, rows, strict=True)]


def find_item(stored: Stored, name: str) -> tuple[str, int]:
    """Split and row of an item; name: as of `jobs.query.items.item`. raises: BadRequest."""
    split, _, place = name.partition(":")
    if split not in SPLITS or not place:
        raise BadRequest(
            f"item {name!r}: write it as test:17 or train:17 (a row), test:SHARD#17 (a place in a shard), or test:KEY"
        )
    shards = stored.manifest(split).shards
    row = row_at(place, shards)
    if row is None:
        return split, row_of(stored, split, place, shards)
    if row >= (items := sum(shard.items for shard in shards)):
        raise BadRequest(f"item {name!r}: {split} has {items} items, rows 0 to {items - 1}")
    return split, row


def row_at(place: str, shards: Sequence[Shard]) -> int | None:
    """The row that "17" or "SHARD#17" means, which may lie past the last; None for what is neither."""
    shard, hash_, number = place.rpartition("#")
    if not NUMBER.fullmatch(number) or (not hash_ and number != str(int(number))):  # names in tars are often 000017
        return None
    row, start = int(number), 0
    if not hash_:
        return row
    for one in shards:
        if one.name == shard and row < one.items:
            return start + row
        start += one.items
    return None


def row_of(stored: Stored, split: str, key: str, shards: Sequence[Shard]) -> int:
    """The row of a split's item; raises: BadRequest where no item, or more than one, has that key."""
    keys = item_keys(stored, split, shards)
    if keys is None:
        raise BadRequest(
            f"item {f'{split}:{key}'!r}: no such shard and row, and an older version read the images, which recorded "
            f"no keys of items; write {split}:17 (a row), or {split}:SHARD#17 (a place in a shard)"
        )
    rows = np.flatnonzero(keys == key)
    if not len(rows):
        raise BadRequest(
            f"item {f'{split}:{key}'!r}: no item of {split} has that key, as {keys[0]!r} is one, and no shard has that "
            "name and so many items"
        )
    if len(rows) > 1:
        names = ", ".join(f"{split}:{name}" for name in item_places(shards, rows[:SHOWN].tolist()))
        more = ", ..." if len(rows) > SHOWN else ""
        raise BadRequest(f"item {f'{split}:{key}'!r}: {len(rows)} items have that key; write one as {names}{more}")
    return int(rows[0])
