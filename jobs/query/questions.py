"""The questions of `dkvb query` as methods, for Python: classes by name or "#" and number, answers as polars frames."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dkvb.errors import ShapeMismatch
from jobs.errors import BadRequest
from jobs.query import items, pairs
from jobs.query import sql as tables
from jobs.query.items import Why
from jobs.query.measure import Measured
from jobs.query.measure import measure as take
from jobs.query.stored import Stored

Mask = str | os.PathLike[str] | NDArray[np.bool_]
"""A mask: a file, the folder or digest that a request wrote, or the mask itself, (c, m) bool."""


@dataclass(frozen=True, slots=True, repr=False)
class Questions:
    """Questions about one experiment."""

    stored: Stored

    def __repr__(self) -> str:
        names = [name for name in dir(self) if not name.startswith("_") and callable(getattr(self, name))]
        return f"questions: {', '.join(names)}"

    def keys(self, name: str, *, limit: int | None = None) -> pl.DataFrame:
        """The pairs that a class activates most, what their values say, who shares them (`jobs.query.pairs.keys`).

        limit: of the rows, 0 or more; raises: BadRequest.
        """
        if limit is not None and limit < 0:
            raise BadRequest(f"limit: found {limit}, expected 0 or more")
        return pairs.keys(self.stored, self.stored.index(name), limit=limit)

    def classes(self, codebook: int, key: int) -> pl.DataFrame:
        """The classes that hit one pair, and its value for each (`jobs.query.pairs.pair_classes`)."""
        return pairs.pair_classes(self.stored, codebook, key)

    def overlap(self, *names: str) -> pl.DataFrame:
        """How far two classes share pairs; without names, each two of all classes.

        raises: BadRequest for another number of names.
        """
        if len(names) not in (0, 2):
            raise BadRequest(f"overlap: found {len(names)} classes, expected two, or none for all")
        if not names:
            return pairs.overlaps(self.stored)
        return pairs.overlap(self.stored, *map(self.stored.index, names))

    def collateral(self, mask: Mask) -> pl.DataFrame:
        """What a mask takes from every class: activations, votes, and test items right before and wrong after."""
        return pairs.collateral(self.stored, self._read(mask)[0])

    def confusion(self, mask: Mask | None = None, *, split: str = "test") -> pl.DataFrame:
        """Which class is taken for which, before a mask and under it; split: "test" or "train"."""
        return pairs.confusion(self.stored, None if mask is None else self._read(mask)[0], split=split)

    def load(self) -> pl.DataFrame:
        """How evenly each codebook is used, and how many of its keys are not used at all."""
        return self.stored.activations.load()

    def why(self, name: str, forgot: str | Sequence[str], mask: Mask | None = None) -> Why:
        """Why a class suffered when others left: by the rule's mask of these, or by a mask given.

        returns: a record; its `pairs`, `went` and `lost` are frames, `text()` says it for people.
        """
        left = [self.stored.index(other) for other in several(forgot)]
        return items.why(self.stored, self.stored.index(name), left, None if mask is None else self._read(mask)[0])

    def item(self, name: str, mask: Mask | None = None) -> pl.DataFrame:
        """The votes of one item, and what a mask changes in them; name: "test:17", "test:SHARD#17" or "test:KEY"."""
        return items.item(self.stored, name, None if mask is None else self._read(mask)[0])

    def measure(
        self, mask: Mask, classes: str | Sequence[str] = (), *, images: str | None = None, weights: str | None = None
    ) -> Measured:
        """What a mask did to the classes it forgets and to all others, on training and on test items.

        classes: that it forgets, where the mask does not say so itself.
        images: a folder of class folders, to measure on instead (`jobs.query.images`); weights: of the backbone then.
        """
        pairs_masked, said = self._read(mask)
        forget = [self.stored.index(name) for name in several(classes) or said]
        if images is None:
            return take(self.stored, pairs_masked, forget)
        from jobs.query.images import measure_images  # torch, and the backbone

        return measure_images(self.stored, pairs_masked, forget, images, weights=weights)

    def sql(self, text: str) -> pl.DataFrame:
        """One SELECT over all tables, in DuckDB's dialect (`jobs.query.sql`)."""
        return tables.query(self.stored, text)

    def _read(self, mask: Mask) -> tuple[NDArray[np.bool_], list[str]]:
        """A mask (c, m) bool, and the classes that it says it forgets.

        raises: BadRequest; BadCheckpoint for another model's; ShapeMismatch.
        """
        if isinstance(mask, np.ndarray):
            if mask.dtype != np.bool_ or mask.shape != self.stored.size:
                raise ShapeMismatch(f"mask: found {mask.dtype} {mask.shape}, expected bool {self.stored.size} (c, m)")
            return mask, []
        found, header = self.stored.read_mask(os.fspath(mask))
        classes = header.get("classes")
        return found, [str(name) for name in classes] if isinstance(classes, list) else []


def several(names: str | Sequence[str]) -> list[str]:
    """One name or several, as a list."""
    return [names] if isinstance(names, str) else list(names)
