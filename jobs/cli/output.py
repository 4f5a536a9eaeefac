"""Where the answers of a command go: standard output, or a file that the user named."""

import json
import sys
from pathlib import Path
from typing import Any, Self

from jobs.errors import BadRequest
from jobs.printable import say


class Lines:
    """What a command did, a line each: printed as it is done, or as one JSON object once all is done."""

    def __init__(self, *, as_json: bool, **more: Any) -> None:
        """more: of the JSON object, beside `done`."""
        self._as_json, self._done, self.more = as_json, list[str](), more

    def tell(self, text: str) -> None:
        """Take a line."""
        self._done.append(text)
        if not self._as_json:
            say(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._as_json and kind is None:
            say(json.dumps({"done": self._done, **self.more}, indent=2))


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


def show_new(path: Path | None, text: str, *, as_json: bool, following: str = "") -> None:
    """Print a text, or write it to a new file and say so, with the command that comes next.

    as_json: print where it is, and what.
    """
    if path is not None or not as_json:
        write_new(path, text)
    if path is not None and not as_json:
        say_written(path, following)
    if as_json:
        say(json.dumps({"file": None if path is None else str(path), "text": text}, indent=2))


def say_written(path: Path, following: str) -> None:
    """Say that a file was written, and what comes next."""
    say(f"{path}: written. Next:\n  {following}")


def write_new(path: Path | None, text: str) -> None:
    """Write a new file, never over one that someone may have edited; None: print the text."""
    if path is None:
        say(text, nl=False)
        return
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise BadRequest(f"{path}: already exists; name another file, or remove it first") from error
    except OSError as error:
        raise BadRequest(f"{path}: cannot be written: {error.strerror}") from error
