"""Noting SHA-256 and size of files while they are written: what `store.checksums` later compares them with."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_target: ContextVar[tuple[str, dict[str, str]] | None] = ContextVar("recording", default=None)


@contextmanager
def recording(folder: object) -> Iterator[dict[str, str]]:
    """Note SHA-256 and size of each file that is written below a folder inside the block, by its path there.

    Zarr writes in threads of its own, which inherit this from whoever calls it.
    """
    files: dict[str, str] = {}
    token = _target.set((f"{folder}/", files))
    try:
        yield files
    finally:
        _target.reset(token)


def recorded(path: object, data: Any) -> Any:
    """The same data, bytes or parts of them, on their way into a file; noted if somebody records."""
    target = _target.get()
    if target is None or not str(path).startswith(target[0]):
        return data
    folder, files = target
    name = str(path).removeprefix(folder)
    if not isinstance(data, bytes):
        return _noted(data, name, files)
    files[name] = stamp(data)
    return data


def _noted(parts: Iterable[bytes | memoryview], name: str, files: dict[str, str]) -> Iterator[bytes | memoryview]:
    """The parts of a file, each hashed by a thread while it is written."""
    whole, size = hashlib.sha256(), 0
    with ThreadPoolExecutor(1) as thread:
        for part in parts:
            hashed = thread.submit(whole.update, part)
            yield part
            hashed.result()
            size += len(part)
    files[name] = f"{whole.hexdigest()} {size}"


def stamp(data: bytes | memoryview) -> str:
    """What a file is known by: SHA-256 in hex, and its bytes."""
    return f"{sha256(data)} {len(data)}"


def sha256(data: bytes | memoryview) -> str:
    """SHA-256 of data, in hex."""
    return hashlib.sha256(data).hexdigest()
