"""Both heads of an experiment as steps that forget something need them: features, labels, weights, recipe.

A head knows what is particular to it, so nobody has to ask which of the two it is.

n: items; v: classes; c: codebooks; m: pairs of a codebook; d_z: width of an embedding; features: rows of the weights,
c * m or d_z + 1.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from safetensors.torch import load
from torch import Tensor

from dkvb import flops, probes
from dkvb.baselines import Baseline, Dampen, ForgetTask, importance
from dkvb.bottleneck import Bottleneck, decode
from dkvb.flops import Flops
from dkvb.linear import EmbeddingFeatures
from dkvb.training import Features, TrainSettings
from dkvb.values import CodeFeatures
from jobs import inputs
from jobs.step import SPLITS, Task
from store.checksums import checked, checked_on_disk
from store.layout import CHECKPOINT, LINEAR

F = TypeVar("F", bound=Features)


@dataclass(frozen=True, slots=True)
class Head(ABC, Generic[F]):
    """A trained head and the items it is judged on; skipped items are left out."""

    name: ClassVar[str]
    decades: ClassVar[tuple[float, float]]
    """Powers of ten by which the trials of a baseline multiply its learning rate."""
    features: Mapping[str, F]
    """By split."""
    labels: Mapping[str, Tensor]
    """By split, (n,) int64."""
    weights: Tensor
    """(features, v) float32."""
    settings: TrainSettings
    """How it was trained, to the number of epochs."""

    @classmethod
    @abstractmethod
    def read(cls, task: Task[object]) -> Self:
        """Read the head that the inputs of a task hold, with its items."""

    @property
    def v(self) -> int:
        """Number of classes."""
        return self.weights.shape[1]

    @property
    @abstractmethod
    def codebooks(self) -> int:
        """Number of features that an item adds up: c; 1 for the linear head."""

    @property
    @abstractmethod
    def item_flops(self) -> Flops:
        """FLOPs of one item, forward and back."""

    @property
    @abstractmethod
    def train_bytes(self) -> int:
        """Bytes of the training items as the head sees them."""

    @abstractmethod
    def logits(self, features: F, weights: Tensor) -> Tensor:
        """(n, v) float32 of weights (features, v) float32."""

    @abstractmethod
    def held(self, features: F, weights: Tensor) -> Mapping[str, Any]:
        """What the head holds of items before it sums up: name -> (n, width) float32, dense or sparse."""

    @abstractmethod
    def joined(self, one: F, other: F) -> F:
        """Features of the items of both, one after the other."""

    @abstractmethod
    def squared_norm(self, features: F) -> float:
        """The mean over items of their features' squared norm."""

    def forget_task(self, forget: Tensor) -> ForgetTask:
        """The head that is to forget some training items, by row (n_f,) int64."""
        return ForgetTask(self.features["train"], self.labels["train"], self.weights, forget)

    def trials(self, baseline: Baseline, count: int) -> Sequence[Baseline]:
        """Settings of a baseline to try on this head, from the smallest on; raises: BadSetting for a count below 1."""
        return baseline.trials(count, decades=self.decades, codebooks=self.codebooks)

    def importance(self) -> Tensor:
        """Importance of the weights for all training items, as dampening reads it: (features, v) float32."""
        features, labels = self.features["train"], self.labels["train"]
        return importance(features, labels, self.weights, batch=Dampen().batch)


@dataclass(frozen=True, slots=True)
class LinearHead(Head[EmbeddingFeatures]):
    """The linear head on embeddings; the last row of its weights is the bias."""

    name: ClassVar[str] = "linear"
    decades: ClassVar[tuple[float, float]] = (-2.0, 2.0)

    @classmethod
    def read(cls, task: Task[object]) -> Self:
        """Read it with the embeddings of its items."""
        kept = kept_items(task)
        labels = {split: inputs.labels(task, split)[kept[split]] for split in SPLITS}
        arrays = load(checked(task.inputs["linear"].path / LINEAR))
        weights = torch.cat([arrays["weight"], arrays["bias"][None]])
        features = {split: EmbeddingFeatures.of(inputs.embeddings(task, split)[kept[split]]) for split in SPLITS}
        return cls(features, labels, weights, inputs.settings_of(task, cls.name))

    @property
    def x(self) -> dict[str, Tensor]:
        """Split -> (n, d_z + 1) float32, the embeddings and a constant one."""
        return {split: features.x for split, features in self.features.items()}

    @property
    def codebooks(self) -> int:
        """1."""
        return 1

    @property
    def item_flops(self) -> Flops:
        """FLOPs of one item, forward and back."""
        return flops.linear_head(len(self.weights) - 1, self.v)

    @property
    def train_bytes(self) -> int:
        """Bytes of the embeddings."""
        return self.x["train"].nbytes

    def logits(self, features: EmbeddingFeatures, weights: Tensor) -> Tensor:
        """(n, v) float32."""
        return features.forward(weights)

    def held(self, features: EmbeddingFeatures, weights: Tensor) -> Mapping[str, Any]:
        """The embeddings, z."""
        return {"z": features.x[:, :-1].numpy()}

    def joined(self, one: EmbeddingFeatures, other: EmbeddingFeatures) -> EmbeddingFeatures:
        """Features of the items of both, in the metric of the first."""
        return EmbeddingFeatures(torch.cat([one.x, other.x]), one.factor)

    def squared_norm(self, features: EmbeddingFeatures) -> float:
        """The mean over items of the squared norm of x."""
        return float(features.x.square().sum(1).mean())


@dataclass(frozen=True, slots=True)
class ValuesHead(Head[CodeFeatures]):
    """The values of a bottleneck on the codes of its items."""

    name: ClassVar[str] = "values"
    decades: ClassVar[tuple[float, float]] = (0.5, 4.5)

    @classmethod
    def read(cls, task: Task[object]) -> Self:
        """Read it with the codes of its items."""
        kept = kept_items(task)
        labels = {split: inputs.labels(task, split)[kept[split]] for split in SPLITS}
        bottleneck = read_bottleneck(task)
        c, m, v = bottleneck.values.shape
        codes = {split: inputs.tensor(task, f"codes_{split}", "codes")[kept[split]] for split in SPLITS}
        features = {split: CodeFeatures.of(codes[split], m) for split in SPLITS}
        return cls(features, labels, bottleneck.values.reshape(c * m, v), inputs.settings_of(task, cls.name))

    @property
    def codes(self) -> dict[str, Tensor]:
        """Split -> (n, c) int16."""
        return {split: features.codes for split, features in self.features.items()}

    @property
    def c(self) -> int:
        """Number of codebooks."""
        return self.features["train"].codes.shape[1]

    @property
    def m(self) -> int:
        """Pairs of a codebook."""
        return self.features["train"].m

    @property
    def codebooks(self) -> int:
        """Number of codebooks c."""
        return self.c

    @property
    def item_flops(self) -> Flops:
        """FLOPs of one item, forward and back."""
        return flops.value_head(self.c, self.v)

    @property
    def train_bytes(self) -> int:
        """Bytes of the codes."""
        return self.codes["train"].nbytes

    def logits(self, features: CodeFeatures, weights: Tensor) -> Tensor:
        """(n, v) float32; codes may be negative, which is no vote."""
        return logits_of(features, weights)

    def held(self, features: CodeFeatures, weights: Tensor) -> Mapping[str, Any]:
        """The codes, one-hot, and the values that they fetch."""
        n = len(features)
        table = torch.cat([weights, weights.new_zeros(1, weights.shape[1])])  # no vote fetches zeros
        fetched = table[torch.where(features.codes < 0, len(weights), features.pairs)]
        return {"values": fetched.view(n, -1).numpy(), "codes": probes.one_hot(features.codes.numpy(), features.m)}

    def joined(self, one: CodeFeatures, other: CodeFeatures) -> CodeFeatures:
        """Features of the items of both, one after the other."""
        return CodeFeatures(torch.cat([one.codes, other.codes]), one.m)

    def squared_norm(self, features: CodeFeatures) -> float:
        """1 / c: a row has c times 1 / c."""
        return 1 / features.codes.shape[1]


HEADS: Mapping[str, type[LinearHead | ValuesHead]] = {"linear": LinearHead, "values": ValuesHead}
"""The heads there are, by name."""


def kept_items(task: Task[object]) -> dict[str, Tensor]:
    """Split -> (n,) bool, the items that are not skipped."""
    return {split: inputs.labels(task, split) >= 0 for split in SPLITS}


def read_bottleneck(task: Task[object]) -> Bottleneck:
    """Read the bottleneck before anything is forgotten."""
    with checked_on_disk(task.inputs["values"].path / CHECKPOINT) as file:
        return Bottleneck.load(file)


def logits_of(features: CodeFeatures, weights: Tensor) -> Tensor:
    """Logits of values (c * m, v) float32 on codes that may be negative, which is no vote: (n, v) float32."""
    if int(features.codes.min()) < 0:
        return decode(features.codes, weights.view(features.codes.shape[1], features.m, -1))
    return features.forward(weights)
