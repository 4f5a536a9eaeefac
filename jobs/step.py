"""A step: one node of the plan, and what the two modules of its kind must offer.

One says what is asked and needed (`jobs.kinds.manifest`, `jobs.kinds.embeddings`, ...), which a plan is made of without
torch:

- ``Asks``: a frozen dataclass, all that the step is told; its JSON is part of the step's digest.
- ``INPUTS``: the names of the steps that it reads.
- ``VERSION``: raised whenever the same asks would give other bytes.
- ``LEASE_S``: seconds after which a worker that has not finished a unit counts as hanging, and is replaced.
- ``ON_GPU``: whether a unit computes on a GPU where there is one; workers of other steps hold none.
- ``memory(asks, sizes) -> int``: bytes that a worker holds at most while it does a unit (`jobs.memory`).

The other does it (`jobs.steps.manifest`, `jobs.steps.embeddings`, ...):

- ``prepare(task) -> list[str]`` runs once in the driver: creates the arrays, returns the names of the units in order.
- ``open_work(task) -> Callable[[str], Facts]`` runs once in each worker: loads what units share, returns the function
  that does one unit and writes it whole.
- ``finish(task) -> Facts`` runs once in the driver, after the last unit: compacts, and returns facts for provenance.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from store.artefacts import Artefact, digest
from store.places import Place

if TYPE_CHECKING:
    from jobs.memory import Sizes

SPLITS = ("train", "test")

MODEL = (
    *("manifest", "train", "test", "codes_train", "codes_test", "neighbours_train", "neighbours_test"),
    *("keys", "values", "counts", "linear"),
)
"""Inputs that make up a trained model, both heads, with the items that it is judged on."""

Facts = Mapping[str, Any]
"""A small JSON object."""

Work = Callable[[str], Facts]
"""Does one unit, by name."""

IF_SET = {"in JSON": "if set"}
"""Metadata of a field of `Asks` that is part of its JSON only where it is not the default.

What a step is asked that it was not asked before is such a field: older roots keep their digests.
"""

AsksT_co = TypeVar("AsksT_co", covariant=True)


def to_json(asks: Any) -> Any:
    """The JSON of `Asks`: a dataclass as an object, its fields in order, down to numbers, texts and lists of them."""
    if not is_dataclass(asks):
        return asks
    table = {}
    for part in fields(asks):
        value = getattr(asks, part.name)
        if part.metadata != IF_SET or value != part.default:
            table[part.name] = to_json(value)
    return table


@dataclass(frozen=True, slots=True)
class Inputs:
    """Names of the steps that a step reads."""

    needed: Collection[str] = ()
    optional: Collection[str] = ()

    def check(self, kind: str, names: Collection[str]) -> None:
        """Whether a step of this kind is given what it reads, and nothing else; raises: ValueError."""
        missing, unknown = sorted({*self.needed} - {*names}), sorted({*names} - {*self.needed, *self.optional})
        if missing or unknown:
            raise ValueError(f"{kind}: inputs missing: {missing}, unknown: {unknown}")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One node of the plan; its digest follows from what it asks, its version and its inputs' digests."""

    kind: str
    """Name of the step and of its folder, such as "codes"."""
    split: str = ""
    """ "train" or "test" where there is one of each."""
    version: int
    asks: object
    """The `Asks` of its module."""
    inputs: dict[str, "Step"] = field(default_factory=dict)
    location: str = ""
    """Where the images lie, which changes no result; empty for images that come with a library."""

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
        return {"step": self.kind, "version": self.version, "spec": to_json(self.asks), "inputs": inputs}

    def task(self, root: Place) -> "Task[Any]":
        """The step on one root: everything a worker needs."""
        inputs = {name: Artefact(root, step.kind, step.digest) for name, step in self.inputs.items()}
        return Task(Artefact(root, self.kind, self.digest), inputs, self.asks, self.location)


@dataclass(frozen=True, slots=True)
class Task(Generic[AsksT_co]):
    """What a step module is given. Small and picklable: it travels to the workers."""

    output: Artefact
    inputs: dict[str, Artefact]
    asks: AsksT_co
    """The `Asks` of the module."""
    location: str
    """Where the images lie."""

    def path(self, name: str) -> Place:
        """The Zarr group of an input."""
        return self.inputs[name].data


class Kind(Protocol):
    """What is known of a step before it is done (see the head of this file)."""

    VERSION: int
    LEASE_S: int
    ON_GPU: bool
    INPUTS: Inputs

    @property
    def Asks(self) -> type: ...  # noqa: D102
    def memory(self, asks: Any, sizes: "Sizes") -> int: ...  # noqa: D102


class StepModule(Protocol):
    """What does a step (likewise)."""

    def prepare(self, task: Task[Any]) -> list[str]: ...  # noqa: D102
    def open_work(self, task: Task[Any]) -> Work: ...  # noqa: D102
    def finish(self, task: Task[Any]) -> Facts: ...  # noqa: D102
