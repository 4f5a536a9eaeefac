"""Places: files and folders on a disk, or below an address on an object store; writes that are whole or not there.

A place is a `pathlib.Path`, or a `upath.UPath` where an address such as ``s3://bucket/folder`` is given. A disk has
renames and appends, an object store has whole puts; the functions here hide which of them is at hand, and nothing else.
Credentials come from the store's usual chain (environment, profile, instance role) and are never part of an address.
"""

import errno
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, Union, cast

from store.errors import BadAddress, NotARoot, PlaceUnreachable, StoreError
from store.recording import recorded

if TYPE_CHECKING:
    from upath import UPath

Place: TypeAlias = Union[Path, "UPath"]
Data: TypeAlias = bytes | Iterable[bytes | memoryview]
"""The content of a file, or the parts of it in order."""

OPTIONS: Mapping[str, dict[str, Any]] = {
    "s3": {
        # Others write too: a listing is asked for each time. A server that restarts is waited for, some minutes in all.
        "use_listings_cache": False,
        "config_kwargs": {"retries": {"mode": "standard", "max_attempts": 8}},
    }
}
"""Of the file systems, by the protocol of an address."""

CONFLICTS = 8
"""Tries of a put that meets another one of the same name (HTTP 409)."""

FLUSH_S = 5.0
"""Seconds between two puts of a journal on an object store."""


def place(address: str | Path) -> Place:
    """A folder's path, or an address such as ``s3://bucket/folder``.

    raises: BadAddress for a protocol that is not known or not installed, and for an address with a password in it.
    """
    text = str(address)
    if not is_address(text):
        return Path(text)
    from upath import UPath

    how = options(text)
    try:
        made = UPath(text.rstrip("/"), **how)
        _ = made.fs, made / "bucket"  # imports the file system; needs a bucket
    except ImportError as error:
        raise BadAddress(f"{text}: {error}; pip install 'dkvb-unlearning[s3]' for s3://") from error
    except ValueError as error:
        raise BadAddress(f"{text}: {error}") from error
    return cast("Place", made)


def options(address: str) -> dict[str, Any]:
    """How the file system of an address, or of a path, is opened.

    raises: BadAddress for an address that is torn or has a password in it.
    """
    if has_password(address):
        raise BadAddress("an address with a password in it: give it without, credentials come from the usual chain")
    if not is_address(address):
        return {}
    if not re.match(r"[^/]*://.*[^/]", address):
        raise BadAddress(f"{address}: not an address; write it as s3://bucket/folder")
    return dict(OPTIONS.get(address.partition(":")[0], {}))


def has_password(text: str) -> bool:
    """Whether a text holds an address with a password or a token: user:password@, one signed, user@ before a web host.

    A secret key of S3 may hold slashes; a port may come before a name with "@" in it.
    """
    return re.search(r"://[^/:@]*:(?!\d+(/|$))[^@]*@|https?://[^/@]*@|[?&](X-Amz-|sig=|token=)", text) is not None


def is_address(text: str) -> bool:
    """Whether this is an address, not a path on a disk."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) is not None


def is_local(path: Place) -> bool:
    """Whether the place is on a disk."""
    return isinstance(path, Path)


def absolute(path: Place) -> Place:
    """The same place for a process with another working directory."""
    return path.resolve() if isinstance(path, Path) else path


@contextmanager
def reported(path: Place | str) -> Iterator[None]:
    """What the libraries of an object store raise, which has no common base, as PlaceUnreachable."""
    try:
        yield
    except (StoreError, FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        if isinstance(path, Path) or error.filename:
            raise
        raise PlaceUnreachable(f"{path}: {error}; check address, bucket and permissions") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("botocore", "aiobotocore", "aiohttp", "fsspec", "s3fs"):
            raise
        raise PlaceUnreachable(
            f"{path}: {type(error).__name__}: {error}; check address, endpoint and credentials"
        ) from error


def write_atomic(path: Place, data: Data) -> None:
    """Write a file so that it is there whole or not at all, whatever dies when.

    raises: OSError as the system gives it; PlaceUnreachable.
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
    """Write a file that must not be there yet: of several who try, one gets True, the others False.

    data: must tell writers apart: a put that is sent again after a lost answer finds its own content.
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
        for attempt in range(CONFLICTS):
            try:
                path.fs.pipe_file(path.path, data, mode="create")
            except FileExistsError:
                break
            except OSError as error:
                if error.errno == errno.EINVAL and path.exists():  # HTTP 412, by a server that does not say of what
                    break
                if error.errno != errno.EBUSY or attempt == CONFLICTS - 1:
                    raise
                time.sleep(0.1 * 2**attempt)
            else:
                return True
        return bool(path.fs.cat_file(path.path) == data)


def read_bytes(path: Place) -> bytes:
    """Read a whole file; raises: FileNotFoundError, NotARoot for what is no file, OSError, PlaceUnreachable."""
    if isinstance(path, Path):
        with open_file(path) as file:
            return file.read()
    with reported(path):
        return bytes(path.fs.cat_file(path.path))


def exists(path: Place) -> bool:
    """Whether a file, or a folder with something in it, is there."""
    with reported(path):
        return path.exists()


def names(folder: Place, suffix: str = "") -> list[str]:
    """Names of the entries of a folder that end in the suffix, in order; none where there is no folder.

    Files that are being written are left out.
    """
    with reported(folder), suppress(FileNotFoundError, NotADirectoryError):
        if isinstance(folder, Path):
            found: Iterable[str] = (entry.name for entry in folder.iterdir())
        else:
            found = (str(name).rstrip("/").rpartition("/")[2] for name in folder.fs.ls(folder.path, detail=False))
        return sorted(name for name in found if name.endswith(suffix) and name[0] != ".")
    return []


def open_file(path: Path) -> BinaryIO:
    """A file on a disk, to be read; raises: FileNotFoundError, OSError, NotARoot for a pipe or a device."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise NotARoot(f"{path}: is no file, and dkvb never writes anything else")


def read_all(folder: Place, suffix: str) -> dict[str, bytes]:
    """The files of a folder that end in the suffix, by their names without it; an object store is asked in parallel."""
    there = names(folder, suffix)
    if isinstance(folder, Path):
        return {name.removesuffix(suffix): read_bytes(folder / name) for name in there}
    with reported(folder):
        paths = {f"{folder.path}/{name}": name.removesuffix(suffix) for name in there}
        return {paths[path]: data for path, data in folder.fs.cat(list(paths)).items()} if paths else {}


def files_below(folder: Place, suffix: str = "") -> list[str]:
    """Paths in a folder of the files below it, at any depth, that end in the suffix; not of those being written."""
    if isinstance(folder, Path):
        there = (path for path in sorted(folder.rglob(f"*{suffix}")) if path.name[0] != ".")
        return [path.relative_to(folder).as_posix() for path in there if path.is_file() and not path.is_symlink()]
    with reported(folder):
        start = f"{folder.path}/"
        return [path.removeprefix(start) for path in folder.fs.find(folder.path) if path.endswith(suffix)]


def read_tree(folder: Place, suffix: str) -> dict[str, bytes]:
    """The files below a folder, at any depth, that end in the suffix, by their path in it."""
    there = files_below(folder, suffix)
    if isinstance(folder, Path):
        return {name: read_bytes(folder / name) for name in there}
    with reported(folder):
        paths = {f"{folder.path}/{name}": name for name in there}
        return {paths[path]: data for path, data in folder.fs.cat(list(paths)).items()} if paths else {}


def remove(path: Place) -> None:
    """Remove a file, or a folder with all in it; one that is not there is removed already."""
    with reported(path), suppress(FileNotFoundError):
        if not isinstance(path, Path):
            path.fs.rm(path.path, recursive=True)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def on_disk(path: Place) -> Iterator[Path]:
    """A file for a library that reads disks only: itself, or a copy for the time of the block.

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


class Journal:
    """A file of JSON lines that grows: appended to on a disk, put in numbered parts on an object store."""

    def __init__(self, path: Place) -> None:
        self._path, self._flushed = path, time.monotonic()
        self._lines: list[bytes] = []

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a line; on an object store it is put with others, some seconds later at most or with `flush`."""
        self._lines.append(json.dumps(record).encode() + b"\n")
        if is_local(self._path) or time.monotonic() - self._flushed >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Put what was not put yet."""
        data, self._lines, self._flushed = b"".join(self._lines), [], time.monotonic()
        if data and isinstance(self._path, Path):
            _append(self._path, data)
        elif data:
            write_atomic(self._path / f"{time.time_ns():020d}-{secrets.token_hex(4)}", data)


def from_json(data: bytes | str) -> Any:
    """JSON from elsewhere; raises: ValueError for all that is none, nested beyond reason too."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_journal(path: Place) -> Iterator[Any]:
    """The records of a journal; a line torn by a kill is left out."""
    if isinstance(path, Path):
        parts = [read_bytes(path)] if path.exists() else []
    else:
        parts = list(read_all(path, "").values())
    for part in parts:
        for line in part.splitlines():
            with suppress(ValueError):
                yield from_json(line)


def check_own(folder: Path, *, deep: bool = True) -> None:
    """Whether all in a folder is files and folders: what a link leads to lies elsewhere, a pipe or a device has no end.

    deep: look into the folders too.
    raises: NotARoot naming what is neither.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if deep:
                    check_own(Path(entry))
            elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):  # else gone meanwhile
                kind = "a link" if entry.is_symlink() else "neither a file nor a folder"
                raise NotARoot(f"{entry.path}: is {kind}, which dkvb never writes; what a root holds lies in it itself")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they are there after a power failure too."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk; some file systems know no such thing, and keep their own."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Errors of the system say which file they are about; a full disk's do not by themselves."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def _append(path: Path, data: bytes) -> None:
    with named(path), path.open("a+b", buffering=0) as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            data = data if file.read() == b"\n" else b"\n" + data  # a kill may have torn the last line
        file.write(data)


@contextmanager
def _written(path: Path, data: Data) -> Iterator[Path]:
    """The data under a temporary name beside the path, on the disk and not only on its way; gone after the block."""
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
    """Bytes as they are; parts in a temporary file, as they may not fit into memory twice."""
    if isinstance(data, bytes):
        yield data
        return
    with tempfile.NamedTemporaryFile(prefix="dkvb-") as file:
        file.writelines(data)
        file.flush()
        yield Path(file.name)
