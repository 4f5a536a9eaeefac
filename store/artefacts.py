"""Artefact folders: ``<root>/<step>/<digest>/``, their units, and what stands.

A folder holds ``spec.json`` (what was asked), ``units.json`` (its parts, written once its arrays exist), the data,
``units/<unit>.json`` (one marker a finished unit, written after its data), ``events.jsonl``, ``provenance.json`` and
``DONE``, written last. Nothing else is kept: status is read off these files.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.errors import ArtefactMissing, NotARoot, RootUnusable

Json = Mapping[str, Any]

ROOT_FORMAT = "dkvb-root/1"
ROOT_FILE = "dkvb-root.json"


def digest(content: Any) -> str:
    """A short digest of JSON content: equal content, equal digest, on every machine (16 hex digits)."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: str) -> str:
    """SHA-256 of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes | Iterable[bytes | memoryview]) -> None:
    """Write a file so that it is there whole or not at all, whatever dies when.

    data: its content, or the parts of it in order.
    raises: OSError as the system gives it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, for people too: indented, keys in the order given."""
    write_atomic(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON; raises: ArtefactMissing when the file is not there or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactMissing(f"{path}: not there; run `dkvb run` on this root first") from None
    except ValueError as error:
        raise ArtefactMissing(f"{path}: not readable as JSON ({error}); delete it and run again") from error


def open_root(path: Path, *, create: bool) -> Path:
    """The root folder of artefacts, checked.

    create: make it when it is missing or empty; otherwise it must be a root already.
    raises: NotARoot for a folder that is none; RootUnusable when it cannot be written.
    """
    if re.match(r"[a-z0-9]+:/", str(path)):
        raise NotARoot(f"{path}: an address; a root is a folder on a disk that every worker sees")
    marker = path / ROOT_FILE
    try:
        if not marker.exists():
            if path.exists() and not path.is_dir():
                raise NotARoot(f"{path}: is a file, expected a folder")
            if not create:
                raise NotARoot(
                    f"{path}: no {ROOT_FILE} there, so it is not a root; `dkvb run SPEC --root {path}` makes one"
                )
            if path.exists() and any(not entry.name.startswith(f".{ROOT_FILE}.") for entry in path.iterdir()):
                raise NotARoot(f"{path}: holds other files and no {ROOT_FILE}; give an empty or a new folder as root")
            write_json(marker, {"format": ROOT_FORMAT})
    except OSError as error:
        raise RootUnusable(
            f"{path}: cannot be used as root: {error.strerror}; choose a folder you can write"
        ) from error
    if (found := read_json(marker).get("format")) != ROOT_FORMAT:
        raise NotARoot(f"{marker}: format found {found!r}, expected {ROOT_FORMAT!r}; use the version that wrote it")
    return path


@dataclass(frozen=True, slots=True)
class Artefact:
    """One artefact folder. Holds no state: every answer is read from the disk."""

    root: Path
    step: str
    digest: str

    @property
    def path(self) -> Path:
        """The folder."""
        return self.root / self.step / self.digest

    @property
    def data(self) -> Path:
        """The Zarr group of its arrays."""
        return self.path / "data.zarr"

    @property
    def done(self) -> bool:
        """Whether everything stands."""
        return (self.path / "DONE").exists()

    def units(self) -> list[str] | None:
        """Names of its units in order, or None before it was prepared."""
        path = self.path / "units.json"
        return list(read_json(path)) if path.exists() else None

    def prepare(self, spec: Json) -> None:
        """Begin: write what was asked."""
        write_json(self.path / "spec.json", spec)

    def declare(self, units: list[str]) -> None:
        """Name the units; called once the arrays they write into exist."""
        write_json(self.path / "units.json", units)

    def mark(self, unit: str, facts: Json) -> None:
        """Say that a unit stands; called after its data was written."""
        write_json(self.path / "units" / f"{unit}.json", facts)

    def marks(self) -> dict[str, Any]:
        """The facts of every finished unit, by unit name."""
        return {path.stem: read_json(path) for path in sorted((self.path / "units").glob("[!.]*.json"))}

    def standing(self) -> set[str]:
        """Names of the finished units."""
        return {path.stem for path in (self.path / "units").glob("[!.]*.json")}

    def log(self, events: list[dict[str, Any]]) -> None:
        """Append to the event log (one writer: the driver)."""
        with (self.path / "events.jsonl").open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                file.write(b"" if file.read() == b"\n" else b"\n")  # a kill may have torn the last line
            file.writelines(json.dumps(event).encode() + b"\n" for event in events)

    def events(self) -> Iterator[dict[str, Any]]:
        """The event log; a last line torn by a kill is left out."""
        path = self.path / "events.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                yield json.loads(line)
            except ValueError:
                continue

    def finish(self, provenance: Json) -> None:
        """Close: write where it came from, then DONE."""
        write_json(self.path / "provenance.json", provenance)
        write_atomic(self.path / "DONE", b"")
