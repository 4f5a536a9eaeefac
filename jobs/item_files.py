"""Items named in a file, one per line or in a table, or in Python; and which training items they are."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.errors import BadRequest
from jobs.printable import shown
from jobs.query.item_keys import item_keys, item_places, row_at
from jobs.query.stored import Stored

SHOWN = 3
"""Names that a message gives of many."""

PARQUET = b"PAR1"
"""First bytes of a Parquet file."""


def read_names(path: Path) -> list[str]:
    """The names in a file: text with one per line, where empty lines are none; Parquet; or CSV (`jobs.item_tables`).

    raises: BadRequest.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read: {error.strerror or error}") from error
    suffix = path.suffix.lower()
    if data.startswith(PARQUET) or suffix in (".parquet", ".csv"):
        from jobs.item_tables import csv_names, parquet_names  # polars

        read = csv_names if suffix == ".csv" and not data.startswith(PARQUET) else parquet_names
        names = read(data, str(path))
    else:
        names = text_names(data, str(path))
    if not names:
        raise BadRequest(f"{path}: found no item, expected their names, one per line")
    check_once(names, str(path))
    return names


def text_names(data: bytes, where: str) -> list[str]:
    """The names in a text, a line each; where: as messages say it. raises: BadRequest."""
    try:
        text = data.decode("utf-8-sig")
    except ValueError as error:
        raise BadRequest(f"{where}: cannot be read: {error}; write it as UTF-8, one item per line") from error
    return [line.removesuffix("\r") for line in text.split("\n") if line.strip()]


def check_once(names: Sequence[str], where: str = "items") -> None:
    """Whether no name is there twice; raises: BadRequest."""
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise BadRequest(f"{where}: {some(twice)} named more than once; name each item once")


def training_rows(stored: Stored, names: Sequence[str]) -> NDArray[np.int64]:
    """(k,) rows of training items, in the order of their names: keys, SHARD#ROW, or rows (`jobs.query.item_keys`).

    raises: BadRequest where a name leads to no item, to several, or to one that another leads to.
    """
    shards = stored.manifest("train").shards
    items, keys = sum(shard.items for shard in shards), item_keys(stored, "train", shards)
    by_key: dict[str, list[int]] = {}
    for row, key in enumerate([] if keys is None else keys.tolist()):
        by_key.setdefault(key, []).append(row)
    found = {name: row_at(name, shards) for name in names}
    rows = {name: by_key.get(name, []) if row is None else [row] if row < items else [] for name, row in found.items()}
    if missing := [name for name in names if not rows[name]]:
        such = "" if keys is None or not len(keys) else f" (such as {shown(str(keys[0]))!r})"
        held_out = item_keys(stored, "test", stored.manifest("test").shards)
        tests = [] if held_out is None else [name for name in missing if name in {*held_out.tolist()}]
        if tests == missing:
            raise BadRequest(_held_out(tests, [name for name in names if rows[name]]))
        about = f"; {some(tests)} held out for testing" if tests else ""
        raise BadRequest(
            f"{some(missing)} not among the {items} training items: expected the key of an item{such}, its row, or "
            f"SHARD#ROW{about}"
        )
    for name in names:
        if len(rows[name]) > 1:
            places = ", ".join(map(shown, item_places(shards, rows[name][:SHOWN])))
            raise BadRequest(f"item {shown(name)!r}: {len(rows[name])} items have that key; name one as {places}, ...")
    once = {rows[name][0]: name for name in names}
    if len(once) < len(names):
        again = [name for name in names if once[rows[name][0]] != name]
        raise BadRequest(f"{some(again)} named twice, in different ways; name each item once")
    return np.fromiter((rows[name][0] for name in names), np.int64, len(names))


def _held_out(tests: Sequence[str], trained: Sequence[str]) -> str:
    """Why items that are held out for testing are refused, and what to do; trained: the others of the list."""
    those, their = ("those", "their") if len(tests) > 1 else ("that", "its")
    text = f"{some(tests)} held out for testing, and no head was made of {'them' if len(tests) > 1 else 'it'}"
    if trained:
        text += f": take {those} out of the list; {some(trained)} trained on, and can be forgotten"
    return (
        f"{text}. To be rid of {their} embeddings and codes, which are on the root too, delete the "
        f"image{'s' * (len(tests) > 1)} and run the experiment on a new root"
    )


def some(names: Sequence[str]) -> str:
    """The first few names, how many more, and the verb that follows."""
    first = ", ".join(repr(shown(name)) for name in names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"item{'s' if len(names) > 1 else ''} {first}{more} {'are' if len(names) > 1 else 'is'}"
