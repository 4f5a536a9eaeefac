"""Readers: one for each kind of image data set, and that of the published sets which are loaded whole (CIFAR, digits).

Scanning and reading call the same `samples`, so the positions of a manifest are the positions of the images.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.cifar import batch, published
from store.errors import ImageSourceError
from store.folders import FolderReader, cut, span
from store.locations import Location, ShardFile, some
from store.names import one_form
from store.parquet import ParquetReader
from store.samples import Entry, Reader, Sample, Survey
from store.tars import TarReader


def make_reader(place: Location) -> Reader:
    """The reader for the kind of the data set at `place`."""
    readers: dict[str, Callable[[Location], Reader]]
    readers = {"folder": FolderReader, "webdataset": TarReader, "parquet": ParquetReader}
    return readers.get(place.source.kind, ArrayReader)(place)


class ArrayReader:
    """A published set that is loaded whole (CIFAR, digits), cut into shards in its published order."""

    def __init__(self, place: Location) -> None:
        self.place, self.source = place, place.source

    def listing(self) -> list[ShardFile]:
        """The published files."""
        if self.source.kind == "digits":
            return [ShardFile(name="scikit-learn-digits-1797x8x8", bytes=1797 * 8 * 8)]
        return cifar_files(self.place)

    def paths(self) -> list[str]:
        """No paths: both splits are published in one archive, and share no file."""
        return []

    def files(self, shard: str) -> list[ShardFile]:
        """All published files, whichever the shard: their checksums are the published ones."""
        return self.listing()

    def classes(self) -> tuple[str, ...]:
        """The published names."""
        return self._loaded[2]

    def columns(self) -> dict[str, str]:
        """No columns: there are none in arrays."""
        return {}

    def survey(self) -> Survey:
        """The shards that the items are cut into."""
        return Survey(shards=cut(self.source.kind, len(self._loaded[1]), self.source.shard_items))

    def samples(self, shard: str, *, pixels: bool) -> Iterator[Entry]:
        """The items of a shard."""
        images, labels, _ = self._loaded
        for index in range(len(labels))[span(self.source.shard_items, shard)]:
            key = f"{self.source.pattern}-{index}"
            yield Sample(key, labels[index], images[index] if pixels else None)

    @cached_property
    def _loaded(self) -> tuple[NDArray[np.uint8], list[int], tuple[str, ...]]:
        return load_digits(self.source.pattern) if self.source.kind == "digits" else load_cifar(self.place)


def load_digits(split: str) -> tuple[NDArray[np.uint8], list[int], tuple[str, ...]]:
    """scikit-learn's digits: (n, 8, 8) uint8 grey, labels, names; every fifth is test, the rest train."""
    from sklearn.datasets import load_digits as bundled

    digits = bundled()
    test = np.arange(len(digits.target)) % 5 == 4
    keep = test if split == "test" else ~test
    grey = np.rint(digits.images[keep] * (255 / 16)).astype(np.uint8)
    return grey, digits.target[keep].tolist(), tuple(str(name) for name in digits.target_names)


def load_cifar(place: Location) -> tuple[NDArray[np.uint8], list[int], tuple[str, ...]]:
    """CIFAR as published: (n, 32, 32, 3) uint8, labels, names.

    raises: ImageDataError when a file's checksum is not the published one.
    """
    cifar_files(place)
    known = _cifar(place.source.kind)
    folder = Path(place.root, known.base_folder)
    names = published(folder / known.meta["filename"], known.meta["md5"])[known.meta["key"]]
    files = known.train_list if place.source.pattern == "train" else known.test_list
    batches = [batch(folder / name, checksum) for name, checksum in files]
    labels = [label for _, of_batch in batches for label in of_batch]
    return np.concatenate([pixels for pixels, _ in batches]), labels, tuple(one_form(str(name)) for name in names)


def cifar_files(place: Location) -> list[ShardFile]:
    """The published files with their sizes. raises: ImagesMissing when one is not there."""
    if not getattr(place.fs, "local_file", False):
        raise ImageSourceError(f"location {place.source.location!r}: CIFAR is read from a local folder")
    known = _cifar(place.source.kind)
    parts = [*(name for name, _ in known.train_list + known.test_list), known.meta["filename"]]
    names = [f"{known.base_folder}/{part}" for part in parts]
    if absent := [name for name in names if not Path(place.root, name).is_file()]:
        raise place.missing(f"file {some(absent)}")
    return [ShardFile(name=name, bytes=Path(place.root, name).stat().st_size) for name in names]


def _cifar(kind: str) -> Any:
    from torchvision.datasets import CIFAR10, CIFAR100

    return {"cifar10": CIFAR10, "cifar100": CIFAR100}[kind]
