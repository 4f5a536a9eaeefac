"""Faults under a submitted job: its supervisor killed, the whole head killed."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.measures import Measures, measure, moment, until
from tests.faults.raylets import Node, ended, head, token
from tests.faults.stage import UNITS, Command, Stage, draw


@dataclass(frozen=True)
class Queued:
    """A submitted job, and the reconciler that watches over it."""

    stage: Stage
    cluster: Node
    job: Path
    root: Path
    watcher: Command

    def file(self, number: int, name: str) -> Path:
        """A file of the n-th attempt."""
        return self.job / "attempts" / f"{number:04d}" / f"{name}.json"

    def started_by(self) -> list[str]:
        """Who started each attempt, in order."""
        return [json.loads(path.read_text())["by"] for path in sorted(self.job.glob("attempts/*/started.json"))]

    def ends(self) -> list[str]:
        """How each attempt ended."""
        return [json.loads(path.read_text())["state"] for path in sorted(self.job.glob("attempts/*/end.json"))]


@contextmanager
def queued(stage: Stage) -> Iterator[Queued]:
    """A head with a job server, a job on it that runs, a reconciler that watches."""
    cluster = head(stage, token(stage), cpus=2, dashboard=True)
    folder = stage.folder()
    root, queue = folder / "root", folder / "queue"
    with ended(cluster):
        cluster.start()
        words = ["--root", root, "--images", stage.images, "--queue", queue, "--address", cluster.job_server]
        submit = stage.done(stage.dkvb("submit", stage.spec, *words, "--workers", 2, "--json"), 0, **cluster.variables)
        job = queue / json.loads(submit.out)["job"]
        watch = stage.dkvb("jobs", "reconcile", "--queue", queue, "--watch", "--every", 1)
        watcher = stage.start(watch, **cluster.variables)
        try:
            yield Queued(stage, cluster, job, root, watcher)
        finally:
            watcher.kill()


def kill_supervisor(stage: Stage, seed: int) -> Measures:
    """kill -9 of the process that watches a submitted driver; recovered with the new attempt's first unit."""
    return disturb(stage, seed, lambda held: os.kill(supervisor(held), signal.SIGKILL))


def kill_head(stage: Stage, seed: int) -> Measures:
    """kill -9 of the head with all that runs on it, and a new one at the same ports; recovered as above."""

    def strike(held: Queued) -> None:
        held.cluster.kill()
        assert not held.cluster.processes()
        held.cluster.start()

    return disturb(stage, seed, strike)


def disturb(stage: Stage, seed: int, strike: Callable[[Queued], None]) -> Measures:
    """Strike at a moment of the first attempt, let the reconciler do the rest."""
    chance = draw(seed)
    with queued(stage) as held:
        began = time.time()
        until(held.root, chance.randint(2, UNITS - 8), held.watcher)
        struck = moment(held.root)
        first = held.started_by()
        strike(held)
        held.watcher.wait_until(lambda: "succeeded" in held.ends(), "a new attempt that finishes", every=0.1)
        assert held.ends() == ["lost", "succeeded"], held.watcher.out
        assert held.started_by()[:1] == first, "the first attempt was begun again"
        assert len(set(held.started_by())) == 2
        assert not held.file(3, "attempt").exists()
        assert_submitted_once(held)
        lines = [json.loads(line) for line in held.file(2, "log").with_suffix(".jsonl").read_text().splitlines()]
        shown = stage.done(stage.dkvb("jobs", "list", "--queue", held.job.parent))
        assert "succeeded" in shown.out
        units = [line["time"] for line in lines if line["event"] == "unit"]
        recovered = units[0] - struck.time
        why = json.loads(held.file(1, "end").read_text())["why"].partition("\n")[0]
        return measure(stage, held.root, struck, began=began, recovered=recovered, says=f"attempt 1 lost: {why}")


def assert_submitted_once(held: Queued) -> None:
    """Each attempt was handed to the cluster once."""
    told = re.findall(r"attempt (\d+) submitted", held.watcher.out)
    assert told == ["2"], held.watcher.out


def supervisor(held: Queued) -> int:
    """Its process id."""
    found = [pid for pid, command in held.cluster.processes().items() if "JobSupervisor" in command]
    assert len(found) == 1, held.cluster.processes()
    return found[0]
