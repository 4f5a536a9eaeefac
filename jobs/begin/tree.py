"""Folders as they are looked at before it is known what they hold: names alone, on any file system."""

import posixpath
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jobs.errors import BadRequest
from store.artefacts import ROOT_FILE
from store.filetypes import ENDINGS, HEAD, JUNK_FOLDERS, NO_IMAGES, UNREAD, ending, image_format, no_data, unread_format
from store.images import open_images
from store.locations import Location
from store.places import quoted

DEEPEST = 6
"""Levels of folders that are looked into for a first image."""

ODD_FILES = 3
"""Files of a folder that are opened where no name says image."""


@dataclass(eq=False)
class Folder:
    """A folder, and what lies in it."""

    fs: Any
    path: str
    depth: int = 0
    _opened: dict[str, "Folder"] = field(default_factory=dict)

    @cached_property
    def _entries(self) -> tuple[list[str], list[str]]:
        """Names of folders and of files; of what is no data whatever it holds, none."""
        folders, files = [], []
        for info in self.fs.ls(self.path, detail=True):
            path = info["name"].rstrip("/")
            name = posixpath.basename(path)
            if path.strip("/") == self.path.strip("/") or name.startswith("."):
                continue
            is_folder = info["type"] == "directory" or (info.get("islink") and self.fs.isdir(path))
            if is_folder and name.lower() not in JUNK_FOLDERS:
                folders.append(name)
            elif not is_folder and no_data(name) is None:
                files.append(name)
        return sorted(folders), sorted(files)

    @property
    def folders(self) -> list[str]:
        """Names of the folders in it."""
        return self._entries[0]

    @property
    def files(self) -> list[str]:
        """Names of its files."""
        return self._entries[1]

    def open(self, name: str) -> "Folder":
        """A folder in it."""
        if name not in self._opened:
            self._opened[name] = Folder(self.fs, f"{self.path}/{name}", self.depth + 1)
        return self._opened[name]

    @cached_property
    def some_images(self) -> list[str]:
        """Names of its files that are images, or were meant to be; where no name says so, of a few that are opened."""
        named = [name for name in self.files if ending(name) in (*ENDINGS, *UNREAD)]
        odd = [name for name in self.files if ending(name) not in (*ENDINGS, *UNREAD, *NO_IMAGES)]
        if named or not odd:
            return named
        paths = [f"{self.path}/{name}" for name in odd[:ODD_FILES]]
        heads = self.fs.cat_ranges(paths, [0] * len(paths), [HEAD] * len(paths), on_error="return")
        return [
            name
            for name, head in zip(odd, heads, strict=False)
            if isinstance(head, bytes) and (image_format(head) or unread_format(head))
        ]

    @property
    def images(self) -> int:
        """How many of its files are known for images by their names, or by their first bytes."""
        return len(self.some_images)

    @cached_property
    def filled(self) -> list[str]:
        """Names of the folders in it that hold images, at whatever depth."""
        if self.depth > DEEPEST:
            return []
        inside = {name: self.open(name) for name in self.folders}
        return [
            name for name, inner in inside.items() if ROOT_FILE not in inner.files and (inner.images or inner.filled)
        ]

    def count(self) -> int:
        """How many images it holds, at whatever depth."""
        deeper = (self.open(name).count() for name in self.folders) if self.depth <= DEEPEST else ()
        return self.images + sum(deeper)

    def classes(self) -> list[str]:
        """The same, as class folders; raises: BadRequest where a root of dkvb lies beside them."""
        for name in self.folders:
            if ROOT_FILE in self.open(name).files:
                raise BadRequest(
                    f"{self.path}/{name}: is a root that dkvb made, and lies where it would be taken for a class of "
                    "images; move it elsewhere"
                )
        return self.filled


def open_tree(location: str) -> Folder:
    """The folder at a path or an address; raises: ImagesMissing; BadRequest for a file, or for a root of dkvb."""
    place = Location(open_images("folder", location, pattern="").source)
    if place.fs.isfile(place.root):
        above, _, name = location.rstrip("/").rpartition("/")
        remedy = f"give the folder that holds it, {above or '.'}"
        if ending(name) not in ("tar", "parquet"):
            remedy = "give a folder that holds images, or files of them (.tar, .parquet), unpacked"
        raise BadRequest(f"{location}: is a file, expected a folder of images; {remedy}")
    if not place.fs.isdir(place.root):
        raise place.missing(f"folder {place.root!r}")
    top = Folder(place.fs, place.root)
    if ROOT_FILE in top.files:
        raise BadRequest(
            f"{location}: is a root that dkvb made, and no folder of images; "
            f"`dkvb status {quoted(location)}` looks at it"
        )
    return top
