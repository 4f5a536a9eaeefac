"""Zarr arrays: created once by the driver, written chunk by chunk by workers by Zarr; read by everyone, without it.

Two writers of one chunk lose data silently, so a worker writes whole chunks only. It opens arrays in mode "r+": "a"
would create what is missing, and "w" would wipe what is there.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from store.checksums import checked, ledger_of, listed
from store.chunks import METADATA, Chunks, open_chunks
from store.errors import ArtefactDamaged, ArtefactMissing, ChunkMismatch, NotARoot, StoreError
from store.files import read_bytes
from store.layout import FLAT, Codec, chunk_shape, dtypes, layout_of
from store.places import Place, reported
from store.recording import recorded

if TYPE_CHECKING:
    import zarr


def count_dtype(largest: int) -> str:
    """The smallest unsigned type that holds a count (uint16 or uint32)."""
    return "uint16" if largest <= np.iinfo(np.uint16).max else "uint32"


def create(
    data: Place,
    name: str,
    shape: Sequence[int],
    *,
    dtype: str | None = None,
    dims: tuple[str, ...] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Create one empty array in a group; one that another driver, or a killed one, created is left as it is.

    data: the Zarr group (made when missing).
    name: path of the array in the group, such as "codes" or "embeddings/00003"; its first part is the entry in
        `store.layout`.
    dtype: replaces the layout's where that is "count".
    dims: names of the axes, where they are others than the layout's first ones.
    raises: ChunkMismatch when an array of another shape exists: wiping it could take what another driver wrote.
    """
    from zarr.codecs import BloscCodec, ZstdCodec
    from zarr.errors import ContainsArrayError

    how = layout_of(name)
    codec = ZstdCodec(level=1) if how.codec is Codec.ZSTD else BloscCodec(cname="lz4", shuffle="bitshuffle")
    with reported(data):
        try:
            group(data).create_array(
                name,
                shape=tuple(shape),
                chunks=chunk_shape(how, shape),
                dtype=dtype or how.dtype,
                fill_value=how.fill,
                compressors=codec,
                dimension_names=dims or how.dims,
                attributes={"meaning": how.meaning, **(attributes or {})},
            )
        except ContainsArrayError:
            there = tuple(open_to_write(data, name).shape)  # what a killed upgrade left is in no list yet
            if there != tuple(shape):
                raise ChunkMismatch(
                    f"{data / name}: holds an array of shape {there}, expected {tuple(shape)}; delete the folder above "
                    "data.zarr and run again"
                ) from None
            metadata = data / name / METADATA
            recorded(metadata, read_bytes(metadata))  # it is as this call would have written it


def group(data: Place) -> "zarr.Group":
    """The group to write into, made when missing; another driver may make it after Zarr has looked for it."""
    import zarr
    from zarr.errors import ContainsGroupError

    from store.zarr_store import zarr_store

    try:
        return zarr.open_group(zarr_store(data), mode="a", zarr_format=3, use_consolidated=False)
    except ContainsGroupError:
        return zarr.open_group(zarr_store(data), mode="r+", zarr_format=3, use_consolidated=False)


@dataclass(frozen=True, slots=True)
class StoredArray:
    """One array of a root, read by rows; damage ends in one message."""

    path: Place
    _array: Chunks

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self._array.shape

    @property
    def dtype(self) -> str:
        """Name of its type; "object": it holds texts."""
        return str(self._array.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array in memory, without the texts themselves."""
        return self._array.nbytes

    def __getitem__(self, at: Any) -> NDArray[Any]:
        """Rows, as NumPy has them; reads the chunks that hold them. raises: ArtefactDamaged."""
        with self._decoded():
            return self._array[at]

    def rows(self, at: NDArray[Any]) -> NDArray[Any]:
        """The rows of those numbers; reads the chunks that hold them. raises: ArtefactDamaged."""
        with self._decoded():
            return self._array.rows(at)

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
    with opening(data, name):
        return StoredArray(data / name, open_chunks(data / name, layout_of(name)))


def open_to_write(data: Place, name: str) -> Any:
    """Open one array of a group by Zarr, which writes it; raises as `open_array`."""
    import zarr

    from store.zarr_store import zarr_store

    with opening(data, name):
        array = zarr.open_array(zarr_store(data / name), mode="r+", zarr_format=3)
        check_array(array, name, data / name)
    return array


@contextmanager
def opening(data: Place, name: str) -> Iterator[None]:
    """Say what was wrong where an array cannot be opened; raises: ArtefactMissing, ArtefactDamaged, NotARoot."""
    try:
        if isinstance(data, Path) and not (data / name).exists():  # otherwise Zarr would make the folder
            checked(data / name / METADATA)
            raise FileNotFoundError
        with reported(data):
            yield
    except FileNotFoundError:
        raise ArtefactMissing(f"{data / name}: no array there; run `dkvb run` on this root first") from None
    except (StoreError, OSError):
        raise
    except Exception as error:  # what foreign metadata make Zarr raise has no common base
        raise NotARoot(
            f"{data / name}: not an array of dkvb's: {error}; delete the folder above data.zarr and run again"
        ) from error


def check_array(array: Any, name: str, path: Place) -> None:
    """Check that an array is as `create` makes it: metadata from elsewhere could name any codec and any type.

    raises: NotARoot.
    """
    from zarr.codecs import BloscCodec, BytesCodec, VLenUTF8Codec, ZstdCodec

    how, meta = layout_of(name), array.metadata
    kinds = ("StringDType()", "object") if how.dtype == "string" else dtypes(how)
    if meta.dimension_names not in (how.dims, *how.also) or str(array.dtype) not in kinds:
        raise NotARoot(f"{path}: axes {meta.dimension_names} of {array.dtype} found, expected {how.dims} of {kinds}")
    codecs, chunks = [type(codec) for codec in meta.codecs], chunk_shape(how, array.shape)
    compressor = ZstdCodec if how.codec is Codec.ZSTD else BloscCodec
    expected = [VLenUTF8Codec if how.dtype == "string" else BytesCodec, compressor]
    if codecs != expected or tuple(getattr(array, "chunks", ())) != chunks:
        names = ", ".join(codec.__name__ for codec in codecs)
        raise NotARoot(f"{path}: chunks are not as dkvb writes them: codecs found {names}")


def check_size(array: StoredArray, rows: int | None = None) -> None:
    """Check that an array fits into memory: its shape is read from metadata, which could say anything.

    rows: how many of its rows are to be read; None: all.
    raises: NotARoot.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    size = array.nbytes if rows is None else array.nbytes // array.shape[0] * rows
    if size > memory:
        raise NotARoot(
            f"{array.path}: claims {size / 2**30:,.0f} GiB, more than the {memory / 2**30:,.0f} GiB of "
            "this machine's memory"
        )


def write(data: Place, name: str, block: NDArray[Any], *, start: int = 0) -> None:
    """Write whole chunks along the first axis.

    start: the first row; the block must begin at a chunk and end at a chunk or at the array's end.
    raises: ChunkMismatch, ArtefactMissing.
    """
    import zarr

    with zarr.config.set({"array.write_empty_chunks": True}):  # otherwise a chunk of zeros would be a missing one
        array = open_to_write(data, name)
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


def promised(data: Place, name: str) -> bool:
    """Whether the checksums of a finished artefact, or of a finished unit, name files of that array."""
    known = ledger_of(data)
    return known is not None and bool(known.entries(data / name))


def parts(data: Place, name: str) -> list[StoredArray]:
    """The arrays of a sub-group, in order: what is kept in one part per image shard, or class.

    raises: ArtefactMissing, ArtefactDamaged, NotARoot.
    """
    keys = [key for key in listed(data / name) if key != METADATA]
    if not keys:
        raise ArtefactMissing(f"{data / name}: no arrays there; run `dkvb run` on this root first")
    return [open_array(data, f"{name}/{key}") for key in keys]


def read_shards(data: Place, name: str, *, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Read rows of all image shards, in the manifest's order: of the flat array, or of the shards' own where none is.

    data: the Zarr group; name: the sub-group whose arrays are the parts ("embeddings", "labels").
    start, stop: rows over all parts together; only the chunks they touch are read.
    """
    flat = [open_array(data, FLAT[name])] if promised(data, FLAT[name]) else parts(data, name)
    return rows_of(flat, start, stop)


def rows_of(pieces: Sequence[StoredArray], start: int, stop: int | None) -> NDArray[Any]:
    """Read rows, counted over arrays that lie one after the other; raises: ArtefactMissing where none are."""
    blocks, offset = [], 0
    for piece in pieces:
        size = piece.shape[0]
        lo, hi = max(start - offset, 0), size if stop is None else min(stop - offset, size)
        if lo < hi:
            check_size(piece, hi - lo)
            blocks.append(piece[lo:hi])
        offset += size
    if not blocks:
        raise ArtefactMissing(f"{pieces[0].path.parent}: rows {start}:{stop} lie outside the {offset} rows there are")
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
