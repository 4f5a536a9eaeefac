"""Journals: files of JSON lines that grow."""

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from store.files import named, read_all, read_bytes, write_atomic
from store.json import from_json
from store.places import Place, is_local

FLUSH_S = 5.0
"""Seconds between two puts of a journal on an object store."""


class Journal:
    """A file of JSON lines that grows: appended to on a disk, put in numbered parts on an object store."""

    def __init__(self, path: Place) -> None:
        self._path, self._flushed = path, time.monotonic()
        self._lines: list[bytes] = []

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a line; on an object store it is put with others, some seconds later at most or with `flush`."""
        self._lines.append(json.dumps(record).encode() + b"\n")
        if is_local(self._path) or time.monotonic() - self._flushed >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Put what was not put yet."""
        data, self._lines, self._flushed = b"".join(self._lines), [], time.monotonic()
        if data and isinstance(self._path, Path):
            _append(self._path, data)
        elif data:
            write_atomic(self._path / f"{time.time_ns():020d}-{secrets.token_hex(4)}", data)


def read_journal(path: Place) -> Iterator[Any]:
    """The records of a journal; a line torn by a kill is left out."""
    if isinstance(path, Path):
        parts = [read_bytes(path)] if path.exists() else []
    else:
        parts = list(read_all(path, "").values())
    for part in parts:
        for line in part.splitlines():
            with suppress(ValueError):
                yield from_json(line)


def _append(path: Path, data: bytes) -> None:
    with named(path), path.open("a+b", buffering=0) as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            data = data if file.read() == b"\n" else b"\n" + data  # a kill may have torn the last line
        file.write(data)
