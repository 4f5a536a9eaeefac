"""Heads of an experiment that are functions of sums over items: the values, the linear head, or both.

A request changes all of them together, so that none still knows what the others forgot.

n: items that an experiment ever knew (`jobs.known`); v: classes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from dkvb.bottleneck import Bottleneck
from dkvb.counts import count_codes
from dkvb.lda import LdaSettings, discriminants, lda_linear, lda_values
from dkvb.sums import SelectedKeys, Sums, WholeEmbeddings, WholeFeatures
from jobs.errors import BadRequest
from jobs.kept import summed_steps
from jobs.known import Known
from jobs.results.experiment import Experiment
from jobs.step import to_json
from jobs.summed import read_summed, read_whole_keys
from store.artefacts import Artefact, as_written
from store.checksums import DONE, checked_on_disk
from store.errors import ArtefactDamaged
from store.files import exists, write_atomic
from store.layout import CHECKPOINT, LINEAR, LINEAR_SUMS, SUMS
from store.places import Place
from store.recording import stamp

TRAINED = {
    "values": "the values: trained, no function of sums",
    "linear": "the linear head: trained, no function of sums",
}
"""What is said of a head that no request changes, by its step."""


class Head(Protocol):
    """A head that is a function of sums."""

    @property
    def experiment(self) -> Experiment:
        """Whose it is."""

    @property
    def previous(self) -> Artefact | None:
        """The last request; None: there was none."""

    @property
    def step(self) -> str:
        """Label of the step with the sums that requests begin with; also the key of its digest in their specs."""

    @property
    def sums(self) -> str:
        """Name of the file of sums in a request's folder."""

    @property
    def made(self) -> str:
        """Name of the file of the head there."""

    @property
    def origins(self) -> list[Place]:
        """The files that a request begins with, or that speak of them."""

    def first(self) -> Sums:
        """The sums before any request."""

    def features(self, known: Known, rows: NDArray[np.int64]) -> WholeFeatures:
        """What is summed up of some items; rows: in order."""

    def write(self, sums: Sums, known: Known, rest: Tensor, folder: Place, request: Mapping[str, Any]) -> None:
        """Solve for the head and write it; rest: (n,) bool, the items of the sums; request: its spec."""


@dataclass(frozen=True)
class ValuesHead:
    """Values, and with them the bottleneck as one checkpoint."""

    experiment: Experiment
    previous: Artefact | None
    step = "sums"
    sums = SUMS
    made = CHECKPOINT

    @property
    def origins(self) -> list[Place]:
        """See `Head`."""
        return [model_before(self.experiment, self.previous), self.experiment.artefact("sums").path / DONE]

    @cached_property
    def keys(self) -> Tensor:
        """(c, m, d_k) int16, whole keys."""
        return read_whole_keys(self.experiment.artefact("sums"))

    def first(self) -> Sums:
        """See `Head`."""
        return read_summed(self.experiment.artefact("sums")).sums

    def features(self, known: Known, rows: NDArray[np.int64]) -> WholeFeatures:
        """See `Head`."""
        return SelectedKeys.of(known.codes[torch.from_numpy(rows)], self.keys)

    def write(self, sums: Sums, known: Known, rest: Tensor, folder: Place, request: Mapping[str, Any]) -> None:
        """See `Head`; selectable are the keys that the items of the sums select."""
        settings = self.experiment.artefact("values").spec()["spec"]
        values = lda_values(discriminants(sums, LdaSettings(**settings["lda"])), self.keys)
        with checked_on_disk(model_before(self.experiment, self.previous)) as file:
            model = Bottleneck.load(file)
        used = count_codes(known.codes[rest], self.keys.shape[1]) > 0
        selectable = used if settings["selectable"] == "used" else model.selectable
        header = {**model.header, "classes": known.classes, "unlearned": dict(request)}
        made = Bottleneck(model.projection, model.keys, values, selectable, header)
        write_atomic(folder / CHECKPOINT, made.parts())


@dataclass(frozen=True)
class LinearHead:
    """The linear head on embeddings."""

    experiment: Experiment
    previous: Artefact | None
    step = "linear"
    sums = LINEAR_SUMS
    made = LINEAR

    @property
    def origins(self) -> list[Place]:
        """See `Head`."""
        own, before = self.experiment.artefact("linear").path, self.previous
        there = None if before is None else before.path / LINEAR
        return [own / LINEAR if there is None or not exists(there) else there, own / DONE]

    @cached_property
    def settings(self) -> tuple[LdaSettings, int]:
        """How it is solved for, and bits after the point of whole embeddings."""
        artefact = self.experiment.artefact("linear")
        with as_written(artefact.path):
            spec = artefact.spec()["spec"]
            return LdaSettings(**spec["lda"]), int(spec["bits"])

    def first(self) -> Sums:
        """See `Head`."""
        with checked_on_disk(self.experiment.artefact("linear").path / SUMS) as file:
            return Sums.load(file)

    def features(self, known: Known, rows: NDArray[np.int64]) -> WholeFeatures:
        """See `Head`."""
        return WholeEmbeddings.of(known.embeddings(rows), self.settings[1])

    def write(self, sums: Sums, known: Known, rest: Tensor, folder: Place, request: Mapping[str, Any]) -> None:
        """See `Head`."""
        settings, bits = self.settings
        weights = lda_linear(discriminants(sums, settings), bits)
        tensors = {"weight": weights[:-1].contiguous(), "bias": weights[-1].contiguous()}
        write_atomic(folder / LINEAR, save(tensors))


def model_before(experiment: Experiment, previous: Artefact | None) -> Place:
    """The checkpoint that a request takes the place of: of the last request that made one, or of the values step."""
    if previous is not None and exists(previous.path / CHECKPOINT):
        return previous.path / CHECKPOINT
    return experiment.artefact("values").path / CHECKPOINT


def summed_heads(experiment: Experiment, previous: Artefact | None) -> list[Head]:
    """The heads that requests change; previous: the last request. raises: BadRequest where all are trained."""
    heads: list[Head] = []
    solved = summed_steps(experiment)
    if "sums" in solved:
        heads.append(ValuesHead(experiment, previous))
    if "linear" in solved:
        heads.append(LinearHead(experiment, previous))
    if not heads:
        raise BadRequest(
            f"{experiment.name}: its values and its linear head are trained, so nothing can be taken out of them, or "
            "added, exactly; `dkvb unlearn --method retrain` trains the values again without the items, and a spec "
            'with [values] method = "lda", run under a name of its own, makes a head that can'
        )
    return heads


def trained_heads(experiment: Experiment) -> list[str]:
    """What no request to forget exactly changes: heads that are trained, by their steps."""
    solved = summed_steps(experiment)
    return [head for head, step in (("values", "sums"), ("linear", "linear")) if step not in solved]


def head_steps(heads: Sequence[Head]) -> dict[str, str | None]:
    """Digests of the steps of the heads that a request changes, as its spec names them; None: it is trained."""
    changed = {head.step: head.experiment.steps[head.step] for head in heads}
    return {step: changed.get(step) for step in ("sums", "linear")}


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What a request makes of one head."""

    head: Head
    before: Sums
    after: Sums


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What a request makes of all heads that are functions of sums."""

    known: Known
    """All items after the request."""
    rest: Tensor
    """(n,) bool, the items of which heads are then made."""
    heads: Sequence[Change]

    def __post_init__(self) -> None:
        if odd := [each.after.n for each in self.heads if each.after.n != self.left]:
            root = self.known.stored.experiment.root
            raise ArtefactDamaged(f"{root}: sums of {odd[0]} items, {self.left} are left: changed by others")

    @property
    def left(self) -> int:
        """How many items heads are then made of."""
        return int(self.rest.sum())

    def write(self, folder: Place, request: Mapping[str, Any]) -> None:
        """Write new sums and new heads; request: its spec."""
        for each in self.heads:
            write_atomic(folder / each.head.sums, each.after.to_bytes())
            each.head.write(each.after, self.known, self.rest, folder, request)

    def said(self, files: Mapping[str, str]) -> dict[str, Any]:
        """SHA-256 and size of the sums' files, before and after, of each head; and the heads that stay as they are.

        files: those that were written.
        """
        stamps = {}
        for each in self.heads:
            prefix = "" if each.head.step == "sums" else f"{each.head.step}_"
            stamps[f"{prefix}before"] = stamp(each.before.to_bytes())
            stamps[f"{prefix}after"] = files[each.head.sums]
        return {**stamps, "trained": trained_heads(self.known.stored.experiment)}

    def origins(self) -> list[Place]:
        """Files that speak of the heads before any request."""
        return [path for each in self.heads for path in each.head.origins]

    def paths(self, folder: Place) -> dict[str, str | None]:
        """Where sums, checkpoint and linear head of a request are; None: not changed."""
        values = next((each.head for each in self.heads if each.head.step == "sums"), None)
        linear = next((each.head for each in self.heads if each.head.step == "linear"), None)
        return {
            "sums": None if values is None else str(folder / values.sums),
            "checkpoint": None if values is None else str(folder / values.made),
            "linear": None if linear is None else str(folder / linear.made),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a request did, as far as requests to forget and to learn do the same."""

    spec: object
    """The request, as `spec.json` of its artefact."""
    left: int
    """Items that the heads are made of now."""
    sums: str | None
    """Where the new sums of the values are; None where these are trained."""
    checkpoint: str | None
    """Where the new model is; None where its values are trained."""
    linear: str | None
    """Where the new linear head is; None where it is trained. Its sums are beside it."""
    trained: list[str]
    """Heads that were not changed, since they are trained: "values", "linear"."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """All of it in one JSON object."""
        return {**to_json(self.spec), **{part.name: getattr(self, part.name) for part in fields(self)[1:]}}

    def written_lines(self) -> list[str]:
        """Where what the request wrote is, for people."""
        made = {"sums": self.sums, "checkpoint": self.checkpoint, "linear head": self.linear}
        return [f"  {name:<13} {path}" for name, path in made.items() if path is not None]


def summed(head: Head, known: Known, rows: NDArray[np.int64]) -> Sums:
    """Sums over some items; rows: in order, one or more."""
    return Sums.of(head.features(known, rows), torch.from_numpy(known.labels[rows]), v=len(known.classes))


def sums_before(head: Head, known: Known, gone: Collection[int]) -> Sums:
    """The sums that the last request left, with as many classes as there are now.

    known: the items before; gone: rows that were forgotten.
    raises: BadSums, ArtefactDamaged.
    """
    v, previous = len(known.classes), head.previous
    if previous is not None:
        with as_written(previous.path):
            same = previous.spec().get(head.step) == head.experiment.steps[head.step]
        if same:
            with checked_on_disk(previous.path / head.sums) as file:
                return Sums.load(file).with_classes(v)
    # Requests before were made of an experiment that shares the values alone.
    sums = head.first().with_classes(v)
    left = np.array(sorted(row for row in gone if row < known.training), np.int64)
    joined = np.array([row for row in range(known.training, len(known.labels)) if row not in gone], np.int64)
    sums = sums - summed(head, known, left) if len(left) else sums
    return sums + summed(head, known, joined) if len(joined) else sums
