"""Where the answers of a command go: standard output, or a file that the user named."""

import sys
from pathlib import Path

from jobs.errors import BadRequest


def put(made: str | bytes, path: Path | None) -> None:
    """Write to a file, or to standard output where none is named; raises: BadRequest where it cannot be written."""
    data = made.encode() if isinstance(made, str) else made
    if path is None:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    else:
        write(path, data)


def write(path: Path, data: bytes) -> None:
    """Write a file that the user named; raises: BadRequest where it cannot be written."""
    from store.files import write_atomic

    try:
        if path.exists() and not path.is_file():  # a pipe or a device is written to, not replaced
            path.write_bytes(data)
        else:
            write_atomic(path, data)
    except OSError as error:
        raise BadRequest(f"{path}: cannot be written: {error.strerror}") from error
