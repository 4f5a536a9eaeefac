"""One request to forget by retraining: values trained anew on all other training items, by the model's own recipe.

What results equals, to the last bit, what the values step makes of the other items on the same codes: number of epochs,
values and selectable keys follow from them alone. Keys are not fitted again. A request stands for itself, as a mask
does: it forgets what it names, and nothing that earlier requests named.
"""

import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dkvb.bottleneck import Bottleneck
from dkvb.training import TrainSettings
from jobs.certificate import Asker, private_key
from jobs.certified import certify, prepared
from jobs.chain import State, wanted_rows
from jobs.classes import class_indexes
from jobs.errors import BadRequest
from jobs.evidence import UNLEARNED
from jobs.exact import ExactRequest
from jobs.kept import folder_text, kept_folders
from jobs.kinds import KINDS
from jobs.kinds.values import Asks
from jobs.known import Known
from jobs.printable import shown
from jobs.query.measure import Measured
from jobs.query.retrained import METHOD, MeasuredItems, measure_retrained
from jobs.query.stored import Stored
from jobs.results.experiment import Experiment
from jobs.step import Task
from jobs.steps import values
from jobs.unlearned import VERSION
from store.artefacts import SPEC, Artefact, as_written, digest, write_json
from store.checksums import checked_on_disk
from store.files import exists, write_atomic
from store.layout import CHECKPOINT, FORGOTTEN
from store.recording import recording

LIMITS = (
    "Keys were fitted on the items, and stay; the backbone is frozen and still represents them.",
    "The checkpoint before, and all that was made of the items, stay on this root and where it was copied to. The "
    "request names what is on the root.",
    "The request stands for itself: what other requests named is in this model unless it names it too.",
    "Accuracies are of the training and test items of this root; other images of a class may still be recognised.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainSpec:
    """A request, as `spec.json` of its artefact."""

    version: int
    method: str
    classes: list[str]
    """Names of the classes that were asked for."""
    single: int
    """Training items that were named one by one."""
    items: int
    """All training items that are left out, those of the classes among them."""
    rows: str
    """Digest of their rows."""
    bottleneck: str
    """Digest of the values step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrained:
    """What a request did."""

    spec: RetrainSpec
    left: int
    """Training items that the values were trained on."""
    epochs: int
    """Passes over them."""
    checkpoint: str
    """Where the new model is."""
    training_seconds: float
    """Of the training alone, the search for the number of epochs included."""
    seconds: float
    """Of all of it but what was measured."""
    measured: Measured | MeasuredItems | None
    """What it did; None where that was not measured."""
    not_measured: str
    """Why not; empty where it was."""
    still_there: list[str]
    """What on the root still holds the items, or was made of them: folders."""
    certificate: str
    """Where the certificate of this request is, in the log of the root."""

    def to_json(self) -> dict[str, Any]:
        """All of it in one JSON object."""
        rest = {part.name: getattr(self, part.name) for part in fields(self)[1:]}
        return {
            **asdict(self.spec),
            **rest,
            "measured": None if self.measured is None else self.measured.to_json(),
        }

    def text(self) -> str:
        """For people."""
        of = f" (all of {', '.join(map(shown, self.spec.classes))})" if self.spec.classes else ""
        return "\n".join(
            [
                f"retrained without {self.spec.items} training items{of}; {self.left} are left",
                *(self.measured.lines() if self.measured else [f"  not measured  {self.not_measured}"]),
                f"  checkpoint    {self.checkpoint} ({self.seconds:.1f} s in all, {self.training_seconds:.1f} s of "
                f"training, {self.epochs} epochs after their search)",
                f"  certificate   {self.certificate}",
                *folder_text("still there   what was made of the items, yours to destroy:", self.still_there),
            ]
        )


def values_task(experiment: Experiment, output: Artefact) -> Task[Asks]:
    """The task of the values step, as its model was trained; output: where nothing of it is written.

    raises: BadRequest for values that are not trained, or by another version's recipe; NotARoot.
    """
    if "sums" in experiment.steps:
        raise BadRequest(
            f"method: found {METHOD!r}, but the values of {experiment.name} are not trained; "
            "use `dkvb unlearn --method exact`"
        )
    step = experiment.artefact("values")
    with as_written(step.path / SPEC):
        said = step.spec()
        version, asked = int(said["version"]), said["spec"]
        asks = Asks(
            settings=TrainSettings(**asked["settings"]), seed=int(asked["seed"]), selectable=str(asked["selectable"])
        )
    if version != (ours := KINDS["values"].VERSION):
        raise BadRequest(
            f"{step.path}: values of version {version}, expected {ours}: an older dkvb trained them in "
            "another way; `dkvb run` with the same spec trains them anew"
        )
    labels = {"manifest": "manifest[train]", "embeddings": "embeddings[train]", "codes": "codes[train]", "keys": "keys"}
    return Task(output, {name: experiment.artefact(label) for name, label in labels.items()}, asks, "")


def retrain(
    experiment: Experiment,
    request: ExactRequest,
    *,
    measured: bool = True,
    asker: Asker | None = None,
    key_file: Path | None = None,
) -> Retrained:
    """Train values without some items; write a checkpoint and a certificate.

    measured: what it did is measured, once it is on disk.
    asker: who asks, as the certificate says it; key_file: an Ed25519 private key (PEM) that signs it.
    raises: BadRequest, BadCheckpoint, StoreError.
    """
    clock = time.perf_counter()
    if key_file is not None:
        private_key(key_file)  # one that is none is told before anything is written
    stored = Stored(experiment)
    labels = stored.labels("train")
    rows = wanted_rows(Known(stored), State(None, {}), request.classes, request.items)
    rest = labels >= 0
    rest[rows] = False
    if not rest.any():
        raise BadRequest("these are all training items: nothing would be left to train values on")
    spec = RetrainSpec(
        version=VERSION,
        method=METHOD,
        classes=[stored.classes[k] for k in class_indexes(stored.classes, list(request.classes))],
        single=len(request.items),
        items=len(rows),
        rows=digest(rows.tolist()),
        bottleneck=experiment.steps["values"],
    )
    output = Artefact(experiment.root, "unlearned", digest(asdict(spec)))
    task, begun = values_task(experiment, output), exists(output.path)
    output.reopen()
    with prepared(output, asdict(spec), keep=begun):
        with recording(output.path) as files:
            write_json(output.path / FORGOTTEN, {"rows": rows.tolist()})
            training = time.perf_counter()
            table, used, trained = values.train_on(task, torch.from_numpy(np.flatnonzero(rest)))
            training_seconds = time.perf_counter() - training
            with checked_on_disk(experiment.artefact("values").path / CHECKPOINT) as file:
                model = Bottleneck.load(file)
            selectable = used if task.asks.selectable == "used" else model.selectable
            header = {**model.header, "unlearned": {**asdict(spec), "epochs": trained.epochs}}
            made = Bottleneck(model.projection, model.keys, table, selectable, header)
            write_atomic(output.path / CHECKPOINT, made.parts())
        seconds = time.perf_counter() - clock
        seen: Measured | MeasuredItems | None = None
        why_not = "as asked"
        if measured:
            lost = (model.selectable & ~selectable).numpy()
            try:
                seen = measure_retrained(stored, asdict(spec), rows, values=table.numpy(), lost=lost)
                why_not = ""
            except BadRequest as error:  # a step that it needs is not finished
                why_not = str(error)
        still_there = kept_folders(experiment, but=[f"{UNLEARNED}/{output.digest}"])
        facts = {"left": int(rest.sum()), "epochs": trained.epochs, "training_seconds": round(training_seconds, 3)}
        log = certify(
            experiment,
            output,
            files,
            request={**asdict(spec), **facts, "still_there": still_there},
            facts=facts,
            origins=[experiment.artefact("values").path / CHECKPOINT],
            limits=LIMITS,
            asker=asker or Asker(),
            key_file=key_file,
            measured=None if seen is None else seen.to_json(),
        )
    return Retrained(
        spec=spec,
        left=int(rest.sum()),
        epochs=trained.epochs,
        checkpoint=str(output.path / CHECKPOINT),
        training_seconds=round(training_seconds, 3),
        seconds=round(seconds, 3),
        measured=seen,
        not_measured=why_not,
        still_there=still_there,
        certificate=str(log),
    )
