"""Tombstones: which files of an artefact were destroyed on purpose, and by what; and how files are destroyed.

A tombstone is written before the files go: from then on they count as destroyed, whatever is left of them. On a file
system that writes in place, overwriting takes the bytes away; where writing copies (btrfs, ZFS, snapshots, SSDs that
spread their writes) old blocks may be kept below, and an object store may keep versions.
"""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from store.errors import ArtefactDamaged, ArtefactDestroyed
from store.files import names, read_bytes, remove, sync_folder, write_atomic
from store.json import from_json
from store.places import Place
from store.recording import sha256

TOMBSTONE = "destroyed.json"

PIECE = 1 << 20
"""Bytes that are overwritten at a time."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What was destroyed."""

    by: str
    """The request that it was destroyed for, by the name of its folder."""
    parts: tuple[str, ...]
    """Files, and folders with all that is in them, by their paths in the artefact's folder."""

    def covers(self, name: str) -> bool:
        """Whether a file of that path was destroyed."""
        return any(name == part or name.startswith(f"{part}/") for part in self.parts)

    def error(self, path: Place | str, folder: Place) -> ArtefactDestroyed:
        """What whoever wants to read such a file is told; folder: of the artefact."""
        heir = self.heir(folder)
        instead = (
            "experiments were made anew without these items: ask about them as they are now, without a request"
            if heir is None
            else f"what a request made without its items is in {heir}"
        )
        return ArtefactDestroyed(f"{path}: was destroyed on purpose, by request {self.by}; {instead}")

    def heir(self, folder: Place) -> Place | None:
        """The folder of the request whose model is there in its place; folder: of the artefact.

        None: experiments were made anew. raises: ArtefactDamaged.
        """
        requests, name, stone = folder.parent.parent / "unlearned", folder.name, self
        while stone.by != name:
            name = stone.by
            if (later := read_tombstone(requests / name)) is None:
                return requests / name
            stone = later
        return None


def read_tombstone(folder: Place) -> Tombstone | None:
    """What was destroyed in the folder of an artefact; None: nothing. raises: ArtefactDamaged."""
    path = folder / TOMBSTONE
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        return None
    with suppress(AttributeError, LookupError, TypeError, ValueError):
        content = from_json(data)
        stone = Tombstone(content["by"], tuple(content["parts"]))
        if data == _content(stone) and stone.by.isalnum():
            return stone
    raise ArtefactDamaged(
        f"{path}: does not hold what was written: the file was damaged or changed since; restore it from a backup: it "
        "says which files of the folder were destroyed on purpose"
    )


def check_stands(folder: Place, name: str) -> None:
    """Check that a file was not destroyed on purpose; name: its path in the folder. raises: ArtefactDestroyed."""
    stone = read_tombstone(folder)
    if stone is not None and stone.covers(name):
        raise stone.error(folder / name, folder)


def write_tombstone(folder: Place, stone: Tombstone) -> None:
    """Say that files are destroyed; those of an earlier tombstone stay so, and count as this one's."""
    earlier = read_tombstone(folder)
    parts = stone.parts if earlier is None else (*earlier.parts, *stone.parts)
    write_atomic(folder / TOMBSTONE, _content(Tombstone(stone.by, tuple(dict.fromkeys(parts)))))


def _content(stone: Tombstone) -> bytes:
    content = {"by": stone.by, "parts": [*stone.parts]}
    return (json.dumps({**content, "sha256": sha256(json.dumps(content).encode())}, indent=2) + "\n").encode()


def shred(folder: Place, parts: Sequence[str]) -> None:
    """Overwrite files and remove them, with what a killed process left of their writing; missing ones are passed over.

    On an object store they are removed.
    parts: as of a tombstone; none: the folder itself.
    raises: OSError; PlaceUnreachable.
    """
    for part in parts or ("",):
        path = folder / part if part else folder
        if not isinstance(path, Path):
            remove(path)
            continue
        for file in _files(path):
            _shred_file(file)
        remove(path)
        with suppress(FileNotFoundError):
            sync_folder(path.parent)


def _files(path: Path) -> Iterator[Path]:
    """A file, and what was being written under its name; or all files below a folder."""
    if path.is_dir() and not path.is_symlink():
        for above, _, inside in os.walk(path):
            yield from (Path(above, name) for name in inside)
        return
    if path.parent.is_dir():
        yield from path.parent.glob(f".{path.name}.*")
    yield path


def _shred_file(path: Path) -> None:
    """Overwrite one file with random bytes, wait for the disk, and remove it."""
    try:
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
            try:
                noise = memoryview(os.urandom(min(PIECE, status.st_size)))
                for start in range(0, status.st_size, PIECE):
                    os.write(descriptor, noise[: status.st_size - start])
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        path.unlink()
    except FileNotFoundError:  # another process was quicker
        return


def left(folder: Place, parts: Sequence[str]) -> bool:
    """Whether anything of what was to be destroyed is there."""
    if not isinstance(folder, Path):
        return any(names((folder / part).parent, (folder / part).name) for part in parts)
    return any(file.exists() for part in parts for file in _files(folder / part))
