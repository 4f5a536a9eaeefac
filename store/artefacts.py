"""Artefact folders: ``<root>/<step>/<digest>/``, their units, and what is done.

A folder holds ``spec.json`` (what was asked), ``units.json`` (its parts, written once its arrays exist), the data,
``units/<unit>.json`` (the marker of a done unit, written after its data), ``events.jsonl``, ``provenance.json``,
``checksums.json`` and ``DONE``, written last. Nothing else is kept: status is read off these files.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.checksums import ADDED, CHECKSUMS, DONE, FILES, UNITS, checked, damaged, listed, marker_files
from store.errors import ArtefactDamaged, ArtefactMissing, NotARoot, PlaceUnreachable, RootUnusable, StoreError
from store.files import create, exists, files_below, names, read_all, read_bytes, remove, write_atomic
from store.journal import Journal, read_journal
from store.json import from_json
from store.links import check_own
from store.places import Place, quoted
from store.recording import sha256, stamp
from store.tombstones import TOMBSTONE

Json = Mapping[str, Any]

ROOT_FORMAT = "dkvb-root/2"
"""That of new roots, whose arrays have coordinates."""
OLDER_FORMATS = ("dkvb-root/1",)
"""Formats that are read as they are, and that `dkvb root upgrade` brings up to date."""
ROOT_FILE = "dkvb-root.json"
SPEC = "spec.json"
PROVENANCE = "provenance.json"
EVENTS = "events.jsonl"
CERTIFICATE = "certificate.json"
SAVES = "saves"
UNLISTED = (EVENTS, CERTIFICATE, DONE, CHECKSUMS, ADDED, SAVES, TOMBSTONE)
"""Files of an artefact that its checksums do not list: they are written later, and say themselves what they hold.

Saves are of a unit that is not done, and go.
"""
CHECKSUM = "sha256"
"""Key of a record under which the checksum of the rest of it is written."""


def digest(content: Any) -> str:
    """A short digest of JSON content: equal content, equal digest, on every machine (16 hex digits)."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_json(path: Place, content: Any) -> None:
    """Write JSON atomically, for people too: indented, keys in the order given."""
    write_atomic(path, as_json(content))


def as_json(content: Any) -> bytes:
    """A file of JSON."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def read_json(path: Place) -> Any:
    """Read JSON; raises: ArtefactMissing when the file is not there or not JSON; ArtefactDamaged."""
    return parsed(path, _content(path))


def _content(path: Place) -> bytes:
    try:
        return checked(path)
    except FileNotFoundError:
        raise ArtefactMissing(f"{path}: not there; run `dkvb run` on this root first") from None


def parsed(path: Place, data: bytes) -> Any:
    """The JSON of a file that was read; raises: ArtefactMissing."""
    try:
        return from_json(data)
    except ValueError as error:
        raise ArtefactMissing(f"{path}: not readable as JSON ({error}); delete it and run again") from error


def write_record(path: Place, content: Json) -> None:
    """Write JSON that is no artefact's and carries its own checksum."""
    write_json(path, {**content, CHECKSUM: _record_sha256(content)})


def read_record(path: Place) -> dict[str, Any]:
    """Read what `write_record` wrote, or a version that knew no checksums.

    raises: ArtefactMissing; ArtefactDamaged; NotARoot for another kind of file.
    """
    with as_written(path):
        data = _content(path)
        content = dict(parsed(path, data))
        checksum = content.pop(CHECKSUM, None)
    whole = as_json({**content, CHECKSUM: checksum})
    if checksum is not None and (checksum != _record_sha256(content) or data != whole):
        raise ArtefactDamaged(
            f"{path}: does not hold what was written: the file was damaged or changed since; delete it, and `dkvb run` "
            "with the same spec writes it again"
        )
    return content


def _record_sha256(content: Json) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode())


@contextmanager
def as_written(path: Place) -> Iterator[None]:
    """Read what a file of a root must hold, within the block; raises: NotARoot where it holds something else."""
    try:
        yield
    except StoreError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise NotARoot(
            f"{path}: does not hold what dkvb writes ({type(error).__name__}: {error}); it was changed or "
            "damaged, or another version made it: put back what was there, or delete it and run again"
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
                    f"{path}: no {ROOT_FILE} there, so it is not a root; "
                    f"`dkvb run SPEC --root {quoted(path)}` makes one of a new or an empty folder"
                )
            if any(name != ROOT_FILE for name in names(path)):
                raise NotARoot(f"{path}: holds other files and no {ROOT_FILE}; give an empty or a new folder as root")
            write_json(marker, {"format": ROOT_FORMAT})
    except PlaceUnreachable:
        raise
    except OSError as error:
        raise RootUnusable(
            f"{path}: cannot be used as root: {error.strerror or error}; choose a folder you can write to"
        ) from error
    for folder in (path, path / "experiments"):
        if isinstance(folder, Path) and folder.is_dir():
            check_own(folder, deep=False)
    if (version := root_format(marker)) not in (ROOT_FORMAT, *OLDER_FORMATS):
        remedy = (
            f"`dkvb repair {quoted(path)}` writes it anew"
            if version is None
            else "a newer version of dkvb wrote it: upgrade dkvb (pip install --upgrade dkvb-unlearning)"
        )
        expected = " or ".join(map(repr, (*OLDER_FORMATS, ROOT_FORMAT)))
        raise NotARoot(f"{marker}: format found {version!r}, expected {expected}; {remedy}")
    return path


def root_format(marker: Place) -> str | None:
    """The format that the file of a root names; None where it is missing or damaged."""
    try:
        version = read_json(marker).get("format")
    except (AttributeError, ArtefactMissing):
        return None
    return version if isinstance(version, str) and re.fullmatch(r"dkvb-root/[1-9][0-9]{0,5}", version) else None


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
                raise NotARoot(f"{self.root}: names an artefact {self.step!r}/{self.digest!r}, which dkvb never writes")
        if isinstance(self.path, Path) and self.path.is_symlink():
            raise NotARoot(f"{self.path}: is a link, which dkvb never writes; a root holds its own files")

    @property
    def path(self) -> Place:
        """The folder."""
        return self.root / self.step / self.digest

    @property
    def data(self) -> Place:
        """The Zarr group of its arrays."""
        return self.path / "data.zarr"

    @property
    def saves(self) -> Place:
        """The folder of what its units save on their way (`jobs.saves`)."""
        return self.path / SAVES

    @property
    def done(self) -> bool:
        """Whether it is complete."""
        return exists(self.path / DONE)

    @property
    def has_checksums(self) -> bool:
        """Whether it was finished by a version that writes them."""
        return exists(self.path / CHECKSUMS)

    @property
    def half_closed(self) -> bool:
        """Whether its checksums are there and DONE is not: it was lost, or something ended before it was written."""
        return self.has_checksums and not self.done

    def units(self) -> list[str] | None:
        """Names of its units in order, or None before it was prepared."""
        path = self.path / "units.json"
        try:
            data = checked(path)
        except FileNotFoundError:
            return None
        with as_written(path):
            units = list(parsed(path, data))
        if odd := [unit for unit in units if not (isinstance(unit, str) and re.fullmatch(r"[A-Za-z0-9_-]+", unit))]:
            raise NotARoot(f"{path}: names a unit {odd[0]!r}, which dkvb never writes")
        return units

    def check_own(self, *, arrays: bool = True) -> None:
        """Whether its files are its own (`store.links.check_own`), on a disk; raises: NotARoot.

        arrays: those of its arrays too, of which there may be thousands; whoever only reads needs it of those that are
        read, and `store.arrays` sees to that.
        """
        if isinstance(self.path, Path) and self.path.is_dir():
            check_own(self.path, leave="" if arrays else self.data.name)

    def check_done(self) -> None:
        """Whether its end was not lost; raises: ArtefactDamaged where it is `half_closed`."""
        if self.half_closed:
            raise ArtefactDamaged(
                f"{self.path / DONE}: is missing, or was not yet written when a run ended; the same `dkvb run` as "
                f"before finishes the step, or `dkvb repair {quoted(self.root)}` drops it"
            )

    def prepare(self, spec: Json) -> None:
        """Begin: write what was asked; raises: NotARoot where something there leads elsewhere."""
        self.check_own()
        write_json(self.path / SPEC, spec)

    def spec(self) -> dict[str, Any]:
        """What was asked, as `prepare` wrote it; raises: ArtefactMissing, ArtefactDamaged, NotARoot."""
        with as_written(self.path / SPEC):
            return dict(read_json(self.path / SPEC))

    def declare(self, units: list[str]) -> None:
        """Name the units; called once the arrays they write into exist."""
        write_json(self.path / "units.json", units)

    def mark(self, unit: str, facts: Json, files: Mapping[str, str] | None = None) -> None:
        """Say that a unit is done, and what its files hold; called after its data was written.

        A marker that is there already, another driver's, stays: its checksum may be written elsewhere by now.
        """
        marker = as_json({**facts, FILES: dict(sorted((files or {}).items()))})
        create(self.path / UNITS / f"{unit}.json", marker)

    def is_done(self, unit: str) -> bool:
        """Whether one unit is done."""
        return exists(self.path / UNITS / f"{unit}.json")

    def marks(self) -> dict[str, Any]:
        """The facts of every unit that is done, by its name; raises: ArtefactDamaged, ArtefactMissing."""
        folder, marks = self.path / UNITS, {}
        for unit in listed(folder, ".json"):
            with as_written(folder / unit):
                facts = dict(read_json(folder / unit))
            facts.pop(FILES, None)
            marks[unit.removesuffix(".json")] = facts
        return marks

    def done_units(self) -> set[str]:
        """Names of the units that are done."""
        return {name.removesuffix(".json") for name in names(self.path / UNITS, ".json")}

    def journal(self) -> Journal:
        """The event log, to write (one writer a run: the driver)."""
        return Journal(self.path / EVENTS)

    def events(self) -> Iterator[dict[str, Any]]:
        """The event log; a line torn by a kill is left out."""
        return read_journal(self.path / EVENTS)

    def finish(self, provenance: Json, files: Mapping[str, str] | None = None) -> None:
        """Close: write where it came from, what every file holds, then DONE.

        Of two drivers that do so at once the first says where it came from; all else they write alike.

        files: SHA-256 of those that were written after the last unit, by their paths in the folder.
        raises: ArtefactDamaged where a file of a unit is gone.
        """
        create(self.path / PROVENANCE, as_json(provenance))
        known: dict[str, str] = {}
        for unit, data in read_all(self.path / UNITS, ".json").items():
            known |= marker_files(self.path, unit, data)
        known |= files or {}
        there = [name for name in files_below(self.path) if name.partition("/")[0] not in UNLISTED]
        if gone := sorted(known.keys() - set(there)):
            raise damaged(self.path, self.path / gone[0], "is missing")
        # The rest are small: spec, markers, Zarr's metadata; or large, where a version without checksums began.
        whole = {name: known.get(name) or stamp(read_bytes(self.path / name)) for name in there}
        content = as_json({"algorithm": "sha256", FILES: whole})
        write_atomic(self.path / CHECKSUMS, content)
        write_atomic(self.path / DONE, f"sha256 {stamp(content)}\n".encode())

    def provenance(self) -> dict[str, Any]:
        """Where it came from, as `finish` wrote it; raises: ArtefactMissing, ArtefactDamaged, NotARoot."""
        with as_written(self.path / PROVENANCE):
            return dict(read_json(self.path / PROVENANCE))

    def facts(self) -> dict[str, Any]:
        """What its step said of itself at its end: a part of its provenance; raises: as `provenance`."""
        with as_written(self.path / PROVENANCE):
            return dict(self.provenance()["facts"])

    def reopen(self) -> None:
        """Take back that it is finished, before some of its files are written anew."""
        for name in (DONE, CHECKSUMS, ADDED, PROVENANCE):
            remove(self.path / name)

    def remove(self) -> None:
        """Remove it, and its step's folder if it was the last there; a kill in between leaves one that is not done."""
        self.reopen()
        remove(self.path)
        if isinstance(self.path, Path):  # an object store has no empty folders
            with suppress(OSError):
                self.path.parent.rmdir()
