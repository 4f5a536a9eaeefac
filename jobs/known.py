"""All items that an experiment ever knew: its training items, and those that requests learned, forgotten ones too.

n: all of them: training items, skipped ones included, then learned ones in the order of their requests; v: classes;
c: codebooks; d_z: width of an embedding.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobs.excluded import item_digest
from jobs.item_files import check_once, training_rows
from jobs.learned import Learned
from jobs.query.item_keys import item_keys
from jobs.query.stored import Stored
from store import arrays
from store.errors import NotARoot
from store.layout import BLOCK


@dataclass(frozen=True)
class Known:
    """Items by row; what is read of them is checked, as a root of unknown origin may say anything."""

    stored: Stored
    learned: Sequence[Learned] = ()
    """What each request learned, the first one first."""

    @cached_property
    def classes(self) -> list[str]:
        """(v,) names: of the experiment, then those that were learned, in their order."""
        return [*self.stored.classes, *(name for part in self.learned for name in part.new)]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(n,) classes; -1 for a skipped item. raises: NotARoot for one that is none."""
        there = len(self.stored.classes)
        for part in self.learned:
            there += len(part.new)
            if len(part.labels) and not 0 <= part.labels.min() <= part.labels.max() < there:
                raise NotARoot(f"{self.stored.experiment.root}: items were learned for classes that are none")
        return np.concatenate([self._of_training, *(part.labels for part in self.learned)])

    @cached_property
    def training(self) -> int:
        """Number of training items, skipped ones too."""
        return len(self._of_training)

    @cached_property
    def codes(self) -> Tensor:
        """(n, c) int16; raises: NotARoot for codes of learned items that name no key."""
        c, m, _ = arrays.open_array(self.stored.experiment.artefact("keys").data, "keys").shape
        for part in self.learned:
            if part.codes.shape[1] != c or (part.codes.size and not 0 <= part.codes.min() <= part.codes.max() < m):
                raise NotARoot(f"{self.stored.experiment.root}: items were learned with codes that name no keys")
        return torch.from_numpy(np.concatenate([self.stored.codes("train")[:], *(part.codes for part in self.learned)]))

    def embeddings(self, rows: NDArray[np.int64]) -> Tensor:
        """(k, d_z) float16, embeddings of some items; rows: (k,) in order. Only the blocks that hold them are read."""
        data = self.stored.of_split("embeddings", "train").data
        own, parts = rows[rows < self.training], []
        for block in np.unique(own // BLOCK).tolist() or [0]:
            z = arrays.read_shards(data, "embeddings", start=block * BLOCK, stop=(block + 1) * BLOCK)
            parts.append(z[own[own // BLOCK == block] - block * BLOCK])
        if self.learned:
            z = np.concatenate([part.embeddings for part in self.learned])
            parts.append(z[rows[rows >= self.training] - self.training])
        return torch.from_numpy(np.concatenate(parts))

    @cached_property
    def keys(self) -> list[str]:
        """Keys of the learned items, by row less the number of training items; "" of blank ones."""
        return [key for part in self.learned for key in part.keys]

    @cached_property
    def blank(self) -> dict[str, int]:
        """Digest of its key -> row of a learned item that is blank; the last one's where several had the key."""
        texts = (text for part in self.learned for text in part.blanks)
        return {text: self.training + place for place, text in enumerate(texts) if text}

    @property
    def blank_rows(self) -> list[int]:
        """Rows of learned items of which nothing is left."""
        return [self.training + place for place, key in enumerate(self.keys) if not key]

    def rows(self, names: Sequence[str]) -> NDArray[np.int64]:
        """(k,) rows of items, in the order of their names: keys; or of training items rows and SHARD#ROW too.

        A key that several items had, one after the other was forgotten, is that of the last.
        raises: BadRequest, as `jobs.item_files.training_rows`.
        """
        check_once(names)
        learned = {key: self.training + place for place, key in enumerate(self.keys) if key}
        if self.blank:
            there = {name: self.blank.get(item_digest(name)) for name in names if name not in learned}
            learned |= {name: row for name, row in there.items() if row is not None}
        others = [name for name in names if name not in learned]
        found = dict(zip(others, training_rows(self.stored, others).tolist(), strict=True)) if others else {}
        return np.array([learned[name] if name in learned else found[name] for name in names], np.int64)

    def rest(self, gone: Collection[int]) -> Tensor:
        """(n,) bool, the items of which heads are made where some are gone."""
        rest = self.labels >= 0
        rest[np.fromiter(gone, np.int64, len(gone))] = False
        return torch.from_numpy(rest)

    def there(self, keys: Collection[str], gone: Collection[int]) -> list[str]:
        """Which of these keys items have that are not gone. Training items of older roots have no keys."""
        own = item_keys(self.stored, "train", self.stored.manifest("train").shards)
        rest, all_keys = self.rest(gone), [*([None] * self.training if own is None else own.tolist()), *self.keys]
        return [key for key, left in zip(all_keys, rest.tolist(), strict=True) if left and key in keys]

    @cached_property
    def _of_training(self) -> NDArray[np.int64]:
        return self.stored.labels("train")
