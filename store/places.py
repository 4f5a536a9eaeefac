"""Places: files and folders on a disk, or below an address on an object store.

A place is a `pathlib.Path`, or a `upath.UPath` where an address such as ``s3://bucket/folder`` is given.
Credentials come from the store's usual chain (environment, profile, instance role) and are never part of an address.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union, cast

from store.errors import BadAddress, PlaceUnreachable, StoreError

if TYPE_CHECKING:
    from upath import UPath

Place: TypeAlias = Union[Path, "UPath"]
OPTIONS: Mapping[str, dict[str, Any]] = {
    "s3": {
        # Others write too, so no listing is cached. A server that restarts is waited for, some minutes in all.
        "use_listings_cache": False,
        "config_kwargs": {"retries": {"mode": "standard", "max_attempts": 8}},
    }
}
"""Options of file systems, by the protocol of an address."""
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""Extras of pyproject.toml that install a file system, by the protocol of an address."""


def place(address: str | Path) -> Place:
    """The place of a folder's path, or of an address such as ``s3://bucket/folder``.

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
        raise BadAddress(f"{text}: {error}; {installs(text)}") from error
    except ValueError as error:
        raise BadAddress(f"{text}: {error}") from error
    return cast("Place", made)


def quoted(word: object) -> str:
    """A path, a name or an address as one word of a shell's command, as messages give commands."""
    return shlex.quote(str(word))


def options(address: str) -> dict[str, Any]:
    """The options with which the file system of an address, or of a path, is opened.

    raises: BadAddress for an address that is incomplete or has a password in it.
    """
    if has_password(address):
        raise BadAddress("an address with a password in it: give it without, credentials come from the usual chain")
    if not is_address(address):
        return {}
    if not re.match(r"[^/]*://.*[^/]", address):
        raise BadAddress(f"{address}: not an address; write it as s3://bucket/folder")
    return dict(OPTIONS.get(address.partition(":")[0], {}))


def installs(address: str) -> str:
    """The command that installs the file system of an address."""
    scheme = address.partition(":")[0].lower()
    if (extra := EXTRAS.get(scheme)) is not None:
        return f"pip install 'dkvb-unlearning[{extra}]'"
    return f"pip install the fsspec file system of {scheme}://"


def has_password(text: str) -> bool:
    """Whether a text holds an address with a password or a token: user:password@, a signature, user@ of a web host.

    A secret key of S3 may have slashes in it, and a port may come before a name with "@" in it.
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


def of_a_store(error: Exception) -> bool:
    """Whether an error is one of the libraries of object stores, which have no common base."""
    return type(error).__module__.partition(".")[0] in ("botocore", "aiobotocore", "aiohttp", "fsspec", "s3fs")


@contextmanager
def reported(path: Place | str) -> Iterator[None]:
    """Turn what the libraries of an object store raise, which has no common base, into PlaceUnreachable."""
    try:
        yield
    except (StoreError, FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        if isinstance(path, Path) or error.filename:
            raise
        raise PlaceUnreachable(f"{path}: {error}; check address, bucket and permissions") from error
    except Exception as error:
        if not of_a_store(error):
            raise
        raise PlaceUnreachable(
            f"{path}: {type(error).__name__}: {error}; check address, endpoint and credentials"
        ) from error
