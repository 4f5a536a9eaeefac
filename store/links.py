"""Links, pipes and devices, which dkvb never writes: a folder that holds one is refused."""

import os
from pathlib import Path

from store.errors import NotARoot


def check_own(folder: Path | str, *, deep: bool = True) -> None:
    """Check that a folder holds files and folders only: a link leads elsewhere, a pipe or a device may have no end.

    deep: whether to look into its folders too.
    raises: NotARoot naming what is neither.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if deep:
                    check_own(entry.path)  # thousands of chunks: no Path for each
            elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):  # or it is gone by now
                kind = "a link" if entry.is_symlink() else "neither a file nor a folder"
                raise NotARoot(f"{entry.path}: is {kind}, which dkvb never writes; a root holds its own files")
