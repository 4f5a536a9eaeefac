"""Zarr arrays: created once by the driver, written chunk by chunk by workers, read by everyone.

Two writers of one chunk lose data silently, so a worker writes whole chunks only. It opens arrays in mode "r+": "a"
would create what is missing, and "w" would wipe what is there.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, Store
from zarr.codecs import BytesCodec
from zarr.errors import ContainsArrayError, ContainsGroupError
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from store.checksums import checked, ledger_of, listed
from store.errors import ArtefactDamaged, ArtefactMissing, ChunkMismatch, NotARoot, StoreError
from store.files import named, write_atomic
from store.layout import ARRAYS, Layout
from store.places import Place, reported
from store.recording import recorded, stamp


class ArtefactStore(WrapperStore[Store]):
    """Zarr on a disk or an object store: a chunk is durable before a marker names it, and checked when it is read."""

    def __init__(self, store: Store, place: Place) -> None:
        super().__init__(store)
        self._place = place
        self._ledger = ledger_of(place) if store.read_only else None

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self._place)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Read one file; raises: ArtefactDamaged where it is missing or not as it was written."""
        value = await super().get(key, prototype, byte_range)
        if self._ledger is not None:
            read_stamp = None if value is None else await asyncio.to_thread(stamp, value.to_bytes())
            self._ledger.check(f"{self._place}/{key}", read_stamp)
        return value

    async def set(self, key: str, value: Buffer) -> None:
        """Write one file and wait until it is on the disk."""
        if isinstance(self._place, Path):
            await asyncio.to_thread(write_atomic, self._place / key, value.to_bytes())
        else:
            recorded(f"{self._place}/{key}", value.to_bytes())
            await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write the metadata of a new group or array."""
        if not isinstance(self._place, Path):
            await super().set_if_not_exists(key, value)
            return
        with named(self._place / key):
            await super().set_if_not_exists(key, value)


def zarr_store(path: Place) -> Store:
    """The store by which Zarr reads and writes a place."""
    if isinstance(path, Path):
        return ArtefactStore(LocalStore(path), path)
    with reported(path):
        return ArtefactStore(FsspecStore.from_url(str(path), storage_options=dict(path.storage_options)), path)


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
    """Create one empty array in a group; one that another driver, or a killed one, created is left as it is.

    data: the Zarr group (made when missing).
    name: path of the array in the group, such as "codes" or "embeddings/00003"; its first part is the entry in
        `store.layout.ARRAYS`.
    dtype: replaces the layout's where that is "count".
    raises: ChunkMismatch when an array of another shape exists: wiping it could take what another driver wrote.
    """
    how = ARRAYS[name.split("/")[0]]
    with reported(data):
        try:
            _group(data).create_array(
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


def _group(data: Place) -> zarr.Group:
    """The group, made when missing; another driver may make it after Zarr has looked for it."""
    try:
        return zarr.open_group(zarr_store(data), mode="a", zarr_format=3)
    except ContainsGroupError:
        return zarr.open_group(zarr_store(data), mode="r+", zarr_format=3)


@dataclass(frozen=True, slots=True)
class StoredArray:
    """One array of a root, read by rows; damage ends in one message."""

    path: Place
    _array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self._array.shape)

    @property
    def dtype(self) -> str:
        """Name of its type."""
        return str(self._array.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array in memory."""
        return int(self._array.nbytes)

    def __getitem__(self, at: Any) -> NDArray[Any]:
        """Rows, as NumPy has them; reads the chunks that hold them. raises: ArtefactDamaged."""
        with self._decoded():
            return np.asarray(self._array[at])

    def rows(self, at: NDArray[Any]) -> NDArray[Any]:
        """The rows of those numbers; reads the chunks that hold them. raises: ArtefactDamaged."""
        with self._decoded():
            return np.asarray(self._array.oindex[at])

    @contextmanager
    def _decoded(self) -> Iterator[None]:
        """Turn errors of a codec into ArtefactDamaged: the only sign of damage in an artefact without checksums."""
        try:
            with reported(self.path):
                yield
        except (StoreError, OSError, MemoryError):
            raise
        except (RuntimeError, ValueError) as error:
            raise ArtefactDamaged(
                f"{self.path}: a chunk cannot be read ({error}): it was damaged; delete the folder above data.zarr, "
                "and `dkvb run` makes it again"
            ) from error


def open_array(data: Place, name: str) -> StoredArray:
    """Open one array of a group for reading; raises: ArtefactMissing, ArtefactDamaged, NotARoot."""
    return StoredArray(data / name, _opened(data, name, mode="r"))


def _opened(data: Place, name: str, *, mode: str) -> Any:
    try:
        if isinstance(data, Path) and not (data / name).exists():  # otherwise Zarr would make the folder
            checked(data / name / "zarr.json")
            raise FileNotFoundError
        with reported(data):
            array = zarr.open_array(zarr_store(data / name), mode=mode, zarr_format=3)
    except FileNotFoundError:
        raise ArtefactMissing(f"{data / name}: no array there; run `dkvb run` on this root first") from None
    except (StoreError, OSError):
        raise
    except Exception as error:  # what foreign metadata make Zarr raise has no common base
        raise NotARoot(
            f"{data / name}: not an array of dkvb's: {error}; delete the folder above data.zarr and run again"
        ) from error
    check_array(array, name, data / name)
    return array


def check_array(array: Any, name: str, path: Place) -> None:
    """Check that an array is as `create` makes it: metadata from elsewhere could name any codec and any type.

    raises: NotARoot.
    """
    how, meta = ARRAYS[name.split("/")[0]], array.metadata
    dtypes = ("uint16", "uint32") if how.dtype == "count" else (how.dtype,)
    if meta.dimension_names != how.dims or str(array.dtype) not in dtypes:
        raise NotARoot(f"{path}: axes {meta.dimension_names} of {array.dtype} found, expected {how.dims} of {dtypes}")
    codecs, chunks = [type(codec) for codec in meta.codecs], chunk_shape(how, array.shape)
    if codecs != [BytesCodec, type(how.codec)] or tuple(getattr(array, "chunks", ())) != chunks:
        names = ", ".join(codec.__name__ for codec in codecs)
        raise NotARoot(f"{path}: chunks are not as dkvb writes them: codecs found {names}")


def chunk_shape(how: Layout, shape: Sequence[int]) -> tuple[int, ...]:
    """The chunks of an array of that shape."""
    return tuple(max(1, min(how.chunk.get(axis, size), size)) for axis, size in zip(how.dims, shape, strict=True))


def check_size(array: StoredArray) -> None:
    """Check that an array fits into memory: its shape is read from metadata, which could say anything.

    raises: NotARoot.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if array.nbytes > memory:
        raise NotARoot(
            f"{array.path}: claims {array.nbytes / 2**30:,.0f} GiB, more than the {memory / 2**30:,.0f} GiB of "
            "this machine's memory"
        )


def write(data: Place, name: str, block: NDArray[Any], *, start: int = 0) -> None:
    """Write whole chunks along the first axis.

    start: the first row; the block must begin at a chunk and end at a chunk or at the array's end.
    raises: ChunkMismatch, ArtefactMissing.
    """
    with zarr.config.set({"array.write_empty_chunks": True}):  # otherwise a chunk of zeros would be a missing one
        array = _opened(data, name, mode="r+")
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
    check_size(array)
    return array[...]


def read_shards(data: Place, name: str, *, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Read rows of an array that is kept in one part per image shard, in the manifest's order.

    data: the Zarr group; name: the sub-group whose arrays are the parts ("embeddings", "labels").
    start, stop: rows over all parts together; only the parts they touch are read.
    """
    parts, offset = [], 0
    keys = [key for key in listed(data / name) if key != "zarr.json"]
    if not keys:
        raise ArtefactMissing(f"{data / name}: no arrays there; run `dkvb run` on this root first")
    for key in keys:
        part = open_array(data, f"{name}/{key}")
        size = part.shape[0]
        lo, hi = max(start - offset, 0), size if stop is None else min(stop - offset, size)
        if lo < hi:
            check_size(part)
            parts.append(part[lo:hi])
        offset += size
    if not parts:
        raise ArtefactMissing(f"{data / name}: rows {start}:{stop} lie outside the {offset} rows there are")
    return np.concatenate(parts)
