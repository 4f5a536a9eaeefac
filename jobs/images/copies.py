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
    relabelled: int
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


def blank(contents: bytes, gone: NDArray[np.bool_]) -> bytes:
    """The same without some items; gone: (n,), which."""
    if not gone.any():
        return contents
    known = np.frombuffer(contents, np.uint64).copy()
    known[gone[: len(known)]] = 0
    return known.tobytes()


def within(embeddings: Artefact) -> Copies | None:
    """Items after the first of their content in one split; None where it is not known."""
    known = _known(embeddings)
    if known is None:
        return None
    contents, labels = known
    _, first, inverse = np.unique(contents, return_index=True, return_inverse=True)
    original = first[inverse]
    is_copy = original != np.arange(len(contents))
    return Copies(int(is_copy.sum()), int((labels[original] != labels)[is_copy].sum()))


def across(train: Artefact, test: Artefact) -> Copies | None:
    """Test items whose bytes a training item has; None where it is not known."""
    known_train, known_test = _known(train), _known(test)
    if known_train is None or known_test is None:
        return None
    (train_contents, train_labels), (test_contents, test_labels) = known_train, known_test
    contents, first = np.unique(train_contents, return_index=True)
    place = np.searchsorted(contents, test_contents).clip(max=len(contents) - 1)
    is_copy = contents[place] == test_contents
    return Copies(int(is_copy.sum()), int((train_labels[first[place]] != test_labels)[is_copy].sum()))


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
