"""What questions are answered from: counts, codes, labels, neighbours and values of one experiment, read as needed.

v: classes; c: codebooks; m: keys of a codebook; n: items; r: neighbours of an item in a codebook.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkvb.checkpoint import mapped, read_mask_header
from dkvb.decoding import add_votes
from dkvb.errors import BadCheckpoint
from dkvb.orders import TAU, RemovalOrder
from jobs.classes import class_indexes, ranked_order, votes_of
from jobs.errors import BadRequest
from jobs.printable import number
from jobs.results.experiment import Experiment
from jobs.step import SPLITS
from store import arrays
from store.artefacts import Artefact, read_json
from store.checksums import ledger_of
from store.files import exists, names, on_disk
from store.layout import CHECKPOINT, MANIFEST, MASK
from store.manifest import FORGOTTEN, Manifest
from store.places import Place
from store.query import Activations, open_activations
from store.tombstones import check_stands


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
        if not isinstance(name, str):
            raise BadRequest(f'class: found {name!r}, expected a name, or "#" and a number')
        if name.startswith("#") and name[1:].isdecimal() and name not in self.classes:
            if int(name[1:]) >= len(self.classes):
                raise BadRequest(f"no class {name}: the last of {len(self.classes)} is #{len(self.classes) - 1}")
            return int(name[1:])
        return class_indexes(self.classes, [name])[0]

    @property
    def size(self) -> tuple[int, int]:
        """Codebooks and keys of each: (c, m)."""
        return self.activations.counts.shape[1], self.activations.counts.shape[2]

    def of_split(self, kind: str, split: str) -> Artefact:
        """The artefact of a step that is done for each split; raises: BadRequest, also for a split that is none."""
        if split not in SPLITS:
            raise BadRequest(f"split: found {split!r}, expected one of {', '.join(SPLITS)}")
        return self.experiment.artefact(f"{kind}[{split}]")

    def check_filled(self, classes: Sequence[int]) -> None:
        """Check that classes have training items; raises: BadRequest, also where all of them were forgotten."""
        for k in classes:
            if not self.activations.of_class(k).any():
                gone = sum(shard.labels.count(FORGOTTEN) for shard in self.manifest("train").shards)
                why = f" left: {number(gone, 'item was', 'items were')} forgotten for good" if gone else ""
                raise BadRequest(f"class {self.classes[k]!r} hits no pair: it has no training items{why}")

    def labels(self, split: str) -> NDArray[np.int64]:
        """(n,) classes of the items of a split; -1 for a skipped one."""
        data = self.of_split("embeddings", split).data
        return arrays.read_shards(data, "labels").astype(np.int64)

    def codes(self, split: str) -> arrays.StoredArray:
        """(n, c) codes of a split before anything is masked."""
        return arrays.open_array(self.of_split("codes", split).data, "codes")

    def neighbours(self, split: str) -> arrays.StoredArray:
        """(n, c, r) nearest selectable keys in order."""
        return arrays.open_array(self.of_split("neighbours", split).data, "neighbours")

    def manifest(self, split: str) -> Manifest:
        """Shards, labels and problems of a split."""
        return Manifest.from_json(read_json(self.of_split("manifest", split).path / MANIFEST))

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

    def rule_mask(self, classes: Sequence[int]) -> NDArray[np.bool_]:
        """(c, m) the mask of Unlearning via Activations at the rule's N, for some classes together."""
        order = self.removal_order(classes)
        return order.mask(order.smallest(TAU))

    def removal_order(self, classes: Sequence[int], *, scope: str = "global") -> RemovalOrder:
        """The order in which Unlearning via Activations takes pairs from some classes together, by the sweep's rank."""
        counts, hits = self.activations.counts, np.zeros(self.size, np.int64)

        def all_votes() -> NDArray[np.float64]:
            with self.values() as values:
                return votes_of(counts, classes, values)

        for k in classes:
            hits += self.activations.of_class(k)
        return ranked_order(self.experiment.rank, counts, hits, scope=scope, votes=all_votes)

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
        folder = file if file.is_dir() else self.request_folder(text)
        check_stands(folder, MASK)
        if not exists(folder / MASK):
            raise BadRequest(f"{folder}: holds no mask; name a request of method uva or uve")
        return folder / MASK

    def request_folder(self, text: str) -> Place:
        """The folder of a request, by the first letters of its name; raises: BadRequest."""
        folder = self.experiment.root / "unlearned"
        known = [name for name in names(folder) if name.startswith(text)]
        if len(known) != 1:
            there = (
                "none there: `dkvb unlearn` makes one" if not names(folder) else f"there: {', '.join(names(folder))}"
            )
            what = "names several" if known else "is neither a mask file nor a folder of"
            raise BadRequest(f"{text!r} {what} {folder} ({there})")
        return folder / known[0]


def logits(codes: NDArray[np.int16], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(k, v) logits of codes (k, c), to the last bit those of `dkvb.bottleneck.decode`; values: (c, m, v)."""
    total = np.zeros((len(codes), values.shape[2]), np.float32)
    columns = np.ascontiguousarray(codes.T, np.intp)
    add_votes(total, columns, np.asarray(values), fetch=lambda table, rows: table.take(rows, 0, mode="clip"))
    return total
