"""Zarr arrays: created once by the driver, written chunk by chunk by workers, read by everyone.

Two writers in one chunk lose data silently, so a worker writes whole chunks only, and opens "r+" only: mode "a"
would create what is missing and "w" wipe what is there.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.codecs import BytesCodec
from zarr.core.buffer import Buffer
from zarr.errors import ContainsArrayError
from zarr.storage import FsspecStore, LocalStore

from store.errors import ArtefactMissing, ChunkMismatch, NotARoot, StoreError
from store.layout import ARRAYS, Layout
from store.places import Place, named, names, reported


class DurableStore(LocalStore):
    """Zarr on a disk, each chunk on the disk before a marker can say so."""

    async def set(self, key: str, value: Buffer) -> None:
        """Write one file, and wait for the disk."""
        with named(self.root / key):
            await super().set(key, value)
            descriptor = os.open(self.root / key, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write the file of a group or an array that is made."""
        with named(self.root / key):
            await super().set_if_not_exists(key, value)


def zarr_store(path: Place) -> Store:
    """Where Zarr reads and writes a place."""
    if isinstance(path, Path):
        return DurableStore(path)
    with reported(path):
        return FsspecStore.from_url(str(path), storage_options=dict(path.storage_options))


def count_dtype(largest: int) -> str:
    """The smallest unsigned type that holds a count (uint16 or uint32)."""
    return "uint16" if largest <= np.iinfo(np.uint16).max else "uint32"


def create(
    data: Place,
    name: str,
    shape: Sequence[int],
    *,
    dtype: str | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Create one empty array of a group; what another driver, or a killed one, created is left as it is.

    data: the Zarr group (made when missing).
    name: path of the array in the group, such as "codes" or "embeddings/00003"; its first part is the entry in
        `store.layout.ARRAYS`.
    dtype: overrides the layout's where that is "count".
    raises: ChunkMismatch when an array of another shape is there: wiping it could take what another driver wrote.
    """
    how = ARRAYS[name.split("/")[0]]
    with reported(data):
        try:
            zarr.open_group(zarr_store(data), mode="a", zarr_format=3).create_array(
                name,
                shape=tuple(shape),
                chunks=chunk_shape(how, shape),
                dtype=dtype or how.dtype,
                fill_value=how.fill,
                compressors=how.codec,
                dimension_names=how.dims,
                attributes={"meaning": how.meaning, **(attributes or {})},
            )
        except ContainsArrayError:
            there = open_array(data, name).shape
            if there != tuple(shape):
                raise ChunkMismatch(
                    f"{data / name}: holds an array of shape {there}, expected {tuple(shape)}; delete the folder above "
                    "data.zarr and run again"
                ) from None


def open_array(data: Place, name: str, *, mode: str = "r") -> Any:
    """Open one array of a group; raises: ArtefactMissing when it is not there."""
    try:
        if isinstance(data, Path) and not (data / name).exists():  # else Zarr would make the folder
            raise FileNotFoundError
        with reported(data):
            array = zarr.open_array(zarr_store(data / name), mode=mode, zarr_format=3)
    except FileNotFoundError:
        raise ArtefactMissing(f"{data / name}: no array there; run `dkvb run` on this root first") from None
    except (StoreError, OSError):
        raise
    except Exception as error:  # what foreign metadata make Zarr raise has no common base
        raise NotARoot(f"{data / name}: not an array of dkvb's: {error}") from error
    check_array(array, name, data / name)
    return array


def check_array(array: Any, name: str, path: Place) -> None:
    """Whether an array is as `create` makes it: metadata from elsewhere could name any codec and any type.

    raises: NotARoot.
    """
    how, meta = ARRAYS[name.split("/")[0]], array.metadata
    dtypes = ("uint16", "uint32") if how.dtype == "count" else (how.dtype,)
    if meta.dimension_names != how.dims or str(array.dtype) not in dtypes:
        raise NotARoot(f"{path}: axes {meta.dimension_names} of {array.dtype} found, expected {how.dims} of {dtypes}")
    codecs, chunks = [type(codec) for codec in meta.codecs], chunk_shape(how, array.shape)
    if codecs != [BytesCodec, type(how.codec)] or tuple(getattr(array, "chunks", ())) != chunks:
        found = ", ".join(codec.__name__ for codec in codecs)
        raise NotARoot(f"{path}: chunks are not as dkvb writes them: codecs found {found}")


def chunk_shape(how: Layout, shape: Sequence[int]) -> tuple[int, ...]:
    """The chunks of an array of that shape."""
    return tuple(max(1, min(how.chunk.get(axis, size), size)) for axis, size in zip(how.dims, shape, strict=True))


def check_size(array: Any, path: Place) -> None:
    """Whether an array can be read whole: its shape is what metadata say, and those of some bytes can say anything.

    raises: NotARoot.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if array.nbytes > memory:
        raise NotARoot(
            f"{path}: says it holds {array.nbytes / 2**30:,.0f} GiB, more than the {memory / 2**30:,.0f} GiB of this "
            "machine's memory"
        )


def write(data: Place, name: str, block: NDArray[Any], *, start: int = 0) -> None:
    """Write whole chunks along the first axis.

    start: the first row; the block must begin at a chunk and end at a chunk or at the array's end.
    raises: ChunkMismatch, ArtefactMissing.
    """
    array = open_array(data, name, mode="r+")
    stop, chunk = start + len(block), array.chunks[0]
    whole = start % chunk == 0 and (stop % chunk == 0 or stop == array.shape[0])
    if not whole or not 0 <= start <= stop <= array.shape[0] or block.shape[1:] != array.shape[1:]:
        raise ChunkMismatch(
            f"{data / name}: rows {start}:{stop} of shape {block.shape} are not whole chunks of {chunk} rows "
            f"in an array of shape {array.shape}"
        )
    with reported(data):
        array[start:stop] = block


def read(data: Place, name: str) -> NDArray[Any]:
    """Read one whole array."""
    array = open_array(data, name)
    check_size(array, data / name)
    with reported(data):
        return np.asarray(array[...])


def read_shards(data: Place, name: str, *, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Read rows of an array kept as one part per image shard, in manifest order.

    data: the Zarr group; name: the sub-group whose arrays are the parts ("embeddings", "labels").
    start, stop: rows over all parts together; only the parts they touch are read.
    """
    parts, offset = [], 0
    keys = [key for key in names(data / name) if key != "zarr.json"]
    if not keys:
        raise ArtefactMissing(f"{data / name}: no arrays there; run `dkvb run` on this root first")
    for key in keys:
        part = open_array(data, f"{name}/{key}")
        size = part.shape[0]
        lo, hi = max(start - offset, 0), size if stop is None else min(stop - offset, size)
        if lo < hi:
            check_size(part, data / name / key)
            with reported(data):
                parts.append(np.asarray(part[lo:hi]))
        offset += size
    if not parts:
        raise ArtefactMissing(f"{data / name}: rows {start}:{stop} lie outside the {offset} rows there are")
    return np.concatenate(parts)
