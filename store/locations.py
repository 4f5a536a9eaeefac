"""Locations of images: files below a place on any fsspec file system, and the class names beside them."""

import fnmatch
import glob
import os
import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from fsspec.core import url_to_fs

from store.errors import BadAddress, ImageDataError, ImagesMissing, ImageSourceError
from store.names import one_form
from store.parts import Part
from store.places import options

BRACE_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MOST_FILES = 1_000_000
"""Most names that a brace range may stand for: a typing error could fill the memory."""
NAMES_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The arguments of `open_images`, checked there."""

    kind: str
    location: str
    pattern: str
    shard_items: int
    class_file: str | None
    image: str | None = None
    """The column of images, if the user names it."""
    label: str | None = None
    """The column of labels, if the user names it."""
    part: Part | None = None
    """Which part of a set that comes in one piece; None: all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFile:
    """An unopened file: its name below the location and its size in bytes."""

    name: str
    bytes: int


class Location:
    """Files below a place on any fsspec file system; `root` is the path of a folder there."""

    def __init__(self, source: Source, folder: str = "") -> None:
        self.source = source
        self._parents: dict[str, str] = {}
        try:
            how = options(source.location)
            check_single(source.location)
            self.fs, root = url_to_fs(source.location, **how)
        except BadAddress:
            raise  # an address that may hold a password is not repeated in a message
        except ImageSourceError:
            raise
        except ValueError as error:
            raise ImageSourceError(f"location {source.location!r}: {error}") from error
        if self.fs.protocol == "hf":
            from store.hub import check_address

            check_address(self.fs, root, source.location)
        below = posixpath.normpath(folder.strip("/") or ".")  # "./train/" is "train"
        self.root: str = f"{root.rstrip('/')}/{'' if below == '.' else below}".rstrip("/")
        self.local = bool(getattr(self.fs, "local_file", False))

    def inside(self, folder: str) -> "Location":
        """The location of a folder below this one."""
        return Location(self.source, folder)

    def path(self, name: str) -> str:
        """The full path of a name below the root; raises: ImageSourceError for a name that leads out of it."""
        check_inside(name)
        return f"{self.root}/{name}"

    def real(self, name: str, *, link: bool) -> str:
        """The full path of a name with links followed, those of its folders too; link: whether it is itself a link."""
        path = posixpath.normpath(self.path(name))
        if not self.local:
            return path
        folder, base = posixpath.split(path)
        if folder not in self._parents:
            self._parents[folder] = os.path.realpath(folder)
        resolved = f"{self._parents[folder]}/{base}"
        return os.path.realpath(resolved) if link else resolved

    def name(self, path: str) -> str:
        """The name below the root of a full path."""
        return path.removeprefix(self.root).strip("/")

    def matches(self) -> dict[str, int]:
        """Files that match the pattern, in order, with their sizes; brace ranges in the order they count."""
        pattern, names = self.source.pattern, _expanded(self.source.pattern)
        # One listing instead of one look-up for each of a thousand shards.
        listed = self.fs.glob(f"{glob.escape(self.root)}/{BRACE_RANGE.sub('*', pattern)}", detail=True)
        sizes = {self.name(p): int(i["size"]) for p, i in sorted(listed.items()) if i["type"] != "directory"}
        # Without a brace range the glob decides: the * of fnmatch would cross folders.
        hits = {n: [n] if n in sizes else fnmatch.filter(sizes, n) for n in names}
        hits = hits if names != [pattern] else {pattern: list(sizes)}
        if absent := [name for name, matched in hits.items() if not matched]:
            raise self.missing(f"file {some(absent)}")
        return {name: sizes[name] for matched in hits.values() for name in matched}

    def missing(self, what: str) -> ImagesMissing:
        """The error for something missing: what was looked for, where, and what is there instead."""
        folder = self.root
        while folder.strip("/") and not self.fs.isdir(folder):
            folder = folder.rpartition("/")[0]
        folder = folder or "/"
        there = sorted(path.rstrip("/").rpartition("/")[2] for path in self.fs.ls(folder, detail=False))
        absent = self.root.removeprefix(folder).strip("/") or self.source.pattern
        near = [] if {*absent} & {*"{*?["} else get_close_matches(absent.partition("/")[0], there, n=1)
        return ImagesMissing(
            f"{self.source.kind} images at {self.source.location!r}: found no {what}; {folder!r} holds "
            f"{some(there) if there else 'nothing'}{f'; did you mean {near[0]!r}?' if near else '.'} "
            "Check location and pattern "
            "(--images; images.train, images.test and images.classes of the spec)."
        )

    def class_file(self) -> list[ShardFile]:
        """The file of class names, if there is one; raises: ImagesMissing."""
        name = self.source.class_file
        if name is None:
            return []
        if not self.fs.isfile(self.path(name)):
            raise self.missing(f"class file {name!r}")
        return [ShardFile(name=name, bytes=int(self.fs.size(self.path(name))))]

    @cached_property
    def named_classes(self) -> tuple[str, ...] | None:
        """The names in the class file, in the order of their labels; None without a class file."""
        for entry in self.class_file():
            try:
                return class_names(self.fs.cat_file(self.path(entry.name)).decode("utf-8-sig"))
            except UnicodeDecodeError as error:
                raise ImageDataError(f"class file {entry.name!r}: {error}; write it as UTF-8") from error
            except ImageDataError as error:
                raise ImageDataError(f"class file {entry.name!r}: {error}") from error
        return None


def check_single(location: str) -> None:
    """Check that a location is a single address, not a chain of them; raises: ImageSourceError."""
    if "::" in location and not Path(location).exists():
        raise ImageSourceError(
            f"location {location!r}: addresses chained by '::' are not followed; unpack or copy the images, and give "
            "the folder or the address that holds them"
        )


def check_inside(name: str) -> None:
    """Check that a name, or a pattern, stays below the location; raises: ImageSourceError."""
    if name.startswith("/") or ".." in name.split("/"):
        raise ImageSourceError(f"{name!r} points outside the images' location; name something below it")


def class_names(text: str) -> tuple[str, ...]:
    """Class names in Unicode's composed form, one per line: `name`, or `wnid<TAB>name, synonyms`.

    A name that occurs twice gets its wnid in parentheses. raises: ImageDataError for an empty or repeated name.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip().split("\n")
    rows = [one_form(line).rpartition("\t") for line in lines]
    names = [(name.partition(",")[0] if tab else name).strip() for _, tab, name in rows]
    count = Counter(names)
    full = [f"{n} ({r[0].strip()})" if n and r[1] and count[n] > 1 else n for n, r in zip(names, rows, strict=True)]
    count = Counter(full)
    for line, name in enumerate(full, start=1):
        if not name or count[name] > 1:
            raise ImageDataError(f"line {line}: the name {name!r} is empty or occurs twice; give each class one")
    return tuple(full)


def _expanded(pattern: str) -> list[str]:
    """Every name that a pattern's brace ranges stand for, zeros padded to the width of the first number."""
    braces = BRACE_RANGE.search(pattern)
    if not braces:
        return [pattern]
    first, last = braces.groups()
    if not 0 <= int(last) - int(first) < MOST_FILES:
        raise ImageSourceError(
            f"pattern {pattern!r}: the range {braces[0]} stands for {int(last) - int(first) + 1} names, expected 1 "
            f"to {MOST_FILES}"
        )
    numbers = [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    return [pattern[: braces.start()] + n + rest for n in numbers for rest in _expanded(pattern[braces.end() :])]


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
