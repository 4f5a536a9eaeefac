"""A step: one node of the plan, and what its module must offer.

Every step module (`jobs.steps.manifest`, `jobs.steps.embeddings`, ...) has three functions and a version:

- ``prepare(task) -> list[str]`` runs once in the driver: creates the arrays, returns the names of the units in order.
- ``open_work(task) -> Callable[[str], Facts]`` runs once in each worker: loads what units share, returns the function
  that does one unit and writes it whole.
- ``finish(task) -> Facts`` runs once in the driver, after the last unit: compacts, and returns facts for provenance.
- ``VERSION``: raised whenever the same spec would give other bytes.
- ``LEASE_S``: seconds after which a worker that has not finished a unit counts as hanging, and is replaced.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from store.artefacts import Artefact, digest
from store.places import Place

SPLITS = ("train", "test")

Facts = Mapping[str, Any]
"""A small JSON object."""

Work = Callable[[str], Facts]
"""Does one unit, by name."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One node of the plan; its digest follows from its own spec, its version and its inputs' digests."""

    kind: str
    """Name of the step and of its folder, such as "codes"."""
    split: str = ""
    """ "train" or "test" where there is one of each."""
    version: int
    spec: dict[str, Any]
    """What it does (JSON): part of the digest."""
    inputs: dict[str, "Step"] = field(default_factory=dict)
    where: dict[str, Any] = field(default_factory=dict)
    """What it needs to know but what changes no result: where the images lie, what is only checked."""

    @property
    def label(self) -> str:
        """For people: "codes[test]"."""
        return f"{self.kind}[{self.split}]" if self.split else self.kind

    @cached_property
    def digest(self) -> str:
        """Names the artefact folder."""
        return digest(self.identity)

    @property
    def identity(self) -> dict[str, Any]:
        """What the digest is taken of; written as the artefact's spec.json."""
        inputs = {name: f"{step.kind}/{step.digest}" for name, step in self.inputs.items()}
        return {"step": self.kind, "version": self.version, "spec": self.spec, "inputs": inputs}

    def task(self, root: Place) -> "Task":
        """The step on one root: everything a worker needs."""
        inputs = {name: Artefact(root, step.kind, step.digest) for name, step in self.inputs.items()}
        return Task(Artefact(root, self.kind, self.digest), inputs, self.spec, self.where)


@dataclass(frozen=True, slots=True)
class Task:
    """What a step module is given. Small and picklable: it travels to the workers."""

    output: Artefact
    inputs: dict[str, Artefact]
    spec: dict[str, Any]
    where: dict[str, Any]

    def path(self, name: str) -> Place:
        """The Zarr group of an input."""
        return self.inputs[name].data


class StepModule(Protocol):
    """The functions of a step module (see the head of this file)."""

    VERSION: int
    LEASE_S: int

    def prepare(self, task: Task) -> list[str]: ...  # noqa: D102
    def open_work(self, task: Task) -> Work: ...  # noqa: D102
    def finish(self, task: Task) -> Facts: ...  # noqa: D102
