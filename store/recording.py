"""Recording: SHA-256 and size of files, noted while they are written, for `store.checksums` to compare later."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_target: ContextVar[tuple[str, dict[str, str]] | None] = ContextVar("recording", default=None)


@contextmanager
def recording(folder: object) -> Iterator[dict[str, str]]:
    """Note SHA-256 and size of each file that the block writes below a folder, by its path there.

    Zarr writes in its own threads, which inherit this from their caller.
    """
    files: dict[str, str] = {}
    token = _target.set((f"{folder}/", files))
    try:
        yield files
    finally:
        _target.reset(token)


def recorded(path: object, data: Any) -> Any:
    """Pass on what is written into a file, whole or in parts, and note it inside a `recording` block."""
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
    """Pass on the parts of a file; a thread hashes each while it is written."""
    whole, size = hashlib.sha256(), 0
    with ThreadPoolExecutor(1) as thread:
        for part in parts:
            hashed = thread.submit(whole.update, part)
            yield part
            hashed.result()
            size += len(part)
    files[name] = f"{whole.hexdigest()} {size}"


def stamp(data: bytes | memoryview) -> str:
    """SHA-256 of data in hex, and its number of bytes, as a marker keeps them."""
    return f"{sha256(data)} {len(data)}"


def sha256(data: bytes | memoryview) -> str:
    """SHA-256 of data, in hex."""
    return hashlib.sha256(data).hexdigest()
