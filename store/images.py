"""Images: one interface to data sets of several kinds. What a set holds, and which
items are refused, is found once; it is read shard by shard.

    images = open_images("webdataset", "s3://bucket/imagenet", pattern="imagenet1k-train-{0000..1023}.tar")
    manifest = images.scan(on_error="fail")
    for item in images.read(manifest.shards[0]): ...

`scan` decodes no image; `read` yields what `scan` counted, in the same order and at the same positions.
"""

import difflib
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from store.decoding import PLAIN, Decoding, Load, by_pillow, decode
from store.errors import ImageDataError, ImageSourceError, ShardChanged
from store.hub import raise_refusal
from store.locations import Location, ShardFile, Source, check_inside
from store.manifest import FORGOTTEN, Manifest, Shard
from store.parts import Part
from store.readers import make_reader
from store.samples import Entry, LeftAlone, Problem, Reader, Sample, Survey

__all__ = [
    "KINDS",
    "Decoding",
    "Encoded",
    "Images",
    "Item",
    "Manifest",
    "Part",
    "Problem",
    "Shard",
    "ShardFile",
    "open_images",
]

PUBLISHED = ("cifar10", "cifar100", "digits")
"""Kinds that come as pixels, in two splits."""
KINDS = ("folder", "webdataset", "parquet", *PUBLISHED)
MOST_CLASSES = 1_000_000  # without class names a larger label is taken for a broken one
PROBLEMS_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item as it is read: its position and its key in the shard, its label and its RGB image.

    image: None when it cannot be decoded; label: -1 when missing or outside the classes; `problem` says why.
    lost: what of it RGB pixels do not hold (`store.decoding.Decoded`).
    content: 8 bytes of BLAKE2 of its encoded bytes, which copies have in common; b"" where there are none.
    """

    index: int
    key: str
    label: int
    image: Image.Image | None
    problem: str | None
    lost: tuple[str, ...] = ()
    content: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One item as it was read, before its image is decoded."""

    index: int
    """Its position in the shard."""
    key: str
    label: int
    """-1 when missing or outside the classes; then `fault` says why."""
    fault: str | None
    pixels: bytes | NDArray[np.uint8] | None
    """Encoded bytes, or (h, w) or (h, w, 3) uint8; None where there are none."""

    def decoded(self, how: Decoding = PLAIN, load: Load = by_pillow) -> Item:
        """The item with its image; any number of threads may decode items of one shard.

        how: how orientation and transparency are treated; load: by what pixels are read.
        """
        made = decode(self.pixels, how, load)
        return Item(
            index=self.index,
            key=self.key,
            label=self.label,
            image=made.image,
            problem="; ".join(text for text in (self.fault, made.problem) if text) or None,
            lost=made.lost,
            content=_content(self.pixels),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What was found of a data set in a given time."""

    manifest: Manifest
    """Of the shards that were read."""
    read: int
    """How many shards these are, of so many:"""
    shards: int
    bytes: int
    """Of all files."""
    bytes_read: int
    """Of the files of the shards that were read."""

    @property
    def whole(self) -> bool:
        """Whether all of it was read."""
        return self.read == self.shards

    @property
    def items(self) -> int:
        """How many items there are; where not all was read, as many for each byte as in what was."""
        if self.whole:
            return self.manifest.items
        return round(self.manifest.items * self.bytes / max(1, self.bytes_read))


def open_images(
    kind: str,
    location: str,
    *,
    pattern: str,
    shard_items: int = 1000,
    class_file: str | None = None,
    columns: Mapping[str, str] | None = None,
    part: Part | None = None,
    reader: Callable[[Location], Reader] | None = None,
) -> "Images":
    """An image data set; nothing of it is opened yet.

    kind: one of KINDS, or another name with a reader.
    location: a folder as path or fsspec URL; for CIFAR a local one; ignored for digits.
    pattern: "folder": the subfolder that holds the class folders, or ""; "webdataset" and "parquet": the files,
        as glob or brace range `train-{0000..1023}.tar`; "cifar10", "cifar100" and "digits": "train" or "test"
        (every fifth of the digits is test).
    shard_items: items in a shard where the kind has no shards of its own.
    class_file: not of "folder", CIFAR and digits: a file below the location with one class name per line, or
        `wnid<TAB>name, synonyms`; its line number is the label. Class names in the Parquet files take precedence.
    columns: "parquet" only: names of the columns of the "image", the "label", or both.
    part: the part of a set that comes without splits; not of CIFAR and digits, which have them.
    reader: makes the reader of a kind that is not ours, which judges the pattern; picklable where the images are to be.
    raises: ImageSourceError when these do not fit together.
    """
    if reader is not None and kind in KINDS:
        raise ImageSourceError(f"{kind} images have a reader; give the other one another kind")
    if reader is None and kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ImageSourceError(f"unknown kind of images {kind!r}; {hint}expected one of {', '.join(KINDS)}")
    if kind in ("webdataset", "parquet"):
        if not pattern:
            raise ImageSourceError(f"{kind} images: the pattern is empty; give a glob or a brace range")
    elif reader is None and class_file is not None:
        raise ImageSourceError(f"{kind} images bring their class names; leave out class_file {class_file!r}")
    if kind in PUBLISHED and pattern not in ("train", "test"):
        raise ImageSourceError(f"{kind} images: pattern is {pattern!r}; expected 'train' or 'test'")
    for name in (pattern, class_file or ""):
        check_inside(name)
    if part is not None and kind in PUBLISHED:
        raise ImageSourceError(f"{kind} images come in two splits; leave out test_share")
    if shard_items < 1:
        raise ImageSourceError(f"{kind} images: shard_items is {shard_items}; expected 1 or more")
    if columns and kind != "parquet":
        raise ImageSourceError(f"{kind} images have no columns; leave out {' and '.join(sorted(columns))}")
    location = "" if kind == "digits" else location
    named = columns or {}
    source = Source(
        kind=kind,
        location=location,
        pattern=pattern,
        shard_items=shard_items,
        class_file=class_file,
        image=named.get("image"),
        label=named.get("label"),
        part=part,
    )
    return Images(source, reader or make_reader)


class Images:
    """An image data set, made by `open_images`; it is pickled as its description alone, whatever is open."""

    def __init__(self, source: Source, make: Callable[[Location], Reader] = make_reader) -> None:
        self.source, self._make = source, make

    def __reduce__(self) -> tuple[type["Images"], tuple[Source, Callable[[Location], Reader]]]:
        return Images, (self.source, self._make)

    @cached_property
    def _reader(self) -> Reader:
        return self._make(Location(self.source))

    def listing(self) -> list[ShardFile]:
        """Every file that decides what the data set is, in order, by names and sizes alone: what a digest is made of.

        raises: ImagesMissing.
        """
        return self._reader.listing()

    def paths(self) -> list[str]:
        """The full path of every file that holds items, links followed; none where splits come in one archive.

        raises: ImagesMissing.
        """
        return self._reader.paths()

    def scan(self, *, on_error: Literal["fail", "skip"]) -> Manifest:
        """Count the items and labels of all shards without decoding an image.

        on_error: "fail" raises when anything is wrong; "skip" leaves it out, or keeps it with label -1 where the
            image is there, and lists it in the manifest's problems.
        raises: ImagesMissing; ImageDataError naming what is wrong, which with "skip" means that nothing is left.
        """
        if on_error not in ("fail", "skip"):
            raise ImageSourceError(f"on_error is {on_error!r}; expected 'fail' or 'skip'")
        survey, classes = self._reader.survey(), self._reader.classes()
        found = self._manifest(survey, classes, [self._scan_shard(name, classes) for name in survey.shards])
        if found.problems and on_error == "fail":
            remedy = 'Fix them, or set on_error = "skip" to go on without them.'
            raise ImageDataError(self._report(found.problems, remedy))
        if not found.shards:
            raise ImageDataError(self._report(found.problems, "Nothing is left to read: check the kind and the files."))
        return found

    def glance(self, seconds: float) -> Glance:
        """Scan as many shards as can be begun within some seconds, one at least; what is wrong is listed, not raised.

        raises: ImagesMissing; ImageSourceError.
        """
        began, files = time.monotonic(), self._reader.listing()
        survey, classes, scanned = self._reader.survey(), self._reader.classes(), list[_Scanned]()
        while len(scanned) < len(survey.shards) and (not scanned or time.monotonic() - began < seconds):
            scanned.append(self._scan_shard(survey.shards[len(scanned)], classes))
        read = survey.shards[: len(scanned)]
        return Glance(
            manifest=self._manifest(survey, classes, scanned),
            read=len(read),
            shards=len(survey.shards),
            bytes=sum(file.bytes for file in files),
            bytes_read=sum(file.bytes for name in read for file in self._reader.files(name)),
        )

    def _manifest(self, survey: Survey, classes: tuple[str, ...] | None, scanned: "Sequence[_Scanned]") -> Manifest:
        """What was found in some shards, and in none of them."""
        shards = tuple(each.shard for each in scanned if each.shard.items)
        if classes is None:
            last = max((max(shard.labels) for shard in shards), default=-1)
            classes = tuple(str(label) for label in range(last + 1))
        left_alone = sum((each.left_alone for each in scanned), Counter(survey.left_alone))
        return Manifest(
            classes=classes,
            shards=shards,
            problems=(*survey.problems, *(problem for each in scanned for problem in each.problems)),
            left_alone=dict(sorted(left_alone.items())),
            columns=self._reader.columns(),
        )

    def read(self, shard: Shard, how: Decoding = PLAIN) -> Iterator[Item]:
        """The items of a shard, exactly those that the scan counted and in their order; images are RGB.

        how: how orientation and transparency are treated.
        raises: as `encoded`.
        """
        for item in self.encoded(shard):
            yield item.decoded(how)

    def encoded(self, shard: Shard) -> Iterator[Encoded]:
        """The same items, each still to be decoded; to be read by one thread.

        raises: ShardChanged when the shard holds other items than at the scan; ImageDataError when a part of a
            parquet file can no longer be read.
        """
        classes, keys, index, note = self._reader.classes(), _key_digest(), 0, ""
        for sample in self._samples(shard.name):
            if isinstance(sample, Problem):
                note = f" ({sample.item or sample.shard}: {sample.reason})"
            if not isinstance(sample, Sample):
                continue
            label, fault = _judged(sample, classes)
            if index == shard.items or shard.labels[index] not in (label, FORGOTTEN):
                raise self._changed(shard, index, note)
            keys.update(_key_bytes(sample.key))
            yield Encoded(index=index, key=sample.key, label=label, fault=fault, pixels=sample.pixels)
            index += 1
        if index < shard.items or keys.hexdigest() != shard.keys:
            raise self._changed(shard, index, note)

    def _changed(self, shard: Shard, index: int, note: str) -> ShardChanged:
        """The error for a shard that no longer holds what was scanned."""
        return ShardChanged(
            f"{self}: shard {shard.name!r} is not the one that was scanned: its items differ from the "
            f"{shard.items} of the manifest at or before position {index}{note}. Scan the data set again."
        )

    def _scan_shard(self, name: str, classes: tuple[str, ...] | None) -> "_Scanned":
        labels, item_keys, problems, left_alone = list[int](), list[str](), list[Problem](), Counter[str]()
        try:
            for sample in self._entries(name, pixels=False):
                if isinstance(sample, LeftAlone):
                    left_alone[sample.kind] += 1
                    continue
                if isinstance(sample, Problem):
                    problems.append(sample)
                    continue
                label, fault = _judged(sample, classes)
                labels.append(label)
                item_keys.append(sample.key)
                if fault:
                    problems.append(Problem(name, sample.key, fault))
        except (ConnectionError, TimeoutError):
            raise  # a failing network says nothing about the shard
        except (OSError, ImageDataError) as error:
            raise_refusal(self.source.location, error)
            labels, item_keys, problems = [], [], [Problem(name, "", f"unreadable: {error}")]
        if not labels and not problems and self.source.part is None:
            problems.append(Problem(name, "", "holds no items"))
        files = _files_digest(self._reader.files(name)) if labels else ""
        keys = _key_digest()
        for key in item_keys:
            keys.update(_key_bytes(key))
        shard = Shard(name=name, labels=tuple(labels), keys=keys.hexdigest(), files=files, item_keys=tuple(item_keys))
        return _Scanned(shard, problems, left_alone)

    def _entries(self, name: str, *, pixels: bool) -> Iterator[Entry]:
        """What a shard holds; of files that hold items of both parts, those of this part."""
        part = None if self.source.kind == "folder" else self.source.part
        for entry in self._reader.samples(name, pixels=pixels):
            if part is None or not isinstance(entry, Sample) or part.holds(f"{name}#{entry.key}"):
                yield entry

    def _samples(self, name: str) -> Iterator[Entry]:
        try:
            yield from self._entries(name, pixels=True)
        except FileNotFoundError as error:
            raise ShardChanged(f"{self}: shard {name!r} lost a file since the scan: {error}") from error
        except (ConnectionError, TimeoutError):
            raise
        except (OSError, ImageDataError) as error:
            raise_refusal(self.source.location, error)
            raise ImageDataError(f"{self}: shard {name!r} cannot be read: {error}") from error

    def __str__(self) -> str:
        return f"{self.source.kind} images at {self.source.location!r} (pattern {self.source.pattern!r})"

    def _report(self, problems: Sequence[Problem], remedy: str) -> str:
        lines = [f"  {': '.join(filter(None, (p.shard, p.item, p.reason)))}" for p in problems[:PROBLEMS_SHOWN]]
        if len(problems) > PROBLEMS_SHOWN:
            lines.append(f"  and {len(problems) - PROBLEMS_SHOWN} more")
        noun = "problem" if len(problems) == 1 else "problems"
        return "\n".join([f"{self}: {len(problems)} {noun}", *lines, remedy])


@dataclass(frozen=True, slots=True)
class _Scanned:
    """A shard as a scan found it, its problems, and how many of its members are no data, by kind."""

    shard: Shard
    problems: list[Problem]
    left_alone: Counter[str]


def _judged(sample: Sample, classes: tuple[str, ...] | None) -> tuple[int, str | None]:
    """The label and None, or -1 and what is wrong with it."""
    if sample.label is None:
        return -1, sample.fault
    most = MOST_CLASSES if classes is None else len(classes)
    if 0 <= sample.label < most:
        return sample.label, None
    return -1, f"label {sample.label} is outside the classes 0 to {most - 1}"


def _key_digest() -> "hashlib.blake2b":
    return hashlib.blake2b(digest_size=16)


def _key_bytes(key: str) -> bytes:
    return key.encode(errors="surrogateescape") + b"\0"


def _files_digest(files: Sequence[ShardFile]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        digest.update(_key_bytes(file.name) + b"%d\0" % file.bytes)
    return digest.hexdigest()


def _content(pixels: Any) -> bytes:
    return b"" if pixels is None else hashlib.blake2b(bytes(pixels), digest_size=8).digest()
