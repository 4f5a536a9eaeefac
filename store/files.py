"""Files, on a disk or an object store: a write is there whole or not at all, and a read ends.

A disk has renames and links, an object store has whole puts; the functions here hide the difference.
"""

import errno
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from store.errors import NotARoot
from store.places import Place, reported
from store.recording import recorded

if TYPE_CHECKING:
    from upath import UPath

Data: TypeAlias = bytes | Iterable[bytes | memoryview]
"""The content of a file, or the parts of it in order."""

CONFLICT_PAUSES_S = tuple(0.1 * 2**attempt for attempt in range(7))
"""Seconds before each further try of a put that meets another one of the same name (HTTP 409)."""


def write_atomic(path: Place, data: Data) -> None:
    """Write a file so that it is there whole or not at all, whatever dies and when.

    raises: OSError as the system raises it; PlaceUnreachable.
    """
    data = recorded(path, data)
    if not isinstance(path, Path):
        with reported(path), _spooled(data) as file:
            if isinstance(file, bytes):
                path.fs.pipe_file(path.path, file)
            else:
                path.fs.put_file(str(file), path.path)
        return
    with _written(path, data) as temporary:
        temporary.replace(path)
    sync_folder(path.parent)


def create(path: Place, data: bytes) -> bool:
    """Write a file that must not exist yet: of several who try, exactly one gets True.

    data: differs between writers; a put that is sent again after a lost answer meets its own content, and counts.
    raises: OSError; PlaceUnreachable.
    """
    if isinstance(path, Path):
        with _written(path, data) as temporary:
            try:
                path.hardlink_to(temporary)
            except FileExistsError:
                return False
        sync_folder(path.parent)
        return True
    with reported(path):
        return _put_new(path, data) or bool(path.fs.cat_file(path.path) == data)


def _put_new(path: "UPath", data: bytes) -> bool:
    """Put an object where none is; False where one is."""
    pauses = iter(CONFLICT_PAUSES_S)
    while True:
        try:
            path.fs.pipe_file(path.path, data, mode="create")
            return True
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno == errno.EINVAL and path.exists():  # HTTP 412, by a server that does not say of what
                return False
            pause = next(pauses, None)
            if error.errno != errno.EBUSY or pause is None:
                raise
        time.sleep(pause)


def read_bytes(path: Place) -> bytes:
    """Read a whole file; raises: FileNotFoundError, NotARoot for what is no file, OSError, PlaceUnreachable."""
    if isinstance(path, Path):
        with open_file(path) as file:
            return file.read()
    with reported(path):
        return bytes(path.fs.cat_file(path.path))


def open_file(path: Path) -> BinaryIO:
    """Open a file on a disk for reading; raises: FileNotFoundError, OSError, NotARoot for a pipe or a device."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise NotARoot(f"{path}: is not a file, and dkvb never writes anything else")


def exists(path: Place) -> bool:
    """Whether a file, or a folder with something in it, is there."""
    with reported(path):
        return path.exists()


def names(folder: Place, suffix: str = "") -> list[str]:
    """Names of a folder's entries that end in the suffix, in order; none where there is no folder.

    Files that are being written are left out.
    """
    with reported(folder), suppress(FileNotFoundError, NotADirectoryError):
        if isinstance(folder, Path):
            entries: Iterable[str] = (entry.name for entry in folder.iterdir())
        else:
            entries = (str(name).rstrip("/").rpartition("/")[2] for name in folder.fs.ls(folder.path, detail=False))
        return sorted(name for name in entries if name.endswith(suffix) and name[0] != ".")
    return []


def read_all(folder: Place, suffix: str) -> dict[str, bytes]:
    """Read a folder's files that end in the suffix, by name without it; from an object store in parallel."""
    there = names(folder, suffix)
    if isinstance(folder, Path):
        return {name.removesuffix(suffix): read_bytes(folder / name) for name in there}
    with reported(folder):
        paths = {f"{folder.path}/{name}": name.removesuffix(suffix) for name in there}
        return {paths[path]: data for path, data in folder.fs.cat(list(paths)).items()} if paths else {}


def files_below(folder: Place, suffix: str = "") -> list[str]:
    """Paths, relative to a folder, of all files below it that end in the suffix; not of those being written."""
    if isinstance(folder, Path):
        there = (path for path in sorted(folder.rglob(f"*{suffix}")) if path.name[0] != ".")
        return [path.relative_to(folder).as_posix() for path in there if path.is_file() and not path.is_symlink()]
    with reported(folder):
        start = f"{folder.path}/"
        return [path.removeprefix(start) for path in folder.fs.find(folder.path) if path.endswith(suffix)]


def read_tree(folder: Place, suffix: str) -> dict[str, bytes]:
    """Read all files below a folder that end in the suffix, by their paths relative to it."""
    there = files_below(folder, suffix)
    if isinstance(folder, Path):
        return {name: read_bytes(folder / name) for name in there}
    with reported(folder):
        paths = {f"{folder.path}/{name}": name for name in there}
        return {paths[path]: data for path, data in folder.fs.cat(list(paths)).items()} if paths else {}


def remove(path: Place) -> None:
    """Remove a file, or a folder with everything in it; nothing happens where there is none."""
    with reported(path), suppress(FileNotFoundError):
        if not isinstance(path, Path):
            path.fs.rm(path.path, recursive=True)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def on_disk(path: Place) -> Iterator[Path]:
    """A file for a library that reads disks only: the file itself, or a copy for the time of the block.

    raises: as `read_bytes`.
    """
    if isinstance(path, Path):
        open_file(path).close()
        yield path
        return
    with reported(path), tempfile.TemporaryDirectory(prefix="dkvb-") as folder:
        copy = Path(folder, path.name)
        path.fs.get_file(path.path, str(copy))
        yield copy


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they are there after a power failure too."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk; does nothing on file systems that cannot do that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Put the file's name into errors of the system that lack it, as those of a full disk do."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def _written(path: Path, data: Data) -> Iterator[Path]:
    """The data as a temporary file beside the path, fsynced; removed after the block."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with named(path), temporary.open("xb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _spooled(data: Data) -> Iterator[bytes | Path]:
    """Bytes as they are; parts as a temporary file, since they may not fit into memory twice."""
    if isinstance(data, bytes):
        yield data
        return
    with tempfile.NamedTemporaryFile(prefix="dkvb-") as file:
        file.writelines(data)
        file.flush()
        yield Path(file.name)
