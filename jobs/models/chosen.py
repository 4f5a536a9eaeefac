"""Which model of a root is meant: the one as it was trained, or what a request left; and by which head."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dkvb.checkpoint import mapped, read_header
from dkvb.limits import nearest
from dkvb.pretrained import HEADS
from jobs.chain import METHOD as EXACT
from jobs.chain import state
from jobs.errors import BadRequest
from jobs.evidence import UNLEARNED, Entry, entries, purged
from jobs.known import Known
from jobs.learned import METHOD as LEARN
from jobs.printable import shown
from jobs.query.stored import Stored
from jobs.results.experiment import Experiment, experiments
from store.artefacts import CERTIFICATE, Artefact, as_written
from store.checksums import checked_on_disk
from store.files import exists, names
from store.layout import CHECKPOINT, LINEAR, MASK
from store.places import Place, quoted
from store.tombstones import check_stands

FILES: Mapping[str, str] = {"values": CHECKPOINT, "linear": LINEAR}
"""Head -> its file in the folder of a step or a request."""

HEAD_NAMES: Mapping[str, str] = {"values": "bottleneck", "linear": "linear head"}

LISTED = 5
"""Requests that a message names."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A model of a root."""

    experiment: Experiment
    head: str
    """ "values" or "linear"."""
    made: Artefact | None
    """The request that left it; None: it is as it was trained."""
    file: Place
    header: dict[str, Any]
    """What the model is, as its checkpoint says it; of a linear head likewise."""
    later: tuple[str, ...]
    """Requests that went on from this one, and forgot or learned more."""

    @cached_property
    def without(self) -> int:
        """Training items that were forgotten for good: the model was made anew without them."""
        with as_written(self.experiment.path):
            return len((self.experiment.spec.get("images") or {}).get("without") or ())

    @cached_property
    def purges(self) -> list[Entry]:
        """Entries of the log, the oldest first, of the purges that made the experiment anew; none without items."""
        log = entries(self.experiment.root) if self.without else []
        return [one for one in log if one.said and self.experiment.name in purged(one.said["request"])]

    @cached_property
    def certificate(self) -> Place | None:
        """The certificate that names this very file: beside a request's model; of a purge, its entry of the log."""
        if self.made is not None:
            path = self.made.path / CERTIFICATE
            return path if exists(path) else None
        named = [one for one in self.purges if one.said and self.origin in one.said["files"] and not one.wrong]
        return named[-1].path if named else None

    @property
    def origin(self) -> str:
        """The file's path below the root, as certificates name it."""
        return str(self.file).removeprefix(f"{self.experiment.root}/")


def choose(experiment: Experiment, request: str | None, *, before: bool, head: str) -> Chosen:
    """The model that is meant.

    request: the first letters of the name of a request's folder; before: the model as it was trained.
    raises: BadRequest where nothing says which of several, or what is meant is not there; ArtefactDestroyed.
    """
    if head not in HEADS:
        raise BadRequest(f"head: found {head!r}, expected one of {', '.join(HEADS)}{nearest(head, HEADS)}")
    if before and request is not None:
        raise BadRequest("give either --request or --before")
    made = requests(experiment)
    if request is None and made and not before:
        known = "; ".join(map(said, made[:LISTED])) + ("; ..." if len(made) > LISTED else "")
        were = "1 request was" if len(made) == 1 else f"{len(made)} requests were"
        raise BadRequest(
            f"{experiment.root}: {were} made of {experiment.name} ({known}): say which model with --request NAME, or "
            "--before for the one that forgot nothing"
        )
    if request is None:
        return _trained(experiment, head)
    folder = Stored(experiment).request_folder(request)
    found = next((one for one in made if one.digest == folder.name), None)
    if found is None:
        raise _not_of(experiment, Artefact(experiment.root, UNLEARNED, folder.name), head)
    return _left(experiment, found, head)


def requests(experiment: Experiment) -> list[Artefact]:
    """The requests of an experiment that are done, by the names of their folders; raises: NotARoot."""
    found = []
    for name in names(experiment.root / UNLEARNED):
        made = Artefact(experiment.root, UNLEARNED, name)
        if not made.done:
            continue
        with as_written(made.path):
            if made.spec()["bottleneck"] == experiment.steps["values"]:
                found.append(made)
    return found


def _not_of(experiment: Experiment, made: Artefact, head: str) -> BadRequest:
    """The error for a request that is none of an experiment's; raises: ArtefactDestroyed, if its model was."""
    if not made.done:
        return BadRequest(f"{made.path}: the request was cut off; ask for it again with `dkvb unlearn`")
    check_stands(made.path, FILES[head])
    with as_written(made.path):
        of = [one.name for one in experiments(made.root) if one.steps["values"] == made.spec()["bottleneck"]]
    known = f"; say which with --experiment {quoted(of[0])}" if of else ", which is no longer there"
    return BadRequest(f"{made.path}: was made of another model than that of {experiment.name}{known}")


def said(made: Artefact) -> str:
    """A request in a few words."""
    with as_written(made.path):
        spec = made.spec()
        what = ", ".join(map(shown, spec["classes"])) or f"{spec.get('items', 0)} items"
        return f"{made.digest}: {shown(spec['method'])} of {what}"


def _trained(experiment: Experiment, head: str) -> Chosen:
    if head not in experiment.steps:
        raise BadRequest(f"{experiment.name}: has no linear head; leave --head out")
    file = experiment.artefact(head).path / FILES[head]
    header = _header(experiment)
    if head == "linear":
        header = _of_linear(experiment, header, header["classes"], None)
    return Chosen(experiment=experiment, head=head, made=None, file=file, header=header, later=())


def _left(experiment: Experiment, made: Artefact, head: str) -> Chosen:
    with as_written(made.path):
        spec = made.spec()
        method = str(spec["method"])
    file, changed = made.path / FILES[head], [HEADS[0]]
    if method in (EXACT, LEARN):
        changed = [each for each, step in (("values", "sums"), ("linear", "linear")) if spec.get(step) is not None]
    if head not in changed:
        raise BadRequest(
            f"{made.path}: {method} did not change the {HEAD_NAMES[head]}, which knows what it knew before; export "
            f"what it changed with --head {changed[0]}"
        )
    if not exists(file) and exists(made.path / MASK):
        raise BadRequest(
            f"{made.path}: holds a mask and no model, as `dkvb unlearn --mask-only` was asked; the same request "
            "without that adds one"
        )
    later = _later(experiment, made) if method in (EXACT, LEARN) else ()
    if head == "values":
        with checked_on_disk(file) as here:
            header = read_header(here)
    else:
        with checked_on_disk(file) as here:
            v = len(mapped(here, "bias"))
        stored = Stored(experiment)
        past = state(experiment, len(stored.labels("train")))
        # Classes that later requests added stand behind those of this one.
        header = _of_linear(experiment, _header(experiment), Known(stored, past.learned).classes[:v], spec)
    return Chosen(experiment=experiment, head=head, made=made, file=file, header=header, later=later)


def _header(experiment: Experiment) -> dict[str, Any]:
    """The header of the model as it was trained."""
    with checked_on_disk(experiment.artefact("values").path / CHECKPOINT) as file:
        return read_header(file)


def _of_linear(
    experiment: Experiment, header: dict[str, Any], classes: list[str], request: dict[str, Any] | None
) -> dict[str, Any]:
    """What a linear head is, which has no header of its own: classes and backbone are those of the checkpoint."""
    artefact = experiment.artefact("linear")
    with as_written(artefact.path):
        about = {
            "backbone": header["backbone"],
            "classes": classes,
            "inputs": {"embeddings": header["inputs"]["embeddings"], "linear": f"linear/{artefact.digest}"},
            "spec": artefact.spec()["spec"],
        }
    return about if request is None else {**about, "unlearned": request}


def _later(experiment: Experiment, made: Artefact) -> tuple[str, ...]:
    """Names of the requests that follow one of a chain."""
    following = {one.spec().get("previous"): one for one in requests(experiment) if "previous" in one.spec()}
    found, last = list[str](), made.digest
    while last in following and len(found) < len(following):
        last = following[last].digest
        found.append(last)
    return tuple(found)
