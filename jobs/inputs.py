"""Reading what earlier steps wrote, as tensors: rows in manifest order, skipped items left out where it says so."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dkvb.counts import count_codes
from dkvb.training import TrainSettings
from jobs.classes import class_indexes
from jobs.errors import BadRequest
from jobs.step import Task
from store import arrays
from store.artefacts import read_json
from store.images import Images, Manifest, open_images
from store.layout import MANIFEST


def labels(task: Task, name: str) -> Tensor:
    """(n,) int64 labels of an embeddings input; -1 for a skipped item."""
    return torch.from_numpy(arrays.read_shards(task.path(name), "labels")).long()


def embeddings(task: Task, name: str, *, start: int = 0, stop: int | None = None) -> Tensor:
    """(n, d_z) float16 rows of an embeddings input."""
    return torch.from_numpy(arrays.read_shards(task.path(name), "embeddings", start=start, stop=stop))


def tensor(task: Task, name: str, array: str) -> Tensor:
    """One whole array of an input."""
    return torch.from_numpy(arrays.read(task.path(name), array))


def selectable(task: Task, keys: Tensor) -> Tensor:
    """(c, m) bool, the keys that may be selected: those that a "seen" input (the training codes) uses, or all."""
    if "seen" not in task.inputs:
        return torch.ones(keys.shape[:2], dtype=torch.bool)
    return count_codes(tensor(task, "seen", "codes"), keys.shape[1]) > 0


def images_of(task: Task) -> Images:
    """The images of a task that carries their description."""
    images = task.spec["images"]
    return open_images(
        images["kind"],
        task.where["location"],
        pattern=images["pattern"],
        shard_items=images["shard_items"],
        class_file=images["class_file"],
        columns=images.get("columns"),
    )


def read_manifest(task: Task, name: str = "manifest") -> Manifest:
    """The manifest that a task was given as input."""
    return Manifest.from_json(read_json(task.inputs[name].path / MANIFEST))


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """In what two backbones' facts differ; the path a weight file was read from decides nothing."""
    return sorted(key for key in one.keys() | other.keys() if key != "weights" and one.get(key) != other.get(key))


def check_alike(task: Task) -> None:
    """Both splits must have been embedded in the same way; raises: BadRequest naming what differs."""
    facts = [read_json(task.inputs[split].path / "provenance.json")["facts"]["backbone"] for split in ("train", "test")]
    if differ := differences(*facts):
        raise BadRequest(
            f"{task.inputs['test'].path}: test and training images were embedded in different ways (not alike in: "
            f"{', '.join(differ)}), which changes codes; delete that folder and run again in one environment"
        )


def wanted_classes(task: Task) -> list[int]:
    """Indexes of the classes a task asks for, and of these the first so many if it says so.

    Those it names, or all that have training items: of a class without any there is nothing to forget.
    """
    names, asked = read_manifest(task).classes, task.spec["classes"]
    there = set(labels(task, "train").tolist())
    found = [k for k in range(len(names)) if k in there] if asked is None else class_indexes(names, asked)
    return found[: task.spec.get("first")]


def oracle_classes(task: Task) -> list[int]:
    """Classes for which an oracle's keys were fitted without them, in the order of its arrays; none without one."""
    if "oracles" not in task.inputs:
        return []
    return list(read_json(task.inputs["oracles"].path / "provenance.json")["facts"]["classes"])


def settings_of(task: Task, head: str) -> TrainSettings:
    """How a head ("values" or "linear") was trained, to the number of epochs: the recipe of whoever trains it again."""
    asked = read_json(task.inputs[head].path / "spec.json")["spec"]["settings"]
    return TrainSettings(**{**asked, "epochs": task.inputs[head].marks()[head]["epochs"], "validation": 0.0})
