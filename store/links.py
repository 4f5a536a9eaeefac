"""What a folder of ours never holds: links, pipes, devices."""

import os
from pathlib import Path

from store.errors import NotARoot


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
