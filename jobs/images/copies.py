"""Images that are there twice, byte for byte: within a split, and across splits, which flatters test accuracy.

The embeddings step reads every byte anyway and keeps 8 bytes of a hash for each item, in `contents/<unit>.bin`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from store import arrays
from store.artefacts import Artefact
from store.checksums import checked
from store.files import write_atomic
from store.places import Place

WIDTH = 8
"""Bytes an item; all zero: there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Copies:
    """Items whose bytes another item has."""

    items: int
    odd: int
    """Those of them whose label is not the other's."""


def write(folder: Place, unit: str, contents: bytes) -> None:
    """Keep what items of a unit are known by, `WIDTH` bytes each."""
    write_atomic(_path(folder, unit), contents)


def read(folder: Place, unit: str) -> bytes | None:
    """What items of a unit are known by; None where an older version embedded them."""
    try:
        return checked(_path(folder, unit))
    except FileNotFoundError:
        return None


def within(embeddings: Artefact) -> Copies | None:
    """Items after the first of their content in one split; None where it is not known."""
    found = _known(embeddings)
    if found is None:
        return None
    _, first, inverse = np.unique(found[0], return_index=True, return_inverse=True)
    later = first[inverse] != np.arange(len(inverse))
    return Copies(int(later.sum()), int((found[1][first[inverse]] != found[1])[later].sum()))


def across(train: Artefact, test: Artefact) -> Copies | None:
    """Test items whose bytes a training item has; None where it is not known."""
    trained, tested = _known(train), _known(test)
    if trained is None or tested is None:
        return None
    contents, first = np.unique(trained[0], return_index=True)
    at = np.searchsorted(contents, tested[0]).clip(max=len(contents) - 1)
    same = contents[at] == tested[0]
    return Copies(int(same.sum()), int((trained[1][first[at]] != tested[1])[same].sum()))


def _known(embeddings: Artefact) -> tuple[NDArray[np.uint64], NDArray[np.int32]] | None:
    """(n,) contents and labels of the items that have both."""
    parts = [read(embeddings.path, unit) for unit in embeddings.units() or []]
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts) or not whole:
        return None
    contents = np.frombuffer(b"".join(whole), np.uint64)
    labels = arrays.read_shards(embeddings.data, "labels")
    if len(contents) != len(labels):
        return None
    kept = (contents != 0) & (labels >= 0)
    if not kept.any():
        return None
    return contents[kept], labels[kept]


def _path(folder: Place, unit: str) -> Place:
    return folder / "contents" / f"{unit}.bin"
