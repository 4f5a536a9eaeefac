"""Temporary folders of a process; those that a killed process left are removed by the next one of the same user."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = "owner.lock"
"""A file in each folder, locked by its process: the system unlocks it however the process ends."""

PREFIXES = ("dkvb-", "dkvb-token-", "dkvb-code-")


@contextmanager
def private_folder(prefix: str, parent: Path) -> Iterator[Path]:
    """Make a new folder that only this user can enter, and remove it after the block.

    prefix: one of PREFIXES.
    raises: OSError.
    """
    assert prefix in PREFIXES
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))  # made with mode 700
    held = -1
    try:
        held = os.open(folder / f".{LOCK}", os.O_CREAT | os.O_RDWR, 0o600)
        with suppress(OSError):  # a file system without locks: there `remove_orphans` removes nothing
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (folder / f".{LOCK}").rename(folder / LOCK)  # seen only once it is locked
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held >= 0:
            os.close(held)


def remove_orphans(parent: Path) -> None:
    """Remove folders of this user whose process is gone; where that is not certain, a folder is left alone."""
    name = re.compile(rf"({'|'.join(PREFIXES)})[a-z0-9_]{{8}}")
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if name.fullmatch(entry.name):
                _remove_orphan(Path(entry.path))


def _remove_orphan(folder: Path) -> None:
    with suppress(OSError):
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(at).st_uid != os.getuid():
                return
            lock = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its owner lives
                for entry in folder.iterdir():  # the lock goes last: what cannot be removed now is tried again later
                    if entry.name != LOCK:
                        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
        finally:
            os.close(at)
