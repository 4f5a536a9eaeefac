"""Faults of workers and drivers, on this machine."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from store.artefacts import Artefact
from tests.faults.measures import Measures, at_work, events, lost_done, marks, measure, moment, next_done, pid_of, until
from tests.faults.stage import UNITS, Stage, draw, let_pass
from tests.processes import wait_until

LEASE_S = 20
"""Of a shard, where a worker is stopped; one takes a fifth of a second, on a busy machine some seconds."""


LAG_S = 1.0
"""Seconds after which a driver has certainly heard what its worker said."""


def kill_worker(stage: Stage, seed: int) -> Measures:
    """kill -9 of a worker that is at work; recovered when what it had in hand is done."""
    chance, root, began = draw(seed), stage.folder() / "root", time.time()
    run = stage.start(stage.words(root))
    until(root, chance.randint(2, UNITS - 4), run)
    struck = at_work(root, run)
    worker = chance.choice(sorted(struck.busy.values()))
    os.kill(pid_of(worker), signal.SIGKILL)
    code = run.ended()
    assert code == 0, run.err
    assert worker in {event["worker"] for event in events(root, "worker_lost")}
    recovered = lost_done(root, struck)
    return measure(stage, root, struck, began=began, recovered=recovered, says=f"exit {code}")


def kill_driver(stage: Stage, seed: int) -> Measures:
    """kill -9 of the driver; recovered with the first unit of the same command, typed again at once."""
    chance, root, began = draw(seed), stage.folder() / "root", time.time()
    run = stage.start(stage.words(root))
    until(root, chance.randint(2, UNITS - 4), run)
    let_pass(chance, 0.3)
    struck = moment(root)
    run.kill()
    killed = time.time()
    again = stage.done(stage.words(root))
    says = f"killed; again: exit {again.process.returncode}"
    return measure(stage, root, struck, began=began, recovered=next_done(root, killed), says=says)


def stop_worker(stage: Stage, seed: int) -> Measures:
    """SIGSTOP of a worker beyond its lease; recovered when its shard is done. It goes on after all is over."""
    chance, root, began = draw(seed), stage.folder() / "root", time.time()
    run = stage.start(stage.changed(stage.words(root), lease=LEASE_S, slow=0.5))
    until(root, chance.randint(3, 9), run)
    let_pass(chance, 0.3)
    struck = at_work(root, run)
    worker = chance.choice(sorted(struck.busy.values()))
    os.kill(pid_of(worker), signal.SIGSTOP)
    try:
        code = run.ended()
        assert code == 0, run.err
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid_of(worker), signal.SIGCONT)
    wait_until(lambda: pid_of(worker) not in stage.session.left(), "the end of the worker that was stopped")
    assert [event["worker"] for event in events(root, "lease_expired")] == [worker]
    recovered = lost_done(root, struck)
    return measure(stage, root, struck, began=began, recovered=recovered, says=f"exit {code}")


def two_drivers(stage: Stage, seed: int) -> Measures:
    """Two drivers on one root, the second begun seconds later; nothing to recover from.

    Units "begun twice" are those that both worked on at the same time: drivers do not know of each other. "Repeated"
    would be one that was done again although the other had marked it.
    """
    chance, root, began = draw(seed), stage.folder() / "root", time.time()
    first = stage.start(stage.words(root, "--workers", 1))
    let_pass(chance, 3)
    second = stage.start(stage.words(root, "--workers", 1))
    struck = moment(root)
    codes = first.ended(), second.ended()
    assert codes == (0, 0), first.err + second.err
    measures = measure(stage, root, struck, began=began, recovered=0.0, says=f"exits {codes[0]} and {codes[1]}")
    stamps = marks(root)
    ends: dict[str, list[tuple[float, float]]] = {}
    for event in events(root, "done"):
        ends.setdefault(event["unit"], []).append((event["time"], event["seconds"]))
    # The later of two ends was real work where it was begun before the other's; after it, it must not be. When it was
    # begun is counted back from its marker: a busy driver may hear of it much later.
    pairs = {unit: (found[0][0], stamps[unit] - found[1][1]) for unit, found in ends.items() if len(found) > 1}
    again = [unit for unit, (end, begin) in pairs.items() if begin > end + LAG_S]
    together = [unit for unit in pairs if unit not in again]
    return replace(measures, repeated=len(again), twice=len(together))


def poison(stage: Stage, seed: int) -> Measures:
    """A shard that kills its worker each time; recovered when the rest of its step is done. Then it is mended."""
    chance, root, began = draw(seed), stage.folder() / "root", time.time()
    name = f"{chance.randint(0, 12):05d}"
    run = stage.start(stage.changed(stage.words(root), poison=name))
    code = run.ended()
    assert code == 1, run.err
    said = run.said()
    assert "1 of 13 units failed" in said, run.err
    assert f"{name}: the worker process " in run.err
    assert "(attempts: 3)" in run.err
    step = shards_of(root)
    assert step.done_units() == set(step.units() or []) - {name}
    struck = moment(root)
    lost = [event["time"] for event in events(root, "poison")]
    recovered = max(lost) - min(event["time"] for event in events(root, "worker_lost"))
    stage.resume(root)
    return measure(stage, root, struck, began=began, recovered=recovered, says=f"exit {code}: {said}")


def shards_of(root: Path) -> Artefact:
    """The step of the training images."""
    folders = [Artefact(root, "embeddings", folder.name) for folder in (root / "embeddings").iterdir()]
    return next(folder for folder in folders if len(folder.units() or []) > 1)
