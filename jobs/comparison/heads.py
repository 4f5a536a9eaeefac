"""Both heads of an experiment as steps that forget something need them: features, labels, weights, recipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from dkvb import trials
from dkvb.baselines import Dampen, Problem, importance
from dkvb.bottleneck import Bottleneck, decode
from dkvb.linear import EmbeddingFeatures
from dkvb.training import Features, TrainSettings
from dkvb.values import CodeFeatures
from jobs import inputs
from jobs.step import SPLITS, Task
from store.checksums import checked, checked_on_disk
from store.layout import CHECKPOINT, LINEAR

HEADS = ("linear", "values")


@dataclass(frozen=True, slots=True)
class Head:
    """A trained head and the items it is judged on; skipped items are left out."""

    name: str
    """linear or values."""
    features: Mapping[str, Features]
    """By split."""
    labels: Mapping[str, Tensor]
    """By split, (n,) int64."""
    weights: Tensor
    """(features, v) float32."""
    settings: TrainSettings
    """How it was trained, to the number of epochs."""
    codebooks: int
    """c; 1 for the linear head."""

    def problem(self, forget: Tensor) -> Problem:
        """The head that shall forget some training items, by row (n_f,) int64."""
        return Problem(self.features["train"], self.labels["train"], self.weights, forget)


def watched(task: Task) -> dict[str, Tensor]:
    """Split -> (n,) bool, the items that are not skipped."""
    return {split: inputs.labels(task, split) >= 0 for split in SPLITS}


def read_head(task: Task, name: str) -> Head:
    """Read a head with its items."""
    kept = watched(task)
    labels = {split: inputs.labels(task, split)[kept[split]] for split in SPLITS}
    settings = inputs.settings_of(task, name)
    features: dict[str, Features]
    if name == "linear":
        part = load(checked(task.inputs["linear"].path / LINEAR))
        weights = torch.cat([part["weight"], part["bias"][None]])
        features = {split: EmbeddingFeatures.of(inputs.embeddings(task, split)[kept[split]]) for split in SPLITS}
        return Head(name, features, labels, weights, settings, 1)
    bottleneck = read_bottleneck(task)
    c, m, v = bottleneck.values.shape
    codes = {split: inputs.tensor(task, f"codes_{split}", "codes")[kept[split]] for split in SPLITS}
    features = {split: CodeFeatures.of(codes[split], m) for split in SPLITS}
    return Head(name, features, labels, bottleneck.values.reshape(c * m, v), settings, c)


def read_bottleneck(task: Task) -> Bottleneck:
    """The bottleneck before anything is forgotten."""
    with checked_on_disk(task.inputs["values"].path / CHECKPOINT) as file:
        return Bottleneck.load(file)


def logits_of(features: Features, weights: Tensor) -> Tensor:
    """(n, v) float32; codes may be negative, which is no vote."""
    if isinstance(features, CodeFeatures) and int(features.codes.min()) < 0:
        return decode(features.codes, weights.view(features.codes.shape[1], features.m, -1))
    return features.forward(weights)


def chosen(marks: Mapping[str, Any], head: str, method: str, *, forget: int) -> tuple[int, bool]:
    """The trial whose mean score over the tuning classes other than the forget class is highest.

    marks: of the units of `jobs.steps.tuning`.
    returns: its place, and whether it is the first or last: a better one may lie beyond.
    """
    rows = [m for m in marks.values() if (m["head"], m["method"]) == (head, method) and m["class"] != forget]
    scores = np.array([[trial["score"] for trial in row["trials"]] for row in rows]).mean(0)
    best = int(scores.argmax())
    return best, best in (0, len(scores) - 1) and len(scores) > 1


def tuned(marks: Mapping[str, Any], head: Head, method: str, *, forget: int) -> tuple[trials.Settings, bool]:
    """The settings of that trial, and whether it is the first or last; arguments as of `chosen`."""
    place, edge = chosen(marks, head.name, method, forget=forget)
    count = len(next(iter(marks.values()))["trials"])
    return trials.trials(method, head.name, count=count, codebooks=head.codebooks)[place], edge


def importance_of(head: Head) -> Tensor:
    """Of its weights for all training items, as dampening asks for it: (features, v) float32."""
    features, labels = head.features["train"], head.labels["train"]
    return importance(features, labels, head.weights, batch=Dampen().batch)
