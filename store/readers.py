"""One reader for each kind of image data set; `store.images` is written against `Reader` alone.

Scanning and reading run the same `samples`, so the positions of a manifest are the positions of the images.
"""

import itertools
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from store.cifar import batch, published
from store.errors import ImageDataError, ImageSourceError
from store.locations import Location, ShardFile, Source, some
from store.places import from_json

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "bmp", "webp")
PARQUET_BATCH = 256  # rows decoded at a time within a row group


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where; `item` is empty when the shard as a whole is meant."""

    shard: str
    item: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample before its label is judged and its image decoded.

    label: None when missing or not an integer; then `fault` says why.
    pixels: encoded bytes, or (h, w) or (h, w, 3) uint8; None when not asked for or not there.
    """

    key: str
    label: int | None
    pixels: bytes | NDArray[np.uint8] | None
    fault: str | None = None


class Reader(Protocol):
    """What every kind offers."""

    def listing(self) -> list[ShardFile]:
        """Every file that decides what the data set is, in order, from file sizes alone."""

    def classes(self) -> tuple[str, ...] | None:
        """The class names by label, or None where labels are plain numbers."""

    def survey(self) -> tuple[list[str], list[Problem]]:
        """The names of the shards in order, and what belongs to none of them."""

    def samples(self, shard: str, *, pixels: bool) -> Iterator[Sample | Problem]:
        """The samples of a shard in order; a Problem stands where something was left out."""


def make_reader(place: "Location") -> Reader:
    """The reader for the kind of the data set at `place`."""
    readers: dict[str, Callable[[Location], Reader]]
    readers = {"folder": _FolderReader, "webdataset": _WebDatasetReader, "parquet": _ParquetReader}
    return readers.get(place.source.kind, _ArrayReader)(place)


class _FolderReader:
    """Class folders of image files, cut into shards in path order (folder by folder, as torchvision does)."""

    def __init__(self, place: "Location") -> None:
        self.place = place.inside(place.source.pattern)
        self._tree: tuple[list[str], list[ShardFile], list[Problem]] | None = None

    def _look(self) -> tuple[list[str], list[ShardFile], list[Problem]]:
        """Class names, image files in order, and stray images; names that start with a dot are hidden."""
        fs, root, name = self.place.fs, self.place.root, self.place.name
        if not fs.isdir(root):
            raise self.place.missing(f"folder {root!r}")
        classes = sorted(name(info["name"]) for info in fs.ls(root, detail=True) if _is_folder(fs, info))
        classes = [folder for folder in classes if folder and not folder.startswith(".")]
        images, strays = list[ShardFile](), list[Problem]()
        for info in sorted(_files(fs, root), key=lambda info: info["name"].split("/")):
            file = name(info["name"])
            if "/." in f"/{file}" or file.rpartition(".")[2].lower() not in IMAGE_EXTENSIONS:
                continue
            if "/" not in file:
                strays.append(Problem("", file, "lies in no class folder"))
            elif info["type"] != "file" and not fs.isfile(info["name"]):
                strays.append(Problem("", file, "no regular file, or a link to nothing"))
            else:
                images.append(ShardFile(name=file, bytes=int(info["size"])))
        filled = {image.name.partition("/")[0] for image in images}
        strays += [Problem("", f"{folder}/", "no image in it") for folder in classes if folder not in filled]
        if not images:
            raise self.place.missing(f"image ({', '.join(IMAGE_EXTENSIONS)}) in class folders")
        self._tree = classes, images, strays
        return self._tree

    def listing(self) -> list[ShardFile]:
        return self._look()[1]

    def classes(self) -> tuple[str, ...]:
        return tuple((self._tree or self._look())[0])

    def survey(self) -> tuple[list[str], list[Problem]]:
        _, images, strays = self._look()
        return _cut(self.place.source, len(images)), strays

    def samples(self, shard: str, *, pixels: bool) -> Iterator[Sample | Problem]:
        classes, images, _ = self._tree or self._look()
        label = {name: index for index, name in enumerate(classes)}
        for image in images[_span(self.place.source, shard)]:
            content = self.place.fs.cat_file(self.place.path(image.name)) if pixels else None
            yield Sample(image.name, label[image.name.partition("/")[0]], content)


class _ShardReader:
    """What tars and parquet files share: each file is a shard."""

    def __init__(self, place: "Location") -> None:
        self.place = place

    def listing(self) -> list[ShardFile]:
        found = [ShardFile(name=name, bytes=size) for name, size in self.place.matches().items()]
        return found + self.place.class_file()

    def survey(self) -> tuple[list[str], list[Problem]]:
        return list(self.place.matches()), []

    def open(self, shard: str) -> Any:
        return self.place.fs.open(self.place.path(shard), "rb")


class _WebDatasetReader(_ShardReader):
    """Tar shards; a sample is a run of members that share their name up to the first dot."""

    def classes(self) -> tuple[str, ...] | None:
        return self.place.named_classes

    def samples(self, shard: str, *, pixels: bool) -> Iterator[Sample | Problem]:
        seen: set[str] = set()
        breaks: list[str] = []
        with self.open(shard) as file:
            for key, fields in _runs(_members(file, breaks, pixels=pixels)):
                images = [extension for extension in fields if extension in IMAGE_EXTENSIONS]
                if breaks and not (images and "cls" in fields):
                    continue  # the sample in which the archive breaks off; the break itself is reported below
                if not images and not fields.keys() & {"cls", "json"}:
                    continue  # a read-me beside the samples
                if key in seen:
                    yield Problem(shard, key, "duplicate key; the first sample of that key is kept")
                elif len(images) != 1:
                    yield Problem(shard, key, f"two images ({some(images)})" if images else "no image")
                else:
                    seen.add(key)
                    label, fault = _cls_label(fields.get("cls"))
                    yield Sample(key, label, fields[images[0]] if pixels else None, fault)
        if breaks:
            yield Problem(shard, "", breaks[0])


class _ParquetReader(_ShardReader):
    """Hugging Face parquet: a struct<bytes, path> image column and an integer label column."""

    def classes(self) -> tuple[str, ...] | None:
        return self._first_names or self.place.named_classes

    def samples(self, shard: str, *, pixels: bool) -> Iterator[Sample | Problem]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        row = 0
        try:
            with self.open(shard) as file:
                table = pq.ParquetFile(file)
                image, label, names = parquet_columns(table.schema_arrow)
                if names != self._first_names:
                    raise ImageDataError("its class names differ from those of the shards before it")
                columns = [image, label] if pixels else [label]
                for group in range(table.num_row_groups):
                    for batch in table.iter_batches(PARQUET_BATCH, row_groups=[group], columns=columns):
                        structs = batch.column(image).to_pylist() if pixels else itertools.repeat(None)
                        for number, struct in zip(batch.column(label).to_pylist(), structs, strict=False):
                            fault = "label missing" if number is None else None
                            yield Sample(f"row-{row}", number, struct and struct["bytes"], fault)
                            row += 1
        except (pa.ArrowException, ValueError) as error:  # ValueError: its JSON, and our own
            raise ImageDataError(f"at row {row}: {error}") from error

    @cached_property
    def _first_names(self) -> tuple[str, ...] | None:
        """The class names in the schema of the first shard whose schema can be read."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for shard in self.place.matches():
            try:
                with self.open(shard) as file:
                    return parquet_columns(pq.ParquetFile(file).schema_arrow)[2]
            except (pa.ArrowException, OSError, ValueError):
                continue  # the scan meets the same shard again and reports it
        return None


class _ArrayReader:
    """A published set that is loaded whole (CIFAR, digits), cut into shards in its published order."""

    def __init__(self, place: "Location") -> None:
        self.place, self.source = place, place.source

    def listing(self) -> list[ShardFile]:
        if self.source.kind == "digits":
            return [ShardFile(name="scikit-learn-digits-1797x8x8", bytes=1797 * 8 * 8)]
        return cifar_files(self.place)

    def classes(self) -> tuple[str, ...]:
        return self._loaded[2]

    def survey(self) -> tuple[list[str], list[Problem]]:
        return _cut(self.source, len(self._loaded[1])), []

    def samples(self, shard: str, *, pixels: bool) -> Iterator[Sample | Problem]:
        images, labels, _ = self._loaded
        for index in range(len(labels))[_span(self.source, shard)]:
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


def load_cifar(place: "Location") -> tuple[NDArray[np.uint8], list[int], tuple[str, ...]]:
    """CIFAR as published: (n, 32, 32, 3) uint8, labels, names.

    raises: ImageDataError when a file's checksum is not the published one.
    """
    cifar_files(place)
    known = _cifar(place.source.kind)
    folder = Path(place.root, known.base_folder)
    names = published(folder / known.meta["filename"], known.meta["md5"])[known.meta["key"]]
    files = known.train_list if place.source.pattern == "train" else known.test_list
    batches = [batch(folder / name, checksum) for name, checksum in files]
    labels = [label for _, own in batches for label in own]
    return np.concatenate([pixels for pixels, _ in batches]), labels, tuple(map(str, names))


def cifar_files(place: "Location") -> list[ShardFile]:
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


def parquet_columns(schema: Any) -> tuple[str, str, tuple[str, ...] | None]:
    """(image column, label column, class names or None) of an Arrow schema.

    raises: ImageDataError naming the columns when none or several would do.
    """
    from pyarrow import types

    try:
        info = from_json((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = {k: v for k, v in info.get("info", {}).get("features", {}).items() if isinstance(v, dict)}
    except (AttributeError, ValueError) as error:
        raise ImageDataError(f"its metadata entry 'huggingface' is not readable: {error}") from error
    structs = [f.name for f in schema if types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    integers = [f.name for f in schema if types.is_integer(f.type)]
    named = [name for name in integers if features.get(name, {}).get("_type") == "ClassLabel"]
    marked = [name for name in structs if features.get(name, {}).get("_type") == "Image"]
    image = _only(marked or structs, ("image", "img"), f"image column struct<bytes, path> in {schema.names}")
    label = _only(named or integers, ("label", "fine_label"), f"integer label column in {schema.names}")
    names = features.get(label, {}).get("names")
    if names and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ImageDataError(f"the class names of its label column {label!r} are no list of texts")
    return image, label, tuple(names) if names else None


def _only(candidates: Sequence[str], preferred: Sequence[str], what: str) -> str:
    chosen = candidates if len(candidates) == 1 else [name for name in preferred if name in candidates][:1]
    if not chosen:
        found = f"several candidates, {', '.join(candidates)}" if candidates else "none"
        raise ImageDataError(f"expected one {what}, found {found}")
    return chosen[0]


def _members(file: Any, breaks: list[str], *, pixels: bool) -> Iterator[tuple[str, str, bytes]]:
    """(stem, extension, content) of the members of a tar; where it breaks off is appended to `breaks`.

    tarfile takes a bad header or the end of the file for the archive's end; here only its end marker is.
    """
    total = file.seek(0, 2)
    file.seek(0)
    try:
        archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 (the caller closes the file)
        for member in archive:
            if not 0 <= member.size <= total - member.offset_data:
                raise tarfile.ReadError(f"cut off inside {member.name}")
            folder, slash, base = member.name.removeprefix("./").rpartition("/")
            stem, _, extension = base.partition(".")
            extension = extension.lower()
            if not stem or not member.isreg():
                continue
            wanted = extension == "cls" or (pixels and extension in IMAGE_EXTENSIONS)
            content = archive.extractfile(member) if wanted else None
            yield folder + slash + stem, extension, content.read() if content else b""
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"no end marker at byte {archive.offset} of {total}")
        while rest := file.read(1 << 20):
            if rest.strip(tarfile.NUL):
                raise tarfile.ReadError(f"data behind the end marker at byte {archive.offset} of {total}")
    except (tarfile.TarError, ValueError, OverflowError) as error:
        breaks.append(f"truncated or damaged tar: {error}; only the complete samples before are kept")


def _runs(members: Iterator[tuple[str, str, bytes]]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Consecutive members with one stem; an extension that comes again starts a new run."""
    run, fields = "", dict[str, bytes]()
    for stem, extension, content in members:
        if fields and (stem != run or extension in fields):
            yield run, fields
            fields = {}
        run, fields[extension] = stem, content
    if fields:
        yield run, fields


def _cls_label(content: bytes | None) -> tuple[int | None, str | None]:
    if content is None:
        return None, "label missing (no cls member)"
    if re.fullmatch(rb"\s*[+-]?\d{1,18}\s*", content):
        return int(content), None
    return None, f"label {content[:20].decode(errors='replace')!r} is not an integer"


def _files(fs: Any, folder: str, above: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Every file below a folder; unlike fsspec's walk it follows links and does not pass over errors.

    raises: ImageDataError for a link back to a folder above it, which has no end.
    """
    own = os.path.realpath(folder) if getattr(fs, "local_file", False) else folder
    if own in above:
        raise ImageDataError(f"{folder}: a link that leads back to {own}; remove it")
    for info in fs.ls(folder, detail=True):
        path = info["name"].rstrip("/")
        if _is_folder(fs, info) and path != folder:
            yield from _files(fs, path, (*above, own))
        elif path != folder:  # object stores list a folder's own placeholder
            yield info


def _is_folder(fs: Any, info: dict[str, Any]) -> bool:
    return info["type"] == "directory" or bool(info.get("islink") and fs.isdir(info["name"]))


def _cut(source: "Source", items: int) -> list[str]:
    """Names of the shards that `items` are cut into."""
    return [f"{source.kind}-{index:05d}" for index in range(-(-items // source.shard_items))]


def _span(source: "Source", shard: str) -> slice:
    start = int(shard.rpartition("-")[2]) * source.shard_items
    return slice(start, start + source.shard_items)
