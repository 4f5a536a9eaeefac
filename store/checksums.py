"""Checksums: what each file of an artefact held when it was written, and whether it still does.

The SHA-256 of every file that a unit writes below its artefact's folder is noted (`store.recording`) and kept in the
unit's marker. A finished artefact has all of them in ``checksums.json``, and the SHA-256 of that file in ``DONE``.
Every file of an artefact that is read through this package is checked: its path leads to its artefact.

An artefact that was finished before there were checksums has an empty ``DONE`` and is read as it is. What an upgrade
adds to a finished artefact is in ``added.json``, with its own checksum: ``DONE``, of which certificates speak, stays.
So it does where files were destroyed on purpose: a tombstone says which (`store.tombstones`).
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from store.errors import ArtefactDamaged
from store.files import names, on_disk, read_all, read_bytes, write_atomic
from store.json import from_json
from store.places import Place, quoted
from store.recording import sha256, stamp
from store.tombstones import TOMBSTONE, Tombstone, read_tombstone

CHECKSUMS = "checksums.json"
ADDED = "added.json"
DONE = "DONE"
UNITS = "units"
FILES = "files"
"""Key of a marker for the files of its unit."""

FOLDER = re.compile(r"[0-9a-f]{16}")
"""The name of an artefact's folder."""

WRITTEN_ANEW = re.compile(r"data\.zarr/(oracle_logits_(train|test)/)?zarr\.json")
"""All that ``added.json`` may say of a file that ``checksums.json`` lists: names of axes, and what lies in a group."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The checksums of an artefact's files, by their paths in its folder."""

    folder: Place
    files: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True
    """Whether every file is in it; not so while the artefact is being made."""
    destroyed: Tombstone | None = None
    """Which of the files were destroyed on purpose."""

    def name(self, path: Place | str) -> str:
        """A file's path in the folder."""
        return str(path).removeprefix(f"{self.folder}/")

    def entries(self, folder: Place) -> set[str]:
        """Names of the files and folders that must lie in a folder."""
        start = f"{self.name(folder)}/"
        return {name.removeprefix(start).partition("/")[0] for name in self.files if name.startswith(start)}

    def check_there(self, path: Place | str) -> None:
        """Check that a file was not destroyed on purpose; raises: ArtefactDestroyed."""
        if self.destroyed is not None and self.destroyed.covers(self.name(path)):
            raise self.destroyed.error(path, self.folder)

    def check_size(self, path: Place) -> None:
        """Compare the size of a file on a disk before it is read; raises: ArtefactDamaged, ArtefactDestroyed."""
        self.check_there(path)
        expected = self.files.get(self.name(path))
        if expected is None or not isinstance(path, Path) or not path.is_file():
            return
        if path.stat().st_size != int(expected.partition(" ")[2] or -1):
            raise damaged(self.folder, path, "does not hold what was written")

    def check(self, path: Place | str, read_stamp: str | None) -> None:
        """Compare what was read of a file with what was written; raises: ArtefactDamaged, ArtefactDestroyed.

        read_stamp: SHA-256 and size (`store.recording.stamp`); None where the file is missing.
        """
        if read_stamp is None and (stone := read_tombstone(self.folder)) is not None:  # it may be new
            replace(self, destroyed=stone).check_there(path)
        expected = self.files.get(self.name(path))
        if read_stamp is not None and expected is None and self.complete:
            raise damaged(self.folder, path, "nothing says what it should hold")
        if read_stamp is None and (expected is not None or self.complete):
            raise damaged(self.folder, path, "is missing")
        if read_stamp is not None and expected is not None and read_stamp != expected:
            raise damaged(self.folder, path, "does not hold what was written")


def damaged(folder: Place, path: Place | str, what: str) -> ArtefactDamaged:
    """The error for a damaged file: which, what is wrong, and the remedy."""
    root = quoted(folder.parent.parent)
    return ArtefactDamaged(
        f"{path}: {what}: the file was damaged or changed since; `dkvb status {root} --verify` names all such files, "
        f"`dkvb repair {root}` drops them and what was made of them, and `dkvb run` makes them again"
    )


def faults(folder: Place) -> list[tuple[str, str]]:
    """The damaged files of an artefact, by their paths in its folder, and what is wrong with each; reads everything.

    Files that were destroyed on purpose are not damaged.
    """
    damages: list[tuple[str, str]] = []
    _ledgers.pop(_key(folder), None)
    try:
        stone = read_tombstone(folder)
    except ArtefactDamaged as error:
        return [(TOMBSTONE, str(error))]
    try:
        known = ledger(folder)
    except ArtefactDamaged as error:
        damages.append((CHECKSUMS, str(error)))
        known = _unverified(folder) or _unfinished(folder)
    if known is None:
        return damages
    if stone is not None:
        known = Ledger(folder, {name: text for name, text in known.files.items() if not stone.covers(name)})
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for name, wrong in zip(known.files, threads.map(partial(fault, known), known.files), strict=True):
            damages += [(name, wrong)] if wrong else []
    return damages


def _unverified(folder: Place) -> Ledger | None:
    """The checksums as they are, whatever DONE says of them; None where they are not readable."""
    with suppress(FileNotFoundError, LookupError, TypeError, ValueError, AttributeError):
        files = dict(from_json(read_bytes(folder / CHECKSUMS))[FILES])
        if all(isinstance(text, str) and re.fullmatch(r"[0-9a-f]{64} \d+", text) for text in files.values()):
            return Ledger(folder, files)
    return None


def fault(known: Ledger, name: str) -> str:
    """What is wrong with a file; "" for a sound one."""
    path = known.folder / name
    try:
        with on_disk(path) as file:
            known.check_size(path)
            known.check(path, file_stamp(file))
    except FileNotFoundError:
        return f"{path}: is missing"
    except ArtefactDamaged:
        return f"{path}: does not hold what was written"
    return ""


def artefact_folder(path: Place) -> Place | None:
    """The folder of the artefact that a file belongs to: the nearest one above it that has such a name."""
    return next((parent for parent in path.parents if FOLDER.fullmatch(parent.name)), None)


def ledger(folder: Place) -> Ledger | None:
    """The checksums of an artefact; None for one that was finished before there were any, or has no marker yet.

    raises: ArtefactDamaged where the checksums themselves are damaged.
    """
    try:
        done = read_bytes(folder / DONE)
    except FileNotFoundError:
        return _unfinished(folder)
    if not done:
        if CHECKSUMS in names(folder):
            raise damaged(folder, folder / DONE, "is empty")
        return None
    return _finished(folder, done)


_ledgers: dict[str, tuple[bytes | list[str], Ledger | None]] = {}
"""The last ledger of each artefact that this process read, and what it was made of: DONE, or the markers' names."""


def _key(folder: Place) -> str:
    """The one name of a folder, whatever the current folder is and however it was given."""
    return str(folder.absolute() if isinstance(folder, Path) else folder)


def _finished(folder: Place, done: bytes) -> Ledger:
    made_of, known = _ledgers.get(_key(folder), (b"", None))
    if known is not None and made_of == done:
        return replace(known, folder=folder)
    named = re.fullmatch(rb"sha256 ([0-9a-f]{64} \d+)\n", done)
    if named is None:
        raise damaged(folder, folder / DONE, "does not hold what was written")
    try:
        data = read_bytes(folder / CHECKSUMS)
    except FileNotFoundError:
        raise damaged(folder, folder / CHECKSUMS, "is missing") from None
    if stamp(data).encode() != named[1]:
        raise damaged(folder, folder / CHECKSUMS, "does not hold what was written")
    listed, added = from_json(data)[FILES], _added(folder)
    anew = {name: text for name, text in added.items() if WRITTEN_ANEW.fullmatch(name)}
    finished = Ledger(folder, {**added, **listed, **anew}, destroyed=read_tombstone(folder))
    _ledgers[_key(folder)] = done, finished
    return finished


def write_added(folder: Place, files: Mapping[str, str]) -> None:
    """List files that were added to a finished artefact, or WRITTEN_ANEW: stamps, by their paths in its folder."""
    write_atomic(folder / ADDED, _listing(files))
    _ledgers.pop(_key(folder), None)


def forget_ledger(folder: Place) -> None:
    """Read the checksums of an artefact anew when they are needed next: it has a new tombstone."""
    _ledgers.pop(_key(folder), None)


def _added(folder: Place) -> dict[str, str]:
    """What an upgrade added; raises: ArtefactDamaged."""
    try:
        data = read_bytes(folder / ADDED)
    except FileNotFoundError:
        return {}
    with suppress(AttributeError, LookupError, TypeError, ValueError):
        files = dict(from_json(data)[FILES])
        if data == _listing(files) and all(re.fullmatch(r"[0-9a-f]{64} \d+", text) for text in files.values()):
            return files
    raise damaged(folder, folder / ADDED, "does not hold what was written")


def _listing(files: Mapping[str, str]) -> bytes:
    """The content of ``added.json``."""
    content = {FILES: dict(sorted(files.items()))}
    return (json.dumps({**content, "sha256": sha256(json.dumps(content).encode())}, indent=2) + "\n").encode()


def _unfinished(folder: Place) -> Ledger | None:
    """The checksums in the markers so far; None without a marker."""
    units = names(folder / UNITS, ".json")
    made_of, known = _ledgers.get(_key(folder), ([], None))
    if made_of != units:
        files: dict[str, str] = {}
        for unit, data in read_all(folder / UNITS, ".json").items():
            files |= marker_files(folder, unit, data)
        known = Ledger(folder, files, complete=False) if files else None
        _ledgers[_key(folder)] = units, known
    return known and replace(known, folder=folder)


def marker_files(folder: Place, unit: str, data: bytes) -> dict[str, str]:
    """The files that a unit wrote, by its marker; raises: ArtefactDamaged for a file that is no marker."""
    try:
        marker = from_json(data)
        files = marker.get(FILES, {})
        if not all(re.fullmatch(r"[0-9a-f]{64} \d+", text) for text in files.values()):
            raise TypeError
    except (AttributeError, TypeError, ValueError):
        raise damaged(folder, folder / UNITS / f"{unit}.json", "is not the marker of a unit") from None
    return dict(files)


def ledger_of(path: Place) -> Ledger | None:
    """The checksums of the artefact that a file belongs to; None where it belongs to none, or has none."""
    folder = artefact_folder(path)
    return ledger(folder) if folder is not None else None


def listed(folder: Place, suffix: str = "") -> list[str]:
    """Names of a folder's entries that end in the suffix, in order: those that are there, and those that must be."""
    known = ledger_of(folder / "file")
    must = known.entries(folder) if known is not None else set()
    return sorted({*names(folder, suffix), *(name for name in must if name.endswith(suffix))})


def checked(path: Place) -> bytes:
    """Read a whole file, and check it if it is an artefact's.

    raises: ArtefactDamaged; FileNotFoundError for a missing file that has no checksum; OSError; PlaceUnreachable.
    """
    known = ledger_of(path)
    if known is not None:
        known.check_size(path)
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        if known is not None and known.name(path) in known.files:
            known.check(path, None)
        raise
    if known is not None:
        known.check(path, stamp(data))
    return data


@contextmanager
def checked_on_disk(path: Place) -> Iterator[Path]:
    """A checked file for a library that reads disks only; otherwise as `store.files.on_disk`.

    raises: as `checked`.
    """
    known = ledger_of(path)
    try:
        with on_disk(path) as file:
            if known is not None:
                known.check_size(path)
                known.check(path, file_stamp(file))
            yield file
    except FileNotFoundError:
        if known is not None and known.name(path) in known.files:
            known.check(path, None)
        raise


def file_stamp(path: Path) -> str:
    """SHA-256 and size of a file, read piece by piece."""
    with path.open("rb") as file:
        return f"{hashlib.file_digest(file, 'sha256').hexdigest()} {file.tell()}"
