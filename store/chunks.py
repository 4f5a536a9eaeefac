"""Chunks of arrays as dkvb writes them, read without Zarr: its import takes longer than most questions to a store.

An array is a file of metadata and a file for each chunk, compressed as `store.layout` says: numbers, or texts in UTF-8.
Metadata that say anything else are refused. A test reads every kind of array by Zarr too.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.checksums import artefact_folder, checked, ledger_of
from store.errors import NotARoot
from store.json import from_json
from store.layout import Codec, Layout, chunk_shape, dtypes
from store.links import check_way
from store.places import Place

METADATA = "zarr.json"


@dataclass(frozen=True, slots=True)
class Chunks:
    """One array, read chunk by chunk; chunks of one answer are read and unpacked side by side."""

    path: Place
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """object where it holds texts."""
    chunks: tuple[int, ...]
    """Shape of a chunk; the last along an axis is filled up."""
    codec: Codec
    fill: int | str

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array in memory."""
        return prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, at: Any) -> NDArray[Any]:
        """What lies at numbers and slices, an axis each.

        raises: ArtefactDamaged, NotARoot; ValueError, RuntimeError for a damaged chunk without checksum; IndexError.
        """
        spans, drop = self._spans(at if isinstance(at, tuple) else (at,))
        found = np.empty([stop - start for start, stop in spans], self.dtype)

        def fill_in(place: tuple[int, ...]) -> None:
            lo = [max(start, k * size) for (start, _), k, size in zip(spans, place, self.chunks, strict=True)]
            hi = [min(stop, k * size + size) for (_, stop), k, size in zip(spans, place, self.chunks, strict=True)]
            here = [slice(a - start, b - start) for a, b, (start, _) in zip(lo, hi, spans, strict=True)]
            there = [slice(a - k * s, b - k * s) for a, b, k, s in zip(lo, hi, place, self.chunks, strict=True)]
            part = found[tuple(here)]
            if part.shape == self.chunks and part.flags.c_contiguous:
                self.fill_in(place, part)
            else:
                whole = np.empty(self.chunks, self.dtype)
                self.fill_in(place, whole)
                part[...] = whole[tuple(there)]

        numbers = [range(a // size, -(-b // size)) for (a, b), size in zip(spans, self.chunks, strict=True)]
        in_parallel(fill_in, [*product(*numbers)] if found.size else [])
        return found[tuple(0 if axis in drop else slice(None) for axis in range(len(spans)))]

    def rows(self, at: NDArray[Any]) -> NDArray[Any]:
        """The rows of increasing numbers; raises: ArtefactDamaged, IndexError."""
        if len(at) and not 0 <= at[0] <= at[-1] < self.shape[0]:
            raise IndexError(f"{self.path}: rows {at[0]} to {at[-1]} of {self.shape[0]}")
        size, found = self.chunks[0], np.empty((len(at), *self.shape[1:]), self.dtype)
        numbers, begins = np.unique(np.asarray(at) // size, return_index=True)
        ends = [*begins[1:].tolist(), len(at)]

        def fill_in(i: int) -> None:
            rows = slice(int(begins[i]), ends[i])
            chunk = self[int(numbers[i]) * size : min(int(numbers[i] + 1) * size, self.shape[0])]
            found[rows] = chunk[at[rows] - numbers[i] * size]

        in_parallel(fill_in, range(len(numbers)))
        return found

    def fill_in(self, place: Sequence[int], chunk: NDArray[Any]) -> None:
        """Fill an array in order with one whole chunk; raises: as for what lies in it."""
        data = read(self.path, "/".join(["c", *map(str, place)]))
        if data is None:
            chunk[...] = self.fill
        else:
            unpack(self.codec, data, chunk)

    def _spans(self, at: tuple[Any, ...]) -> tuple[list[tuple[int, int]], set[int]]:
        """Where an index begins and ends along each axis, and the axes that it takes a single number of."""
        if Ellipsis in at:
            before = at.index(Ellipsis)
            at = (*at[:before], *[slice(None)] * (len(self.shape) + 1 - len(at)), *at[before + 1 :])
        at = (*at, *[slice(None)] * (len(self.shape) - len(at)))
        spans, drop = [], set()
        for axis, (part, size) in enumerate(zip(at, self.shape, strict=True)):
            if isinstance(part, slice):
                start, stop, step = part.indices(size)
                if step != 1:
                    raise IndexError(f"{self.path}: a slice of step {step}, expected 1")
                spans.append((start, max(start, stop)))
            else:
                number = int(part) + size * (part < 0)
                if not 0 <= number < size:
                    raise IndexError(f"{self.path}: {part} along an axis of {size}")
                spans.append((number, number + 1))
                drop.add(axis)
        return spans, drop


def open_chunks(path: Place, how: Layout) -> Chunks:
    """Open an array by its metadata, which must be as `how` has it written.

    raises: FileNotFoundError; ArtefactDamaged; NotARoot for metadata that say anything else.
    """
    data = read(path, METADATA)
    if data is None:
        raise FileNotFoundError(f"{path / METADATA}")
    try:
        about = from_json(data)
        shape, names = about["shape"], about["dimension_names"]
        if not all(type(size) is int and size >= 0 for size in shape):
            raise TypeError(f"shape {shape}")
        if tuple(names or ()) not in (how.dims, *how.also) or about["data_type"] not in dtypes(how):
            raise TypeError(f"axes {names} of {about['data_type']}, expected {how.dims} of {dtypes(how)}")
        chunks = chunk_shape(how, shape)
        expected = {
            "zarr_format": 3,
            "node_type": "array",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [*chunks]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": how.fill,
            "storage_transformers": [],
        }
        for key, value in expected.items():
            if about[key] != value:
                raise ValueError(f"{key} {about[key]}, expected {value}")
        text = how.dtype == "string"
        names, first = [codec["name"] for codec in about["codecs"]], "vlen-utf8" if text else "bytes"
        if names != [first, how.codec.value]:
            raise ValueError(f"codecs {names}, expected {first} and {how.codec.value}")
        if not text and (endian := about["codecs"][0]["configuration"]["endian"]) != "little":
            raise ValueError(f"numbers in {endian} endian, expected little")
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise NotARoot(
            f"{path}: not an array of dkvb's: {error}; delete the folder above data.zarr and run again"
        ) from error
    dtype = np.dtype(object) if text else np.dtype(about["data_type"]).newbyteorder("<")
    return Chunks(path, tuple(shape), dtype, chunks, how.codec, how.fill)


def read(path: Place, key: str) -> bytes | None:
    """A file of an array, checked; None where it was never written.

    raises: ArtefactDamaged where it is missing from what is finished, or not as it was written; NotARoot where it lies
        elsewhere.
    """
    file = path / key
    if isinstance(file, Path):
        folder = artefact_folder(path) or path
        check_way(str(folder), str(file).removeprefix(f"{folder}/"))
    try:
        return checked(file)
    except FileNotFoundError:
        if (known := ledger_of(path)) is not None:
            known.check(file, None)
        return None


def unpack(codec: Codec, data: bytes, chunk: NDArray[Any]) -> None:
    """Decompress into an array in order, and fill it; raises: ValueError, RuntimeError for what is no such chunk."""
    if codec is Codec.ZSTD:
        from numcodecs import zstd

        if chunk.dtype != object and unpacked_size(data) == chunk.nbytes:
            zstd.decompress(data, chunk)  # of what is shorter than the array nothing would be said
            return
        plain = zstd.decompress(data)
        found = texts(plain, chunk.size) if chunk.dtype == object else np.frombuffer(plain, chunk.dtype)
        chunk[...] = found.reshape(chunk.shape)
        return
    from numcodecs import blosc

    size, packed = (int.from_bytes(data[at : at + 4], "little") for at in (4, 12))  # of its header
    if packed != len(data) or size != chunk.nbytes:  # what is cut off would be read past its end
        raise ValueError(f"{len(data)} bytes of {packed}, for {size} bytes where {chunk.nbytes} are expected")
    blosc.decompress(data, chunk)


def unpacked_size(frame: bytes) -> int | None:
    """Bytes that a frame of Zstandard says it holds, by its header (RFC 8878, 3.1.1.1); None where it does not say."""
    if len(frame) < 5:
        return None
    descriptor = frame[4]
    single = descriptor >> 5 & 1  # without a byte for the window
    width = (single, 2, 4, 8)[descriptor >> 6]
    start = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    if not width:
        return None
    return int.from_bytes(frame[start : start + width], "little") + (256 if width == 2 else 0)


def texts(data: bytes, count: int) -> NDArray[np.object_]:
    """(count,) texts, as Zarr writes them: how many, then the length of each and its UTF-8; raises: ValueError."""
    from numcodecs.vlen import VLenUTF8

    said = int.from_bytes(data[:4], "little")  # memory is asked for so many before any is read
    if said != count:
        raise ValueError(f"{said} texts where {count} are expected")
    return np.asarray(VLenUTF8().decode(data))


def in_parallel(work: Callable[[Any], None], items: Sequence[Any]) -> None:
    """Do the work for every item, on as many threads as there are CPUs; raises: what it raises first."""
    if len(items) < 2:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in threads.map(work, items):
            pass
