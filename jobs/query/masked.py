"""Codes under a mask, from what is stored: to the last bit those of the masked model.

k: some items; c: codebooks; m: keys of a codebook; r: keys of a list.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dkvb.checkpoint import mapped
from dkvb.redirection import BEYOND, redirected
from jobs.query.stored import Stored
from store import arrays
from store.errors import NotARoot
from store.files import on_disk
from store.layout import ARRAYS, CHECKPOINT

if TYPE_CHECKING:
    from dkvb.remaining import RemainingKeys

COMPILED = 2048
"""Items for which compiled kernels are worth being loaded."""

LISTS = ARRAYS["neighbours"].chunk["item"]
"""Items of a chunk of lists."""


@dataclass(frozen=True)
class Masked:
    """One experiment's items under one mask."""

    stored: Stored
    mask: NDArray[np.bool_]
    """(c, m)."""
    _once: Lock = field(default_factory=Lock, repr=False, compare=False)
    """Blocks of items are looked at side by side, and the model is packed for the first that needs it."""

    def codes(self, split: str, rows: NDArray[np.int64]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """Codes of some items before and under the mask. Lists are read of items that lose a code, and no others.

        rows: (k,) increasing.
        returns: twice (k, c), NO_VOTE where nothing is selectable.
        raises: NotARoot where the arrays of a root do not fit each other.
        """
        if not len(rows):
            return (none := np.zeros((0, self.stored.size[0]), np.int16)), none
        before = self._rows(self.stored.codes(split), rows)
        after = before.copy()
        lost = self.mask[np.arange(before.shape[1]), np.maximum(before, 0)] & (before >= 0)
        touched = np.flatnonzero(lost.any(1))
        redirect, parts = self._redirect(len(touched)), [touched]
        if len(touched) >= COMPILED:  # chunk by chunk: lists are walked while they lie in the cache
            parts = np.split(touched, 1 + np.flatnonzero(np.diff(rows[touched] // LISTS)))
        for some in parts if len(touched) else []:
            lists = self._rows(self.stored.neighbours(split), rows[some])
            after[some] = redirect(before[some], lists, self.mask)
        if len(beyond := np.flatnonzero((after == BEYOND).any(1))):
            reach = slice(int(beyond[0]), int(beyond[-1]) + 1)
            self._search(split, rows[reach], after[reach])
        return before, after

    def _redirect(self, items: int) -> Callable[..., NDArray[np.int16]]:
        """How lists of so many items are walked."""
        if items < COMPILED:
            return redirected
        from dkvb.remaining import redirected as compiled

        return compiled

    def _rows(self, array: arrays.StoredArray, rows: NDArray[np.int64]) -> NDArray[np.int16]:
        """Some rows of codes or neighbours; raises: NotARoot."""
        c, m = self.stored.size
        if array.shape[1] != c or rows[-1] >= array.shape[0]:
            raise NotARoot(
                f"{array.path}: of {array.shape[0]} items in {array.shape[1]} codebooks, where labels and counts have "
                f"{rows[-1] + 1} or more in {c}: it was changed"
            )
        side_by_side = len(rows) == rows[-1] + 1 - rows[0]
        found = array[int(rows[0]) : int(rows[-1]) + 1] if side_by_side else array.rows(rows)
        if found.size and found.max() >= m:
            raise NotARoot(f"{array.path}: names key {found.max()} of {m}: it was changed")
        return found

    def _search(self, split: str, rows: NDArray[np.int64], codes: NDArray[np.int16]) -> None:
        """Find each BEYOND among the codes (k, c) of some items, in place."""
        data, first, last = self.stored.of_split("embeddings", split).data, int(rows[0]), int(rows[-1])
        z = arrays.read_shards(data, "embeddings", start=first, stop=last + 1)
        with self._once:
            remaining = self._remaining
        remaining.search(z if len(z) == len(rows) else z[rows - first], codes)

    @cached_property
    def _remaining(self) -> "RemainingKeys":
        """The keys that the mask leaves."""
        from dkvb.remaining import RemainingKeys  # compiled kernels: most questions need none

        with on_disk(self.stored.experiment.artefact("values").path / CHECKPOINT) as file:
            parts = [np.array(mapped(file, name)) for name in ("projection", "keys", "selectable")]
        projection, keys, selectable = parts
        return RemainingKeys.of(projection, keys, selectable & ~self.mask)
