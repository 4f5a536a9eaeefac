"""What retraining without some training items did: the model before and after, from stored codes. No torch.

c: codebooks; m: keys of a codebook; v: classes.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkvb.checkpoint import mapped
from dkvb.errors import BadCheckpoint
from jobs.errors import BadRequest
from jobs.query.measure import Change, Measured, changed, counted, measure, told_apart
from jobs.query.outcome import Outcome
from jobs.query.stored import Stored
from jobs.step import SPLITS
from store.artefacts import SPEC, as_written, read_json
from store.checksums import checked_on_disk
from store.errors import NotARoot
from store.files import exists
from store.layout import CHECKPOINT, FORGOTTEN
from store.places import Place
from store.tombstones import check_stands

METHOD = "retrain"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredItems:
    """What retraining without single training items did.

    Nothing here has to become 0: a model that never saw an item may well recognise it.
    """

    forget: Change
    """The items that left."""
    retain: Change
    """The other training items."""
    test: Change
    membership: Mapping[str, float | None]
    """ "before", "after": probability that an item that left has a lower loss than a test item of the same classes; 0.5
    tells nothing. None where there are no such test items."""

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        parts = {"forget": self.forget, "retain": self.retain, "test": self.test}
        return {**{name: part.to_json() for name, part in parts.items()}, "membership_auc": dict(self.membership)}

    def lines(self) -> list[str]:
        """For people, a line each."""
        lines = [
            f"  still known   {self.forget.after.text()} of the items that left; before {counted(self.forget.before)}",
            "                (as a model knows them that never saw them; expect about the test accuracy)",
            f"  the others    {counted(self.retain.after)} of the training items, before {counted(self.retain.before)}",
            f"                {counted(self.test.after)} of all test items, before {counted(self.test.before)}",
        ]
        if None not in self.membership.values():
            lines.append(
                f"  membership    AUC by loss {self.membership['after']:.3f}, before {self.membership['before']:.3f} "
                "(items that left against test items of their classes; 0.5: they cannot be told apart)"
            )
        return lines


def measure_retrained(
    stored: Stored,
    spec: Mapping[str, Any],
    rows: NDArray[np.int64],
    *,
    values: NDArray[np.float32],
    lost: NDArray[np.bool_],
) -> Measured | MeasuredItems:
    """What a retrained model says of all items, beside the model before.

    spec: of the request (`jobs.retrained.RetrainSpec`); rows: (k,) the training items that it forgot.
    values: (c, m, v) of the retrained model; lost: (c, m) bool, pairs that only the model before selects.
    raises: BadRequest where a step that is needed is not finished.
    """
    if not spec["single"]:
        return measure(stored, lost, [stored.index(name) for name in spec["classes"]], retrained=values)
    outcomes = {split: Outcome.both(stored, split, lost, retrained=values) for split in SPLITS}
    (before, _), (test, _) = outcomes["train"], outcomes["test"]
    gone = np.isin(before.rows, rows)
    alike = np.isin(test.labels, before.labels[gone])
    return MeasuredItems(
        forget=changed(*(each.right[gone] for each in outcomes["train"])),
        retain=changed(*(each.right[~gone] for each in outcomes["train"])),
        test=changed(*(each.right for each in outcomes["test"])),
        membership={
            name: told_apart(outcomes["train"][i].score[gone], outcomes["test"][i].score[alike])
            for i, name in enumerate(("before", "after"))
        },
    )


def retrained_folder(stored: Stored, text: str) -> Place | None:
    """The folder of a request whose method is retrain; None where it is another's, or a mask file.

    text: a folder that `dkvb unlearn` wrote, or the first letters of its name on this root.
    raises: BadRequest where it names no request.
    """
    if Path(text).is_file():
        return None
    folder = Path(text) if Path(text).is_dir() else stored.request_folder(text)
    if not exists(folder / SPEC):
        return None
    with as_written(folder / SPEC):
        return folder if read_json(folder / SPEC)["method"] == METHOD else None


def measure_folder(stored: Stored, folder: Place) -> tuple[Measured | MeasuredItems, int]:
    """What the request of a folder did, measured anew, and how many training items it forgot.

    raises: BadCheckpoint for another model's; ArtefactDamaged, NotARoot.
    """
    with as_written(folder / SPEC):
        spec = dict(read_json(folder / SPEC))
        check_stands(folder, CHECKPOINT)
        if spec["bottleneck"] != stored.experiment.steps["values"]:
            raise BadCheckpoint(
                f"{folder}: retrained from another model ({spec['bottleneck']}), expected "
                f"{stored.experiment.steps['values']}: name the root or --experiment that the request was made on"
            )
    if not exists(folder / CHECKPOINT):
        raise BadRequest(f"{folder}: the request was cut off; ask for it again with `dkvb unlearn`")
    with as_written(folder / FORGOTTEN):
        rows = np.array(read_json(folder / FORGOTTEN)["rows"], np.int64)
        if rows.ndim != 1:
            raise ValueError("rows that are no list")
    with ExitStack() as files:
        original = stored.experiment.artefact("values").path
        first, file = (files.enter_context(checked_on_disk(path / CHECKPOINT)) for path in (original, folder))
        values, kept, used = mapped(file, "values"), mapped(file, "selectable"), mapped(first, "selectable")
        if values.shape[:2] != stored.size or kept.shape != stored.size:
            raise NotARoot(f"{folder / CHECKPOINT}: found {kept.shape} pairs, expected {stored.size} (c, m)")
        lost = np.asarray(used & ~kept)
        return measure_retrained(stored, spec, rows, values=values, lost=lost), len(rows)
