"""Links, pipes and devices, which dkvb never writes: a folder that holds one is refused."""

import os
import stat
from pathlib import Path

from store.errors import NotARoot


def check_own(folder: Path | str, *, deep: bool = True, leave: str = "") -> None:
    """Check that a folder holds files and folders only: a link leads elsewhere, a pipe or a device may have no end.

    deep: whether to look into its folders too.
    leave: name of a folder in it that is not looked into.
    raises: NotARoot naming what is neither.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if deep and entry.name != leave:
                    check_own(entry.path)  # thousands of chunks: no Path for each
            elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):  # or it is gone by now
                raise _foreign(entry.path, link=entry.is_symlink())


def check_way(folder: str, file: str) -> None:
    """Check that a file is one, and that no folder on the way to it is a link; nothing is said of a missing one.

    folder: where the way begins; file: its path in the folder, with slashes.
    raises: NotARoot naming what leads elsewhere.
    """
    way = folder
    for part in file.split("/"):
        way = f"{way}/{part}"
        try:
            mode = os.lstat(way).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            raise _foreign(way, link=stat.S_ISLNK(mode))


def _foreign(path: str, *, link: bool) -> NotARoot:
    kind = "a link" if link else "neither a file nor a folder"
    return NotARoot(f"{path}: is {kind}, which dkvb never writes; a root holds its own files")
