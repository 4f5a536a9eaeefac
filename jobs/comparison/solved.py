"""Heads that are solved for from sums over their training items, as the steps that compare them need them.

What forgets on such a head is subtraction: the items leave the sums, and the weights are solved for anew. Its oracle
is a head of its own kind, whose sums never held the items; no head is judged by an oracle of another kind.

n: items; v: classes; c: codebooks; m: pairs of a codebook.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic

import torch
from torch import Tensor

from dkvb.lda import Discriminants, LdaSettings, discriminants, lda_linear, lda_values
from dkvb.linear import EmbeddingFeatures
from dkvb.sums import SelectedKeys, Sums, WholeEmbeddings, WholeFeatures, whole_keys
from dkvb.training import TrainSettings
from dkvb.values import CodeFeatures
from jobs import inputs
from jobs.comparison.heads import F, Head, LinearHead, ValuesHead, kept_items
from jobs.spec.heads import SolvedHeads
from jobs.step import SPLITS, Task

UNTRAINED = TrainSettings()
"""A head has a recipe; that of these is never followed."""


@dataclass(frozen=True, slots=True)
class LinearLda(LinearHead):
    """A linear head whose weights were solved for."""

    name: ClassVar[str] = "linear-lda"


@dataclass(frozen=True, slots=True)
class ValuesLda(ValuesHead):
    """Values that were solved for."""

    name: ClassVar[str] = "values-lda"


@dataclass(frozen=True, slots=True)
class SolvedHead(Generic[F]):
    """A head, the sums that it was solved for from, and how."""

    head: Head[F]
    lda: LdaSettings
    sums: Sums
    """Over all training items."""
    whole: Callable[[Tensor], WholeFeatures]
    """Some training items, by row (k,) int64, as they are summed up."""
    made: Callable[[Discriminants], Tensor]
    """Weights (features, v) float32 of discriminants."""

    @classmethod
    def of(
        cls,
        kind: Callable[[Tensor], Head[F]],
        labels: Tensor,
        *,
        v: int,
        lda: LdaSettings,
        whole: Callable[[Tensor], WholeFeatures],
        made: Callable[[Discriminants], Tensor],
    ) -> "SolvedHead[F]":
        """Sum up all training items, and solve.

        kind: the head of weights; labels: (n,) int64 of the training items.
        raises: BadSums before a sum could be rounded; BadSetting.
        """
        sums = Sums.of(whole(torch.arange(len(labels))), labels, v=v)
        return cls(kind(made(discriminants(sums, lda))), lda, sums, whole, made)

    def sums_of(self, rows: Tensor) -> Sums:
        """Over some training items (k,) int64; raises: BadSums."""
        return Sums.of(self.whole(rows), self.head.labels["train"][rows], v=self.head.v)

    def weights(self, sums: Sums) -> Tensor:
        """(features, v) float32, by one solve; raises: as `dkvb.lda.discriminants`."""
        return self.made(discriminants(sums, self.lda))

    def without(self, rows: Tensor) -> Tensor:
        """Weights once some training items (k,) int64 have left the sums."""
        return self.weights(self.sums - self.sums_of(rows))

    def anew(self, rows: Tensor) -> Tensor:
        """Weights of sums over some training items (k,) int64 that never held any other."""
        return self.weights(self.sums_of(rows))


def solved_values(task: Task[Any], lda: LdaSettings) -> SolvedHead[CodeFeatures]:
    """Values on the codes and keys that the inputs of a task hold."""
    kept = kept_items(task)
    labels = {split: inputs.labels(task, split)[kept[split]] for split in SPLITS}
    codes = {split: inputs.tensor(task, f"codes_{split}", "codes")[kept[split]] for split in SPLITS}
    keys, _ = whole_keys(inputs.tensor(task, "keys", "keys"))
    c, m, _ = keys.shape
    v = len(inputs.read_manifest(task).classes)
    features = {split: CodeFeatures.of(codes[split], m) for split in SPLITS}
    return SolvedHead.of(
        lambda weights: ValuesLda(features, labels, weights, UNTRAINED),
        labels["train"],
        v=v,
        lda=lda,
        whole=lambda rows: SelectedKeys.of(codes["train"][rows], keys),
        made=lambda found: lda_values(found, keys).view(c * m, v),
    )


def solved_linear(task: Task[Any], lda: LdaSettings, bits: int) -> SolvedHead[EmbeddingFeatures]:
    """A linear head on the embeddings that the inputs of a task hold; bits: after the point of whole embeddings."""
    kept = kept_items(task)
    labels = {split: inputs.labels(task, split)[kept[split]] for split in SPLITS}
    z = {split: inputs.embeddings(task, split)[kept[split]] for split in SPLITS}
    features = {split: EmbeddingFeatures.of(z[split]) for split in SPLITS}
    whole = WholeEmbeddings.of(z["train"], bits)
    return SolvedHead.of(
        lambda weights: LinearLda(features, labels, weights, UNTRAINED),
        labels["train"],
        v=len(inputs.read_manifest(task).classes),
        lda=lda,
        whole=lambda rows: WholeEmbeddings(whole.q[rows]),
        made=lambda found: lda_linear(found, bits),
    )


def read_solved(task: Task[Any], asked: SolvedHeads) -> dict[str, SolvedHead[Any]]:
    """The heads that are asked for, by name; raises: BadSums, BadSetting."""
    heads: dict[str, SolvedHead[Any]] = {}
    if asked.linear is not None:
        heads[LinearLda.name] = solved_linear(task, asked.linear, asked.bits)
    if asked.values is not None:
        heads[ValuesLda.name] = solved_values(task, asked.values)
    return heads
