"""What is on a root: its experiments, their artefacts and how far each is."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from dkvb.checkpoint import identity, read_header
from dkvb.limits import nearest
from dkvb.orders import RANKS
from jobs.errors import BadRequest
from store.artefacts import Artefact, as_written, open_root, read_record, write_record
from store.files import names
from store.layout import CHECKPOINT
from store.links import check_own
from store.places import Place, quoted


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment as recorded on a root."""

    root: Place
    name: str
    spec: dict[str, Any]
    steps: dict[str, str]
    """Label -> digest, in the order of the plan."""

    @property
    def path(self) -> Place:
        """The file in which it is recorded."""
        return self.root / "experiments" / f"{self.name}.json"

    def write(self) -> None:
        """Record it, so that it can be found by its name."""
        write_record(self.path, {"name": self.name, "spec": self.spec, "steps": self.steps})

    def artefact(self, label: str) -> Artefact:
        """The artefact of a step.

        raises: BadRequest while it is not done; ArtefactDamaged where it was done and its marker is lost; NotARoot.
        """
        with as_written(self.path):
            artefact = Artefact(self.root, label.partition("[")[0], self.steps[label])
        artefact.check_own(arrays=False)
        if not artefact.done:
            artefact.check_done()
            raise BadRequest(
                f"{self.root}: {self.name}: step {label} is not finished; run `dkvb run` on this root first "
                f"(`dkvb status {quoted(self.root)}` shows how far it is)"
            )
        return artefact

    @property
    def rank(self) -> str:
        """What the sweep ranks pairs by in Unlearning via Activations, one of `dkvb.orders.RANKS`."""
        with as_written(self.path):
            return str((self.spec["sweep"].get("uva") or {}).get("rank") or RANKS[0])

    @property
    def classes(self) -> list[str]:
        """Names of the classes, as the model says them: the manifest, with a label for every image, is long to read."""
        facts, path = self.facts("values"), self.artefact("values").path / CHECKPOINT
        with as_written(path):  # the facts of a version without checksums do not name them
            return texts(facts["classes"] if "classes" in facts else read_header(path)["classes"])

    @property
    def model(self) -> str:
        """SHA-256 of what the trained model is, as a mask says whose it is."""
        facts, path = self.facts("values"), self.artefact("values").path / CHECKPOINT
        with as_written(path):
            return str(facts["model"] if "model" in facts else identity(read_header(path)))

    def facts(self, label: str) -> dict[str, Any]:
        """What a finished step said of itself."""
        return self.artefact(label).facts()


class StepState(StrEnum):
    """How far a step is."""

    DONE = "done"
    UNFINISHED = "unfinished"
    WAITING = "waiting"
    """It was not prepared yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStatus:
    """How far a step of an experiment is; what `dkvb status` shows of it."""

    experiment: str
    """Its name."""
    step: str
    """Its label."""
    state: StepState
    units: int | None
    """None before it was prepared."""
    standing: int
    """Units that are done."""
    digest: str
    checksums: bool | None
    """Whether its files have any; None while it is not done."""

    def to_json(self) -> dict[str, Any]:
        """The row as a JSON object."""
        return asdict(self)


def texts(value: object) -> list[str]:
    """A list of texts; raises: TypeError."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError("expected a list of texts")
    return value


def read_experiment(root: Place, name: str) -> Experiment:
    """One experiment as recorded; name: of its file, without the ending. raises: NotARoot, ArtefactDamaged."""
    path = root / "experiments" / f"{name}.json"
    with as_written(path):
        about = read_record(path)
        if about["name"] != name or not isinstance(about["spec"], dict):
            raise ValueError("its name is another, or its spec no table")
        texts([*about["steps"].values()])
        return Experiment(root, about["name"], about["spec"], about["steps"])


def experiments(root: Place) -> list[Experiment]:
    """All experiments of a root, by name; raises: NotARoot."""
    open_root(root, create=False)
    files = names(root / "experiments", ".json")
    recorded = [read_experiment(root, name.removesuffix(".json")) for name in files]
    return sorted(recorded, key=lambda experiment: experiment.name)


def find(root: Place, name: str | None) -> Experiment:
    """One experiment of a root: the one named, or the only one.

    raises: BadRequest when there is none, or none of that name, or several and no name; NotARoot.
    """
    recorded = experiments(root)
    known = ", ".join(experiment.name for experiment in recorded)
    if not recorded:
        raise BadRequest(f"{root}: no experiment there yet; `dkvb run SPEC --root {quoted(root)}` makes one")
    if name is None and len(recorded) > 1:
        raise BadRequest(f"{root}: holds {len(recorded)} experiments ({known}); say which with --experiment NAME")
    for experiment in recorded:
        if name in (None, experiment.name):
            return experiment
    raise BadRequest(f"{root}: no experiment {name!r}{nearest(name or '', known.split(', '))} (there: {known})")


def status(root: Place) -> list[StepStatus]:
    """How far every step of every experiment is, read from the disk alone; raises: NotARoot."""
    return [
        step_status(experiment, label, digest)
        for experiment in experiments(root)
        for label, digest in experiment.steps.items()
    ]


def step_status(experiment: Experiment, label: str, digest: str) -> StepStatus:
    """How far one step is; raises: NotARoot."""
    artefact = Artefact(experiment.root, label.partition("[")[0], digest)
    for folder in (artefact.path, artefact.path / "units"):
        if isinstance(folder, Path) and folder.is_dir():
            check_own(folder, deep=False)  # a pipe in place of a file would be waited for
    units = artefact.units()
    done_units = artefact.done_units()
    unfinished = StepState.WAITING if units is None else StepState.UNFINISHED
    state = StepState.DONE if artefact.done else unfinished
    return StepStatus(
        experiment=experiment.name,
        step=label,
        state=state,
        units=None if units is None else len(units),
        standing=len(done_units),
        digest=digest,
        checksums=artefact.has_checksums if state is StepState.DONE else None,
    )
