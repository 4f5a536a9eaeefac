"""Layouts: where in a folder images lie, and in which form, told by names of folders and files. No image is opened."""

import fnmatch
import glob
import posixpath
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from jobs.begin.tree import Folder, open_tree
from jobs.errors import BadRequest
from jobs.printable import number
from store.locations import some
from store.names import one_form

Word = Literal["train", "test", "validation"]

WORDS: dict[str, Word] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "validation"),
}
"""Words in names by which splits are known."""

CLASS_FILES = ("classnames.txt", "classes.txt", "class_names.txt", "labels.txt")
"""Names by which a file of class names beside tars is known, the first that is there."""

TEST_SHARE = 0.2
"""Of images that come without a test split: that of the digits, and of most that are published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """In which form images lie: what `[images]` of a spec says of them."""

    kind: str
    train: str = "train"
    test: str | None = "test"
    """None: part of `train` is held out."""
    classes: str | None = None
    about: str
    """In words, for people."""
    why: str = ""
    """Why these are the splits, where it is not plain."""
    unused: tuple[str, ...] = ()
    """What lies beside them and is part of neither: folders, with how many images they hold, and files."""

    @property
    def table(self) -> dict[str, object]:
        """The table `[images]`, without keys that say what is the case anyway."""
        published = self.kind in ("cifar10", "cifar100")
        test: dict[str, object] = {"test_share": TEST_SHARE} if self.test is None else {"test": self.test}
        splits = {} if published else {"train": self.train, **test}
        return {"kind": self.kind, **splits, **({"classes": self.classes} if self.classes else {})}


def find_layout(location: str) -> Layout:
    """The layout of the images at a location, a folder or an address.

    raises: BadRequest saying what is there, and what to do, where it is none of those that are known; ImagesMissing for
        a location that is not there.
    """
    top = open_tree(location)
    for name, kind in (("cifar-10-batches-py", "cifar10"), ("cifar-100-python", "cifar100")):
        if name in top.folders:
            return Layout(kind=kind, about=f"{kind.upper().replace('R', 'R-')} as published ({name})")
        if posixpath.basename(top.path) == name:
            raise BadRequest(f"{location}: is what CIFAR's archive unpacks to; give the folder that holds it")
    place, where = _descend(top, "")
    if (split := _split_folders(place, where)) is not None:
        return replace(split, unused=_beside(top, {split.train, split.test or split.train}))
    if len(place.filled) > 1:
        place.classes()
        for name in place.filled:
            _check_class(place, where, name)
        return Layout(
            kind="folder",
            train=where,
            test=None,
            about=f"class folders{_in(where)}",
            why="there are no folders of splits",
            unused=_beside(top, {where}) if where else (),
        )
    if (shards := _shards(top)) is not None:
        return shards
    raise BadRequest(f"{location}: {_what_is_there(place, where)}")


def _check_class(folder: Folder, where: str, name: str) -> None:
    """Whether a class folder is none of splits; raises: BadRequest."""
    split = _split_folders(folder.open(name), _below(where, name))
    if split is not None and split.test is not None:
        others = [other for other in folder.filled if other != name]
        raise BadRequest(
            f"{folder.path}: {name} holds folders of splits ({split.train}, {split.test}), and {some(others)} beside "
            f"it would be another class; give {folder.path}/{name}, or move the rest elsewhere"
        )


def _beside(folder: Folder, used: Collection[str | None], where: str = "") -> tuple[str, ...]:
    """What lies beside the folders and files that are used, at the levels down to them."""
    found = [path for name in folder.files if (path := _below(where, name)) not in used]
    for name in folder.folders:
        path, inner = _below(where, name), folder.open(name)
        if path in used:
            continue
        if any(one is not None and one.startswith(f"{path}/") for one in used):
            found += _beside(inner, used, path)
        else:
            found.append(f"{path}/ ({number(inner.count(), 'image', 'images')})")
    return tuple(found)


def word_of(name: str) -> Word | None:
    """Which split a path is of, by the words of its last name that has one: seg_train, data/val2017.tar."""
    for base in reversed(name.lower().split("/")):
        if found := [WORDS[part] for part in re.split(r"[^a-z]+", base) if part in WORDS]:
            return found[0]
    return None


def _in(where: str) -> str:
    return f" in {where}" if where else ""


def _below(where: str, name: str) -> str:
    return f"{where}/{name}" if where else name


def _descend(folder: Folder, where: str) -> tuple[Folder, str]:
    """Into folders that hold nothing but one folder, as archives unpack to, until there is a choice."""
    while len(folder.filled) == 1 and not folder.images and (inner := folder.open(folder.filled[0])).filled:
        folder, where = inner, _below(where, folder.filled[0])
    return folder, where


def _split_folders(folder: Folder, where: str) -> Layout | None:
    """Folders for splits that hold class folders; None where there is none to train on."""
    found: dict[Word, tuple[Folder, str]] = {}
    flat: dict[Word, str] = {}
    for name in folder.filled:
        word = word_of(name)
        if word is None:
            continue
        inner, path = _descend(folder.open(name), _below(where, name))
        if not inner.filled:
            flat[word] = _below(where, name)
        elif word in found:
            raise BadRequest(
                f"{folder.path}: {found[word][1]!r} and {path!r} may both be the {word} split; give a folder that "
                "holds one of them"
            )
        else:
            found[word] = inner, path
    if "train" in flat and len(flat) > 1:
        raise BadRequest(f"{folder.path}: {_unsorted(folder.open(posixpath.basename(flat['train'])), flat['train'])}")
    if "train" not in found:
        return None
    train, path = found["train"]
    for split, _ in found.values():
        split.classes()
    notes: list[str] = []
    for word in ("test", "validation"):
        if word not in found:
            continue
        tested, test_path = found[word]
        if odd := sorted({*map(one_form, tested.filled)} ^ {*map(one_form, train.filled)}):
            notes.append(f"{test_path} has other class folders than {path} ({some(odd)})")
            continue
        return Layout(
            kind="folder",
            train=path,
            test=test_path,
            about=f"class folders in {path} and {test_path}",
            why="; ".join(notes),
        )
    notes += [f"{some([*flat.values()])} holds images without class folders"] if flat else []
    why = "; ".join(notes) or f"beside {path} there is no folder to test on"
    return Layout(kind="folder", train=path, test=None, about=f"class folders in {path}", why=why)


def _what_is_there(folder: Folder, where: str) -> str:
    """Why a folder is no set of images, and what to do."""
    inside = f"{where}: " if where else ""
    if folder.images:
        return _unsorted(folder, where)
    if folder.filled:
        return (
            f"{inside}one folder of images ({folder.filled[0]}), which would be the only class: a classifier needs "
            "two or more, a folder for each"
        )
    there = sorted([*(f"{name}/" for name in folder.folders), *folder.files])
    packed = [name for name in folder.files if re.search(r"\.(zip|tgz|tar\.\w+|7z|rar)$", name.lower())]
    remedy = (
        f"unpack {packed[0]} first" if packed else "expected a folder for each class, .tar shards or .parquet files"
    )
    return f"{inside}found no images: the folder holds {some(there) if there else 'nothing'}; {remedy}"


def _unsorted(folder: Folder, where: str) -> str:
    """Why images that lie in no class folder cannot be used, and what to do."""
    inside = f"{where}: " if where else ""
    return (
        f"{inside}{folder.images} images lie in no class folder ({some(folder.some_images)}), and nothing says of "
        "which class they are; put the images of each class into a folder with its name, such as cat/1.jpg, and give "
        "the folder that holds these"
    )


def _shards(top: Folder) -> Layout | None:
    """Files of many images, tars or Parquet; None where there are none."""
    kinds = {kind: [*_files(top, ending)] for kind, ending in (("webdataset", ".tar"), ("parquet", ".parquet"))}
    if all(kinds.values()):
        raise BadRequest(
            f"{top.path}: holds {len(kinds['webdataset'])} .tar and {len(kinds['parquet'])} .parquet files; give a "
            "folder that holds one kind"
        )
    for kind, files in kinds.items():
        if files:
            return _shard_layout(top, kind, files)
    return None


def _files(folder: Folder, ending: str, where: str = "") -> Iterator[str]:
    """Paths of the files with an ending, in this folder and those in it."""
    yield from (_below(where, name) for name in folder.files if name.lower().endswith(ending))
    for name in folder.folders:
        if where.count("/") < 2:
            yield from _files(folder.open(name), ending, _below(where, name))


def _shard_layout(top: Folder, kind: str, files: Sequence[str]) -> Layout:
    words: dict[Word | None, list[str]] = {}
    for file in sorted(files):
        words.setdefault(word_of(file), []).append(file)
    classes = next((name for name in CLASS_FILES if name in top.files), None) if kind == "webdataset" else None
    about = f"{len(files)} {'WebDataset tars' if kind == 'webdataset' else 'Parquet files'}"
    test: Word | None = next((word for word in ("test", "validation") if word in words), None)
    if "train" not in words or test is None:
        train = words.get("train", list(files))
        why = "no name of a file says train" if "train" not in words else "no name of a file says test or validation"
        return Layout(
            kind=kind,
            train=_pattern(top.path, train, files),
            test=None,
            classes=classes,
            about=about,
            why=why,
            unused=_beside(top, {*train, classes}),
        )
    return Layout(
        kind=kind,
        train=_pattern(top.path, words["train"], files),
        test=_pattern(top.path, words[test], files),
        classes=classes,
        about=about,
        unused=_beside(top, {*words["train"], *words[test], classes}),
    )


def _pattern(location: str, chosen: Sequence[str], files: Sequence[str]) -> str:
    """A glob that matches some of these files and no other; raises: BadRequest where there is none."""
    if len(chosen) == 1:
        return glob.escape(chosen[0])
    first, last = posixpath.commonprefix(chosen), posixpath.commonprefix([name[::-1] for name in chosen])[::-1]
    short = re.sub(r"\d+$", "", first)
    ending = f".{chosen[0].rpartition('.')[2]}"
    for begin, end in ((short, ending), (short, last), (first, last)):
        pattern = f"{glob.escape(begin)}*{glob.escape(end)}"
        levels = pattern.count("/")
        matched = {name for name in files if name.count("/") == levels and fnmatch.fnmatchcase(name, pattern)}
        if matched == {*chosen}:
            return pattern
    raise BadRequest(
        f"{location}: no one pattern stands for {some(chosen)} and for no other file; put the files of each split into "
        "a folder of its own, train and test"
    )
