"""Images: one interface to data sets of several kinds. What a set holds, and which
items are refused, is found once; it is read shard by shard.

    images = open_images("webdataset", "s3://bucket/imagenet", pattern="imagenet1k-train-{0000..1023}.tar")
    manifest = images.scan(on_error="fail")
    for item in images.read(manifest.shards[0]): ...

`scan` decodes no image; `read` yields what `scan` counted, in the same order and at the same positions.
"""

import difflib
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from PIL import Image

from store.decoding import PLAIN, Decoding, decode
from store.errors import ImageDataError, ImageSourceError, ShardChanged
from store.locations import Location, ShardFile, Source, check_inside
from store.manifest import Manifest, Shard
from store.readers import make_reader
from store.samples import Entry, LeftAlone, Problem, Reader, Sample

__all__ = ["KINDS", "Decoding", "Images", "Item", "Manifest", "Problem", "Shard", "ShardFile", "open_images"]

KINDS = ("folder", "webdataset", "parquet", "cifar10", "cifar100", "digits")
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


def open_images(
    kind: str,
    location: str,
    *,
    pattern: str,
    shard_items: int = 1000,
    class_file: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> "Images":
    """An image data set; nothing of it is opened yet.

    kind: one of KINDS.
    location: a folder as path or fsspec URL; for CIFAR a local one; ignored for digits.
    pattern: "folder": the subfolder that holds the class folders, or ""; "webdataset" and "parquet": the files,
        as glob or brace range `train-{0000..1023}.tar`; "cifar10", "cifar100" and "digits": "train" or "test"
        (every fifth of the digits is test).
    shard_items: items in a shard where the kind has no shards of its own.
    class_file: "webdataset" and "parquet" only: a file below the location with one class name per line, or
        `wnid<TAB>name, synonyms`; its line number is the label. Class names in the Parquet files take precedence.
    columns: "parquet" only: names of the columns of the "image", the "label", or both.
    raises: ImageSourceError when these do not fit together.
    """
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ImageSourceError(f"unknown kind of images {kind!r}; {hint}expected one of {', '.join(KINDS)}")
    if kind in ("webdataset", "parquet"):
        if not pattern:
            raise ImageSourceError(f"{kind} images: the pattern is empty; give a glob or a brace range")
    elif class_file is not None:
        raise ImageSourceError(f"{kind} images bring their class names; leave out class_file {class_file!r}")
    if kind in ("cifar10", "cifar100", "digits") and pattern not in ("train", "test"):
        raise ImageSourceError(f"{kind} images: pattern is {pattern!r}; expected 'train' or 'test'")
    for name in (pattern, class_file or ""):
        check_inside(name)
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
    )
    return Images(source)


class Images:
    """An image data set, made by `open_images`; it is pickled as its description alone, whatever is open."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __reduce__(self) -> tuple[type["Images"], tuple[Source]]:
        return Images, (self.source,)

    @cached_property
    def _reader(self) -> Reader:
        return make_reader(Location(self.source))

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
        survey = self._reader.survey()
        classes = self._reader.classes()
        scanned = [self._scan_shard(name, classes) for name in survey.shards]
        shards = tuple(each.shard for each in scanned if each.shard.items)
        problems = [*survey.problems, *(problem for each in scanned for problem in each.problems)]
        left_alone = sum((each.left_alone for each in scanned), Counter(survey.left_alone))
        if problems and on_error == "fail":
            raise ImageDataError(self._report(problems, 'Fix them, or set on_error = "skip" to go on without them.'))
        if not shards:
            raise ImageDataError(self._report(problems, "Nothing is left to read: check the kind and the files."))
        if classes is None:
            last = max(max(shard.labels) for shard in shards)
            classes = tuple(str(label) for label in range(last + 1))
        return Manifest(
            classes=classes,
            shards=shards,
            problems=tuple(problems),
            left_alone=dict(sorted(left_alone.items())),
            columns=self._reader.columns(),
        )

    def read(self, shard: Shard, how: Decoding = PLAIN) -> Iterator[Item]:
        """The items of a shard, exactly those that the scan counted and in their order; images are RGB.

        how: how orientation and transparency are treated.
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
            if index == shard.items or label != shard.labels[index]:
                raise self._changed(shard, index, note)
            keys.update(_key_bytes(sample.key))
            made = decode(sample.pixels, how)
            yield Item(
                index=index,
                key=sample.key,
                label=label,
                image=made.image,
                problem="; ".join(text for text in (fault, made.problem) if text) or None,
                lost=made.lost,
                content=_content(sample.pixels),
            )
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
            for sample in self._reader.samples(name, pixels=False):
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
            labels, item_keys, problems = [], [], [Problem(name, "", f"unreadable: {error}")]
        if not labels and not problems:
            problems.append(Problem(name, "", "holds no items"))
        files = _files_digest(self._reader.files(name)) if labels else ""
        keys = _key_digest()
        for key in item_keys:
            keys.update(_key_bytes(key))
        shard = Shard(name=name, labels=tuple(labels), keys=keys.hexdigest(), files=files, item_keys=tuple(item_keys))
        return _Scanned(shard, problems, left_alone)

    def _samples(self, name: str) -> Iterator[Entry]:
        try:
            yield from self._reader.samples(name, pixels=True)
        except FileNotFoundError as error:
            raise ShardChanged(f"{self}: shard {name!r} lost a file since the scan: {error}") from error
        except (ConnectionError, TimeoutError):
            raise
        except (OSError, ImageDataError) as error:
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
