"""Images counted before a run: how many of which class, what is left alone, and what a few of them look like."""

import io
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from statistics import median_low

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jobs.spec.images import ImagesSpec
from store.decoding import decode
from store.images import Glance
from store.locations import some

PATIENCE_S = 10.0
"""Seconds in which the shards of a split are counted; what takes longer is estimated from those that were read."""

LOOKED_AT = 64
"""Images that are opened, to see of what kind and size they are."""

FROM_SHARD = 8
"""Most of them that come from one shard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What the images of a spec hold."""

    train: Glance
    test: Glance
    in_one: bool
    """Whether both are parts of one set."""
    seconds: float
    """What counting took."""

    @property
    def whole(self) -> bool:
        """Whether every shard was read; otherwise numbers are estimates."""
        return self.train.whole and self.test.whole

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by label; where nothing names them and not all was read, as many as were met."""
        return max(self.train.manifest.classes, self.test.manifest.classes, key=len)

    @property
    def sizes(self) -> dict[str, int]:
        """Items of "train" and "test", and number of "classes"."""
        return {"train": self.train.items, "test": self.test.items, "classes": len(self.classes)}

    @property
    def unlabelled(self) -> int:
        """Items among them, where they were read, that have no label that can be used."""
        return self.train.manifest.unlabelled + self.test.manifest.unlabelled

    @property
    def problems(self) -> list[str]:
        """What is wrong, and where, each once."""
        met = dict.fromkeys((*self.train.manifest.problems, *self.test.manifest.problems))
        return [": ".join(filter(None, (problem.shard, problem.item, problem.reason))) for problem in met]

    @property
    def read(self) -> str:
        """How many of the files were read."""
        return f"{self.train.read + self.test.read} of {self.train.shards + self.test.shards} files"

    @property
    def left_out(self) -> str:
        """What is no data, by kind, in words; empty where all is."""
        return ", ".join(f"{number} {kind}" for kind, number in self.left_alone.items())

    @property
    def left_alone(self) -> Mapping[str, int]:
        """Files and members that are no data, by kind: those of both splits, or, of parts of one set, of that set."""
        train, test = (Counter(split.manifest.left_alone or {}) for split in (self.train, self.test))
        return dict(train if self.in_one else train + test)


def count(images: ImagesSpec, location: str, *, seconds: float = PATIENCE_S) -> Counted:
    """Count what a spec's images hold, each split for so many seconds at most; no image is decoded.

    raises: ImagesMissing; ImageSourceError.
    """
    began = time.monotonic()
    train, test = (images.split(split).open(location).glance(seconds) for split in ("train", "test"))
    in_one = images.test_share is not None
    return Counted(train=train, test=test, in_one=in_one, seconds=time.monotonic() - began)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What a few of the images look like."""

    formats: Mapping[str, int]
    """How many are of which format."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height of each that could be read, in pixels, by its shorter edge."""
    unreadable: tuple[str, ...]
    """Those that cannot be decoded, each with the reason."""

    @property
    def looked_at(self) -> int:
        """How many were opened."""
        return len(self.sizes) + len(self.unreadable)

    @property
    def edge(self) -> int | None:
        """Pixels of the shorter edge, the median; None where no image could be read."""
        return median_low(min(size) for size in self.sizes) if self.sizes else None

    def text(self) -> str:
        """In words."""
        if not self.sizes:
            return f"none of {self.looked_at} images could be read ({some(self.unreadable)})"
        (w, h), (wide, high) = self.sizes[0], self.sizes[-1]
        pixels = f"{w} x {h}" if (w, h) == (wide, high) else f"{w} x {h} to {wide} x {high}"
        return f"{', '.join(self.formats)} of {pixels} pixels ({self.looked_at} were looked at)"


def sampled(images: ImagesSpec, location: str, counted: Counted) -> Sampled:
    """Decode a few of the training images, from shards all over the set; raises: as `Images.encoded`."""
    formats, sizes, unreadable = Counter[str](), list[tuple[int, int]](), list[str]()
    for key, pixels in _some(images, location, counted):
        made = decode(pixels, images.decoding)
        if made.image is None:
            unreadable.append(f"{key}: {made.problem}")
            continue
        sizes.append(made.image.size)
        if isinstance(pixels, bytes):
            with Image.open(io.BytesIO(pixels)) as image:
                formats[str(image.format)] += 1
        else:
            formats["pixels"] += 1
    ordered = tuple(sorted(sizes, key=lambda size: (min(size), max(size))))
    return Sampled(formats=dict(formats.most_common()), sizes=ordered, unreadable=tuple(unreadable))


def _some(
    images: ImagesSpec, location: str, counted: Counted
) -> Iterator[tuple[str, bytes | NDArray[np.uint8] | None]]:
    """Key and pixels of a few images."""
    opened = images.split("train").open(location)
    shards = counted.train.manifest.shards
    each = max(FROM_SHARD, -(-LOOKED_AT // max(1, len(shards))))
    for shard in shards[:: max(1, len(shards) * each // LOOKED_AT)]:
        for item in islice(opened.encoded(shard), each):
            yield item.key, item.pixels
