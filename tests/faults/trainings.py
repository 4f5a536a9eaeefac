"""Faults of trainings: units that take so long that they are saved on their way."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.faults.measures import Measures, artefacts, busy, events, lost_done, measure, moment, pid_of
from tests.faults.stage import Stage, draw

EPOCH_S = 0.3
"""Seconds that each epoch takes longer, so that a fault finds one at work."""


def saved(root: Path) -> dict[str, Any]:
    """How far the values were when they were last saved; empty before."""
    found = list(root.glob("values/*/saves/values.json"))
    return dict(json.loads(found[0].read_bytes())) if found else {}


def kill_training(stage: Stage, seed: int) -> Measures:
    """kill -9 of the worker that trains the values, after some epochs of the search for their number.

    Recovered when the values are done, which begin at another worker with the epoch after the last one saved.
    """
    chance, root, began = draw(seed), stage.folder() / "root", time.time()
    run = stage.start(stage.changed(stage.words(root), epoch=EPOCH_S))
    epochs = chance.randint(2, 6)  # of 7
    run.wait_until(lambda: saved(root).get("epochs", 0) >= epochs, f"epoch {epochs} of the values")
    struck = moment(root)
    (unit,) = [unit for unit in struck.busy if unit.startswith("values/")]
    os.kill(pid_of(struck.busy[unit]), signal.SIGKILL)
    code = run.ended()
    assert code == 0, run.err
    starts = [event["worker"] for event in events(root, "started") if event["unit"] == unit]
    assert len(starts) == 2
    assert starts[0] != starts[1]
    (values,) = [one for one in artefacts(root) if one.step == "values"]
    (note,) = values.marks()["values"]["notes"]
    assert "went on after epoch" in note
    assert note in run.err
    assert int(note.split("after epoch ")[1].split()[0]) >= epochs
    assert not values.saves.exists()
    assert busy(root) == {}
    says = f"exit {code}: {note}"
    return measure(stage, root, struck, began=began, recovered=lost_done(root, struck), says=says)
