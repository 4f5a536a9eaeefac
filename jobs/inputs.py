"""Reading what earlier steps wrote, as tensors: rows in manifest order, skipped items left out where it says so."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb.counts import count_codes
from dkvb.sweep import Items
from dkvb.training import TrainSettings
from jobs.classes import class_indexes
from jobs.errors import BadRequest
from jobs.spec.images import SplitImages
from jobs.step import SPLITS, Task
from store import arrays
from store.arrays import StoredArray
from store.artefacts import read_json
from store.images import Images, Manifest
from store.layout import BLOCK, MANIFEST


class AsksImages(Protocol):
    """The asks of a step that reads images."""

    @property
    def images(self) -> SplitImages:
        """Which."""


class AsksClasses(Protocol):
    """The asks of a step that forgets classes."""

    @property
    def classes(self) -> list[str] | None:
        """Their names; None: all that have training items."""

    @property
    def first(self) -> int | None:
        """Of these only the first so many."""


def labels(task: Task[object], name: str) -> Tensor:
    """(n,) int64 labels of an embeddings input; -1 for a skipped item."""
    return torch.from_numpy(arrays.read_shards(task.path(name), "labels")).long()


def embeddings(task: Task[object], name: str, *, start: int = 0, stop: int | None = None) -> Tensor:
    """(n, d_z) float16 rows of an embeddings input."""
    return torch.from_numpy(arrays.read_shards(task.path(name), "embeddings", start=start, stop=stop))


def some_embeddings(task: Task[object], name: str, rows: Tensor) -> Tensor:
    """(k, d_z) float16 rows of an embeddings input, read block by block; rows: (k,) int64, in order."""
    return _by_block(lambda start, stop: embeddings(task, name, start=start, stop=stop), rows)


def some_codes(task: Task[object], name: str, rows: Tensor) -> Tensor:
    """(k, c) int16 rows of a codes input, read block by block; rows: (k,) int64, in order."""
    stored = arrays.open_array(task.path(name), "codes")
    return _by_block(lambda start, stop: torch.from_numpy(stored[start:stop]), rows)


def _by_block(read: Callable[[int, int], Tensor], rows: Tensor) -> Tensor:
    """Rows of what is read from a start to a stop, in order: in memory are these rows and one block."""
    picked = None
    for start in range(0, int(rows[-1]) + 1 if len(rows) else 1, BLOCK):
        begin, end = torch.searchsorted(rows, torch.tensor([start, start + BLOCK])).tolist()
        if picked is not None and begin == end:
            continue
        block = read(start, start + BLOCK)
        picked = block.new_empty(len(rows), *block.shape[1:]) if picked is None else picked
        picked[begin:end] = block[rows[begin:end] - start]
    assert picked is not None
    return picked


def tensor(task: Task[object], name: str, array: str) -> Tensor:
    """One whole array of an input."""
    return torch.from_numpy(arrays.read(task.path(name), array))


@dataclass(frozen=True, slots=True)
class SweptItems:
    """The items of one split as a sweep needs them; all but their labels is read block by block."""

    split: str
    labels: Tensor
    """(n,) int64; -1 for a skipped item."""
    embeddings: Callable[[slice], Tensor]
    """(rows, d_z) float16 of some rows."""
    codes: StoredArray
    """(n, c) int16."""
    neighbours: StoredArray
    """(n, c, r) int16."""

    @classmethod
    def of(cls, task: Task[object], split: str) -> Self:
        """From the inputs of a task."""
        codes = arrays.open_array(task.path(f"codes_{split}"), "codes")
        neighbours = arrays.open_array(task.path(f"neighbours_{split}"), "neighbours")

        def z(rows: slice) -> Tensor:
            return embeddings(task, split, start=rows.start, stop=rows.stop)

        return cls(split, labels(task, split), z, codes, neighbours)

    def blocks(self) -> Iterator[slice]:
        """The rows of each block."""
        for start in range(0, len(self.labels), BLOCK):
            yield slice(start, start + BLOCK)

    def read(self, rows: slice) -> Items:
        """The items of a block, skipped ones included."""
        return Items(self.embeddings(rows), self.read_codes(rows), torch.from_numpy(self.neighbours[rows]))

    def read_codes(self, rows: slice) -> Tensor:
        """The codes of a block: (block, c) int16."""
        return torch.from_numpy(self.codes[rows])

    def sizes(self, v: int) -> NDArray[np.int64]:
        """(v,) how many items each class has, skipped ones left out."""
        return torch.bincount(self.labels[self.labels >= 0], minlength=v).numpy()


def selectable(task: Task[object], keys: Tensor) -> Tensor:
    """(c, m) bool, the keys that may be selected: those that a "seen" input (the training codes) uses, or all."""
    if "seen" not in task.inputs:
        return torch.ones(keys.shape[:2], dtype=torch.bool)
    return count_codes(tensor(task, "seen", "codes"), keys.shape[1]) > 0


def images_of(task: Task[AsksImages]) -> Images:
    """The images that a task is asked to read."""
    return task.asks.images.open(task.location)


def read_manifest(task: Task[object], name: str = "manifest") -> Manifest:
    """The manifest that a task was given as input."""
    return Manifest.from_json(read_json(task.inputs[name].path / MANIFEST))


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """In what two backbones' facts differ; the path a weight file was read from decides nothing."""
    return sorted(key for key in one.keys() | other.keys() if key != "weights" and one.get(key) != other.get(key))


def check_alike(task: Task[object]) -> None:
    """Both splits must have been embedded in the same way; raises: BadRequest naming what differs."""
    facts = [task.inputs[split].facts()["backbone"] for split in SPLITS]
    if differ := differences(*facts):
        raise BadRequest(
            f"{task.inputs['test'].path}: test and training images were embedded in different ways (they differ in: "
            f"{', '.join(differ)}), which changes codes; delete that folder and run again in one environment"
        )


def wanted_classes(task: Task[AsksClasses]) -> list[int]:
    """Indexes of the classes that a task is asked for, in order.

    Those that are named, or all that have training items: of a class without any there is nothing to forget.
    """
    names, asks = read_manifest(task).classes, task.asks
    if asks.classes is not None:
        return class_indexes(names, asks.classes)[: asks.first]
    with_items = set(labels(task, "train").tolist())
    return [k for k in range(len(names)) if k in with_items][: asks.first]


def oracle_classes(task: Task[object]) -> list[int]:
    """Classes for which an oracle's keys were fitted without them, in the order of its arrays; none without one."""
    if "oracles" not in task.inputs:
        return []
    return list(task.inputs["oracles"].facts()["classes"])


def oracle_logits(task: Task[object], name: str, *, classes: Sequence[int], k: int) -> dict[str, Tensor] | None:
    """Split -> (n, v) logits of the oracle whose keys never saw a class; None where there is none.

    name: "oracle_logits", of values that were trained, or "oracle_lda_logits", of values that were solved for.
    classes: those of `oracle_classes`; k: the class.
    """
    if k not in classes:
        return None
    index, path = classes.index(k), task.path("oracles")
    return {split: torch.from_numpy(arrays.open_array(path, f"{name}_{split}")[index]) for split in SPLITS}


def settings_of(task: Task[object], head: str) -> TrainSettings:
    """How a head ("values" or "linear") was trained, to the number of epochs: the recipe of whoever trains it again."""
    settings = task.inputs[head].spec()["spec"]["settings"]
    return TrainSettings(**{**settings, "epochs": task.inputs[head].marks()[head]["epochs"], "validation": 0.0})
