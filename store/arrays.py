"""Zarr arrays: created once by the driver, written chunk by chunk by workers, read by everyone.

Two writers in one chunk lose data silently, so a worker writes whole chunks only, and opens "r+" only: mode "a"
would create what is missing and "w" wipe what is there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from store.errors import ArtefactMissing, ChunkMismatch
from store.layout import ARRAYS


def count_dtype(largest: int) -> str:
    """The smallest unsigned type that holds a count (uint16 or uint32)."""
    return "uint16" if largest <= np.iinfo(np.uint16).max else "uint32"


def create(
    data: Path,
    name: str,
    shape: Sequence[int],
    *,
    dtype: str | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Create one empty array of a group; what another driver, or a killed one, created alike is left as it is.

    data: the Zarr group (made when missing).
    name: path of the array in the group, such as "codes" or "embeddings/00003"; its first part is the entry in
        `store.layout.ARRAYS`.
    dtype: overrides the layout's where that is "count".
    """
    how = ARRAYS[name.split("/")[0]]
    chunks = tuple(max(1, min(how.chunk.get(axis, size), size)) for axis, size in zip(how.dims, shape, strict=True))
    group = zarr.open_group(data, mode="a", zarr_format=3)
    there: Any = group.get(name)
    if there is not None and there.shape == tuple(shape):
        return
    group.create_array(
        name,
        shape=tuple(shape),
        chunks=chunks,
        dtype=dtype or how.dtype,
        fill_value=how.fill,
        compressors=how.codec,
        dimension_names=how.dims,
        attributes={"meaning": how.meaning, **(attributes or {})},
        overwrite=True,
    )


def open_array(data: Path, name: str, *, mode: str = "r") -> Any:
    """Open one array of a group; raises: ArtefactMissing when it is not there."""
    try:
        return zarr.open_array(data / name, mode=mode, zarr_format=3)
    except FileNotFoundError:
        raise ArtefactMissing(f"{data / name}: no array there; run `dkvb run` on this root first") from None


def write(data: Path, name: str, block: NDArray[Any], *, start: int = 0) -> None:
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
    array[start:stop] = block


def read(data: Path, name: str) -> NDArray[Any]:
    """Read one whole array."""
    return np.asarray(open_array(data, name)[...])


def read_shards(data: Path, name: str, *, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Read rows of an array kept as one part per image shard, in manifest order.

    data: the Zarr group; name: the sub-group whose arrays are the parts ("embeddings", "labels").
    start, stop: rows over all parts together; only the parts they touch are read.
    """
    parts, offset = [], 0
    try:
        group = zarr.open_group(data / name, mode="r", zarr_format=3)
    except FileNotFoundError:
        raise ArtefactMissing(f"{data / name}: no arrays there; run `dkvb run` on this root first") from None
    for key in sorted(group.array_keys()):
        part: Any = group[key]
        size = part.shape[0]
        lo, hi = max(start - offset, 0), size if stop is None else min(stop - offset, size)
        if lo < hi:
            parts.append(np.asarray(part[lo:hi]))
        offset += size
    if not parts:
        raise ArtefactMissing(f"{data / name}: rows {start}:{stop} lie outside the {offset} rows there are")
    return np.concatenate(parts)
