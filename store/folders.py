"""Class folders of image files, cut into shards in path order (folder by folder, as torchvision does)."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from store.errors import ImageDataError
from store.filetypes import (
    ENDINGS,
    HEAD,
    JUNK_FOLDERS,
    NO_IMAGES,
    UNREAD,
    by_ending,
    ending,
    image_format,
    no_data,
    unread_format,
)
from store.locations import Location, ShardFile
from store.names import one_form, points
from store.samples import Entry, LeftAlone, Problem, Sample, Survey

TOGETHER = 32
"""Images that are asked for at once: a store far away answers each as slowly as all of them."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What was found below a folder of class folders."""

    classes: tuple[str, ...]
    images: list[ShardFile]
    strays: list[Problem]
    left_alone: Counter[str]
    linked: frozenset[str]
    """Names of the images that are links."""


class FolderReader:
    """Class folders of image files; class names are folder names in Unicode's composed form."""

    def __init__(self, place: Location) -> None:
        self.place = place.inside(place.source.pattern)
        self._tree: Tree | None = None

    def listing(self) -> list[ShardFile]:
        """The images."""
        return self._look().images

    def paths(self) -> list[str]:
        """The images' full paths."""
        tree = self._tree or self._look()
        return [self.place.real(image.name, link=image.name in tree.linked) for image in tree.images]

    def files(self, shard: str) -> list[ShardFile]:
        """The images of a shard."""
        return (self._tree or self._look()).images[span(self.place.source.shard_items, shard)]

    def classes(self) -> tuple[str, ...]:
        """The class folders' names."""
        return (self._tree or self._look()).classes

    def columns(self) -> dict[str, str]:
        """No columns: there are none in folders."""
        return {}

    def survey(self) -> Survey:
        """The shards and what belongs to none, from a new look at the folders."""
        tree = self._look()
        shards = cut(self.place.source.kind, len(tree.images), self.place.source.shard_items)
        return Survey(shards=shards, problems=tree.strays, left_alone=dict(tree.left_alone))

    def samples(self, shard: str, *, pixels: bool) -> Iterator[Entry]:
        """The images of a shard, each labelled by its folder."""
        label = {name: index for index, name in enumerate(self.classes())}
        images = self.files(shard)
        for begin in range(0, len(images), TOGETHER):
            some = images[begin : begin + TOGETHER]
            for image, content in zip(some, self._contents(some) if pixels else repeat(None), strict=pixels):
                yield Sample(image.name, label[one_form(image.name.partition("/")[0])], content)

    def _contents(self, images: Sequence[ShardFile]) -> list[bytes]:
        paths, whole = [self.place.path(image.name) for image in images], [None] * len(images)
        found: list[bytes | Exception] = self.place.fs.cat_ranges(paths, whole, whole, on_error="return")
        if errors := [content for content in found if isinstance(content, Exception)]:
            raise errors[0]
        return [content for content in found if not isinstance(content, Exception)]

    def _look(self) -> Tree:
        fs, root = self.place.fs, self.place.root
        if not fs.isdir(root):
            raise self.place.missing(f"folder {root!r}")
        met = list(_met(self.place))
        left_alone = Counter(entry.kind for entry in met if isinstance(entry, LeftAlone))
        files = sorted((e for e in met if not isinstance(e, LeftAlone)), key=lambda info: info["name"].split("/"))
        # Files with an unknown ending are opened, all at once, as a store far away answers slowly.
        odd = {self.place.name(i["name"]): i["name"] for i in files if _is_odd(i) and fs.isfile(i["name"])}
        heads = _heads(fs, odd)
        images, strays, linked = list[ShardFile](), list[Problem](), set[str]()
        for info in files:
            name = self.place.name(info["name"])
            if (kind := _no_image(name, heads.get(name))) is not None:
                left_alone[kind] += 1
            elif problem := _problem(name, heads.get(name)):
                strays.append(problem)
            elif info["type"] != "file" and not fs.isfile(info["name"]):
                strays.append(Problem("", name, "not a regular file, or a broken link"))
            else:
                images.append(ShardFile(name=name, bytes=int(info["size"])))
                linked |= {name} if info.get("islink") else set()
        folders = sorted(self.place.name(info["name"]) for info in fs.ls(root, detail=True) if _is_folder(fs, info))
        classes = _classes([folder for folder in folders if folder and not _no_folder(folder)])
        filled = {one_form(image.name.partition("/")[0]) for image in images}
        strays += [Problem("", f"{folder}/", "no image in it") for folder in classes if folder not in filled]
        if not images:
            raise self.place.missing(f"image ({', '.join(ENDINGS)}) in class folders")
        if (part := self.place.source.part) is not None:
            chosen = part.chosen(image.name for image in images)
            images = [image for image in images if image.name in chosen]
        self._tree = Tree(classes, images, strays, left_alone, frozenset(linked))
        return self._tree


def _classes(folders: list[str]) -> tuple[str, ...]:
    """The class names of folders; raises: ImageDataError for a name in two Unicode forms, which look the same."""
    forms: dict[str, str] = {}
    for folder in folders:
        other = forms.setdefault(one_form(folder), folder)
        if other != folder:
            raise ImageDataError(
                f"two class folders have one name, {folder!r}, in two Unicode forms ({points(other)}; "
                f"{points(folder)}); put their images into one folder"
            )
    return tuple(sorted(forms))


def _no_folder(base: str) -> str | None:
    """The kind under which a folder that holds no data is counted."""
    if base.lower() in JUNK_FOLDERS:
        return f"{base} folders"
    return "hidden folders" if base.startswith(".") else None


def _no_image(name: str, head: bytes | None) -> str | None:
    """The kind under which a file that is no image is counted; None for one that is or was meant to be an image."""
    if ending(name) in (*ENDINGS, *UNREAD) or (head is not None and (image_format(head) or unread_format(head))):
        return None
    return by_ending(name)


def _problem(name: str, head: bytes | None) -> Problem | None:
    """What is wrong with an image by its type or its place; None where nothing is."""
    if ending(name) in UNREAD or (head is not None and unread_format(head)):
        kind = (head and unread_format(head)) or f".{ending(name)}"
        return Problem("", name, f"an image of a kind that is not read ({kind}): convert it, to PNG for example")
    return Problem("", name, "is not in a class folder") if "/" not in name else None


def _is_odd(info: Mapping[str, Any]) -> bool:
    """Whether a file's ending says nothing of what it is."""
    return ending(info["name"]) not in (*ENDINGS, *UNREAD, *NO_IMAGES)


def _heads(fs: Any, paths: Mapping[str, str]) -> dict[str, bytes]:
    """The first bytes of files, by name; raises: ImageDataError for one that cannot be read."""
    if not paths:
        return {}
    heads = fs.cat_ranges(list(paths.values()), [0] * len(paths), [HEAD] * len(paths), on_error="return")
    for name, head in zip(paths, heads, strict=True):
        if isinstance(head, (ConnectionError, TimeoutError)):
            raise head
        if isinstance(head, Exception):
            raise ImageDataError(f"{paths[name]}: cannot be read: {head}") from head
    return dict(zip(paths, map(bytes, heads), strict=True))


def _met(place: Location, folder: str = "", above: tuple[str, ...] = ()) -> Iterator[dict[str, Any] | LeftAlone]:
    """Every file that may be data, as fsspec lists it, and what is no data whatever it holds.

    A folder that is left alone is not entered. Unlike fsspec's walk this follows links and passes over no error.
    raises: ImageDataError for a link back to a folder above it, which would have no end.
    """
    fs, folder = place.fs, folder or place.root
    real = os.path.realpath(folder) if place.local else folder
    if real in above:
        raise ImageDataError(f"{folder}: a link that leads back to {real}; remove it")
    for info in fs.ls(folder, detail=True):
        path = info["name"].rstrip("/")
        if path == folder:  # object stores list a folder's own placeholder
            continue
        is_folder = _is_folder(fs, info)
        base = path.rpartition("/")[2]
        if kind := _no_folder(base) if is_folder else no_data(base):
            yield LeftAlone(kind)
        elif is_folder:
            yield from _met(place, path, (*above, real))
        else:
            yield info


def _is_folder(fs: Any, info: Mapping[str, Any]) -> bool:
    return info["type"] == "directory" or bool(info.get("islink") and fs.isdir(info["name"]))


def cut(kind: str, items: int, shard_items: int) -> list[str]:
    """Names of the shards that `items` are cut into."""
    return [f"{kind}-{index:05d}" for index in range(-(-items // shard_items))]


def span(shard_items: int, shard: str) -> slice:
    """The positions of a shard's items among all of them."""
    start = int(shard.rpartition("-")[2]) * shard_items
    return slice(start, start + shard_items)
