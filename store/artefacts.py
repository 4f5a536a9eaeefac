"""Artefact folders: ``<root>/<step>/<digest>/``, their units, and what stands.

A folder holds ``spec.json`` (what was asked), ``units.json`` (its parts, written once its arrays exist), the data,
``units/<unit>.json`` (one marker a finished unit, written after its data), ``events.jsonl``, ``provenance.json`` and
``DONE``, written last. Nothing else is kept: status is read off these files.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.errors import ArtefactMissing, NotARoot, PlaceUnreachable, RootUnusable, StoreError
from store.places import (
    Journal,
    Place,
    check_own,
    exists,
    from_json,
    names,
    read_all,
    read_bytes,
    read_journal,
    write_atomic,
)

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


def write_json(path: Place, content: Any) -> None:
    """Write JSON atomically, for people too: indented, keys in the order given."""
    write_atomic(path, as_json(content))


def as_json(content: Any) -> bytes:
    """A file of JSON."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def read_json(path: Place) -> Any:
    """Read JSON; raises: ArtefactMissing when the file is not there or not JSON."""
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        raise ArtefactMissing(f"{path}: not there; run `dkvb run` on this root first") from None
    return parsed(path, data)


def parsed(path: Place, data: bytes) -> Any:
    """The JSON of a file that was read; raises: ArtefactMissing."""
    try:
        return from_json(data)
    except ValueError as error:
        raise ArtefactMissing(f"{path}: not readable as JSON ({error}); delete it and run again") from error


@contextmanager
def as_written(path: Place) -> Iterator[None]:
    """Reading what a file of a root must hold; raises: NotARoot where it holds something else."""
    try:
        yield
    except StoreError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise NotARoot(
            f"{path}: holds something else than dkvb writes ({type(error).__name__}: {error}); it was changed, or made "
            "by another version"
        ) from error


def open_root(path: Place, *, create: bool) -> Place:
    """The root of artefacts, checked: a folder, or an address on an object store.

    create: make it when it is missing or empty; otherwise it must be a root already.
    raises: NotARoot for a folder that is none; RootUnusable when it cannot be written.
    """
    marker = path / ROOT_FILE
    try:
        if not exists(marker):
            if isinstance(path, Path) and path.exists() and not path.is_dir():
                raise NotARoot(f"{path}: is a file, expected a folder")
            if not create:
                raise NotARoot(
                    f"{path}: no {ROOT_FILE} there, so it is not a root; `dkvb run SPEC --root {path}` makes one"
                )
            if any(name != ROOT_FILE for name in names(path)):
                raise NotARoot(f"{path}: holds other files and no {ROOT_FILE}; give an empty or a new folder as root")
            write_json(marker, {"format": ROOT_FORMAT})
    except PlaceUnreachable:
        raise
    except OSError as error:
        raise RootUnusable(
            f"{path}: cannot be used as root: {error.strerror or error}; choose a folder you can write"
        ) from error
    for folder in (path, path / "experiments"):
        if isinstance(folder, Path) and folder.is_dir():
            check_own(folder, deep=False)
    with as_written(marker):
        if (found := read_json(marker).get("format")) != ROOT_FORMAT:
            raise NotARoot(f"{marker}: format found {found!r}, expected {ROOT_FORMAT!r}; use the version that wrote it")
    return path


@dataclass(frozen=True, slots=True)
class Artefact:
    """One artefact folder. Holds no state: every answer is read from the disk."""

    root: Place
    step: str
    digest: str

    def __post_init__(self) -> None:
        # Both come out of files too, and must not lead elsewhere.
        with as_written(self.root):
            if not re.fullmatch(r"[a-z_]+", self.step) or not re.fullmatch(r"[0-9a-f]{16}", self.digest):
                raise NotARoot(
                    f"{self.root}: names an artefact {self.step!r}/{self.digest!r}, which no step of ours writes"
                )
        if isinstance(self.path, Path) and self.path.is_symlink():
            raise NotARoot(f"{self.path}: is a link, which dkvb never writes; what a root holds lies in it itself")

    @property
    def path(self) -> Place:
        """The folder."""
        return self.root / self.step / self.digest

    @property
    def data(self) -> Place:
        """The Zarr group of its arrays."""
        return self.path / "data.zarr"

    @property
    def done(self) -> bool:
        """Whether everything stands."""
        return exists(self.path / "DONE")

    def units(self) -> list[str] | None:
        """Names of its units in order, or None before it was prepared."""
        path = self.path / "units.json"
        try:
            data = read_bytes(path)
        except FileNotFoundError:
            return None
        with as_written(path):
            units = list(parsed(path, data))
        if odd := [unit for unit in units if not (isinstance(unit, str) and re.fullmatch(r"[A-Za-z0-9_-]+", unit))]:
            raise NotARoot(f"{path}: names a unit {odd[0]!r}, which no step of ours writes")
        return units

    def check_own(self) -> None:
        """Whether its files are its own (`store.places.check_own`), on a disk; raises: NotARoot."""
        if isinstance(self.path, Path) and self.path.is_dir():
            check_own(self.path)

    def prepare(self, spec: Json) -> None:
        """Begin: write what was asked; raises: NotARoot where something there leads elsewhere."""
        self.check_own()
        write_json(self.path / "spec.json", spec)

    def declare(self, units: list[str]) -> None:
        """Name the units; called once the arrays they write into exist."""
        write_json(self.path / "units.json", units)

    def mark(self, unit: str, facts: Json) -> None:
        """Say that a unit stands; called after its data was written."""
        write_json(self.path / "units" / f"{unit}.json", facts)

    def stands(self, unit: str) -> bool:
        """Whether one unit is finished."""
        return exists(self.path / "units" / f"{unit}.json")

    def marks(self) -> dict[str, Any]:
        """The facts of every finished unit, by unit name."""
        folder = self.path / "units"
        return {unit: parsed(folder / f"{unit}.json", data) for unit, data in read_all(folder, ".json").items()}

    def standing(self) -> set[str]:
        """Names of the finished units."""
        return {name.removesuffix(".json") for name in names(self.path / "units", ".json")}

    def journal(self) -> Journal:
        """The event log, to write (one writer a run: the driver)."""
        return Journal(self.path / "events.jsonl")

    def events(self) -> Iterator[dict[str, Any]]:
        """The event log; a line torn by a kill is left out."""
        return read_journal(self.path / "events.jsonl")

    def finish(self, provenance: Json) -> None:
        """Close: write where it came from, then DONE."""
        write_json(self.path / "provenance.json", provenance)
        write_atomic(self.path / "DONE", b"")
