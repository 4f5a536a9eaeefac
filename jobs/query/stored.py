"""What questions are answered from: counts, codes, labels, neighbours and values of one experiment, read as needed.

v: classes; c: codebooks; m: keys of a codebook; n: items; r: neighbours of an item in a codebook.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dkvb.checkpoint import UNREADABLE, read_mask_header
from dkvb.errors import BadCheckpoint
from dkvb.orders import TAU, by_activation
from jobs.classes import class_indexes
from jobs.errors import BadRequest
from jobs.results.experiment import Experiment
from store import arrays
from store.artefacts import read_json
from store.checksums import ledger_of
from store.errors import NotARoot
from store.files import names, on_disk
from store.images import Manifest
from store.layout import CHECKPOINT, MANIFEST, MASK
from store.places import Place
from store.query import Activations, open_activations

if TYPE_CHECKING:
    from dkvb.bottleneck import Bottleneck

NO_VOTE = -1


@dataclass(frozen=True)
class Stored:
    """One experiment, as questions see it. Skipped items are left out of nothing: rows are the manifest's."""

    experiment: Experiment

    @cached_property
    def classes(self) -> list[str]:
        """(v,) names."""
        return self.experiment.classes

    @cached_property
    def activations(self) -> Activations:
        """The counts."""
        return open_activations(self.experiment.artefact("counts").data, self.classes)

    def index(self, name: str) -> int:
        """Index of a class by its name, or by "#" and its number; raises: BadRequest."""
        if name.startswith("#") and name[1:].isdecimal() and name not in self.classes:
            if int(name[1:]) >= len(self.classes):
                raise BadRequest(f"no class {name}: the last of {len(self.classes)} is #{len(self.classes) - 1}")
            return int(name[1:])
        return class_indexes(self.classes, [name])[0]

    @property
    def size(self) -> tuple[int, int]:
        """Codebooks and keys of each: (c, m)."""
        return self.activations.counts.shape[1], self.activations.counts.shape[2]

    def labels(self, split: str) -> NDArray[np.int64]:
        """(n,) classes of the items of a split; -1 for a skipped one."""
        data = self.experiment.artefact(f"embeddings[{split}]").data
        return arrays.read_shards(data, "labels").astype(np.int64)

    def codes(self, split: str) -> arrays.StoredArray:
        """(n, c) codes of a split before anything is masked."""
        return arrays.open_array(self.experiment.artefact(f"codes[{split}]").data, "codes")

    def neighbours(self, split: str) -> arrays.StoredArray:
        """(n, c, r) nearest selectable keys in order."""
        return arrays.open_array(self.experiment.artefact(f"neighbours[{split}]").data, "neighbours")

    def manifest(self, split: str) -> Manifest:
        """Shards, labels and problems of a split."""
        return Manifest.from_json(read_json(self.experiment.artefact(f"manifest[{split}]").path / MANIFEST))

    @contextmanager
    def values(self) -> Iterator[NDArray[np.float32]]:
        """(c, m, v) values, mapped, not read: a question reads the rows it needs, so only the file's size is checked.

        raises: BadCheckpoint; ArtefactDamaged.
        """
        path = self.experiment.artefact("values").path / CHECKPOINT
        if (ledger := ledger_of(path)) is not None:
            ledger.check_size(path)
        with on_disk(path) as file:
            yield mapped(file, "values")

    def masked_codes(
        self, split: str, rows: NDArray[np.int64], mask: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """Codes of some items before and under a mask, to the last bit those of the sweep.

        rows: (k,) increasing; mask: (c, m) bool.
        returns: twice (k, c), NO_VOTE where nothing is selectable.
        """
        before = self._rows(self.codes(split), rows)
        after = before.copy()
        books = np.arange(before.shape[1])
        item, book = np.nonzero((before >= 0) & mask[books, before])
        if not len(item):
            return before, after
        touched, place = np.unique(item, return_inverse=True)
        lists = self._rows(self.neighbours(split), rows[touched])
        walked = lists[place, book]  # (hits, r)
        free = (walked >= 0) & ~mask[book[:, None], walked]
        first = free.argmax(1)
        after[item, book] = np.where(free.any(1), walked[np.arange(len(walked)), first], NO_VOTE)
        beyond = np.unique(place[~free.any(1) & (walked[:, -1] >= 0)])  # a selectable key may lie past the list
        if len(beyond):
            some = touched[beyond]
            after[some] = self._searched(split, rows[some], before[some], lists[beyond], mask)
        return before, after

    def _rows(self, array: arrays.StoredArray, rows: NDArray[np.int64]) -> NDArray[np.int16]:
        """Some rows of codes or neighbours; raises: NotARoot where the arrays of a root do not fit each other."""
        c, m = self.size
        if array.shape[1] != c or (len(rows) and rows.max() >= array.shape[0]):
            raise NotARoot(
                f"{array.path}: of {array.shape[0]} items in {array.shape[1]} codebooks, where labels and counts have "
                f"{int(rows.max(initial=-1)) + 1} or more in {c}: it was changed"
            )
        found = array.rows(rows)
        if found.size and found.max() >= m:
            raise NotARoot(f"{array.path}: names key {found.max()} of {m}: it was changed")
        return found

    def _searched(
        self,
        split: str,
        rows: NDArray[np.int64],
        codes: NDArray[np.int16],
        lists: NDArray[np.int16],
        mask: NDArray[np.bool_],
    ) -> NDArray[np.int16]:
        """Codes of some items under a mask, by the kernel of the sweep: it finds the keys past the lists.

        rows: (k,) increasing; codes: (k, c) and lists: (k, c, r) of these items before anything is masked.
        """
        import torch

        from dkvb.sweep import Items, budget_table, codes_by_budget

        data, first, last = self.experiment.artefact(f"embeddings[{split}]").data, int(rows[0]), int(rows[-1])
        z = arrays.read_shards(data, "embeddings", start=first, stop=last + 1)[rows - first]
        items = Items(*(torch.from_numpy(part) for part in (z, codes, lists)))
        table = budget_table([np.where(mask, 0, 1)], [[1]])
        return codes_by_budget(self._coder, items, table, budgets=1)[0, 0].numpy()

    @cached_property
    def _coder(self) -> "Bottleneck":
        """The model without its values, on which no code depends."""
        import torch

        from dkvb.bottleneck import Bottleneck

        with on_disk(self.experiment.artefact("values").path / CHECKPOINT) as file:
            parts = {name: np.array(mapped(file, name)) for name in ("projection", "keys", "selectable")}
        tensors = {name: torch.from_numpy(part) for name, part in parts.items()}
        return Bottleneck(values=torch.zeros(*self.size, 1), header={}, **tensors)

    def item_names(self, split: str, rows: Sequence[int]) -> list[str]:
        """Where items lie: their shards and their places there."""
        shards = self.manifest(split).shards
        ends = np.cumsum([shard.items for shard in shards])
        of = np.searchsorted(ends, rows, side="right")
        return [f"{shards[i].name}#{row - (ends[i] - shards[i].items)}" for i, row in zip(of, rows, strict=True)]

    def rule_mask(self, classes: Sequence[int]) -> NDArray[np.bool_]:
        """(c, m) the mask of Unlearning via Activations at the rule's N, for some classes together."""
        order = by_activation(sum((self.activations.of_class(k) for k in classes), np.zeros(self.size, np.int64)))
        return order.mask(order.smallest(TAU))

    def read_mask(self, text: str) -> tuple[NDArray[np.bool_], dict[str, Any]]:
        """A mask of this model, and its header.

        text: a mask file, a folder that `dkvb unlearn` wrote, or the first letters of that folder's name on this root.
        raises: BadRequest; BadCheckpoint for another model's mask.
        """
        path = self._mask_file(text)
        with on_disk(path) as file:
            header = read_mask_header(file)
            if header.get("model") != self.experiment.model:
                raise BadCheckpoint(
                    f"{path}: made for another model ({str(header.get('model'))[:16]}), expected "
                    f"{self.experiment.model[:16]}: name the root or --experiment that the mask was made on"
                )
            mask = np.array(mapped(file, "mask"))
        if mask.shape != self.size:
            raise BadCheckpoint(f"{path}: found shape {mask.shape}, expected {self.size} (c, m)")
        return mask, header

    def _mask_file(self, text: str) -> Place:
        file = Path(text)
        if file.is_file():
            return file
        if file.is_dir():
            return file / MASK
        folder = self.experiment.root / "unlearned"
        known = [name for name in names(folder) if name.startswith(text)]
        if len(known) != 1:
            there = (
                "none there: `dkvb unlearn` makes one" if not names(folder) else f"there: {', '.join(names(folder))}"
            )
            what = "names several" if known else "is neither a mask file nor a folder of"
            raise BadRequest(f"{text!r} {what} {folder} ({there})")
        return folder / known[0] / MASK


def mapped(file: Path, name: str) -> NDArray[Any]:
    """One tensor of a safetensors file, mapped into memory; raises: BadCheckpoint."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            about = json.loads(opened.read(length))[name]
        dtype = {"F32": np.float32, "BOOL": np.bool_}[about["dtype"]]
        return np.memmap(file, dtype, "r", offset=8 + length + about["data_offsets"][0], shape=tuple(about["shape"]))
    except (MemoryError, *UNREADABLE) as error:
        raise BadCheckpoint(f"{file}: not readable: {error}") from error


def logits(codes: NDArray[np.int16], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(k, v) logits of codes (k, c), added in the order of `dkvb.bottleneck.decode`, to the last bit its own."""
    total = np.zeros((len(codes), values.shape[2]), np.float32)
    for j, column in enumerate(codes.T):
        votes = column >= 0
        total[votes] += values[j][column[votes]]
    total /= np.maximum((codes >= 0).sum(1, keepdims=True), 1).astype(np.float32)
    return total
