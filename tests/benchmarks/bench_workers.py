"""The sweep step by one Ray worker, by two, and by two plain processes that share its units out without Ray.

Each worker and process computes on one core. They are set up, and have done one unit, before the clock starts; so the
figures are those of a long run. Read `ratio` as the speed-up over one worker; `of limit` as that speed-up over the one
that two plain processes reach against one. Without --root the sweep is that of the digits; with the root of a finished
experiment it is that one's, and nothing on the root changes.
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from timing import SIZES, once, report

os.environ["OMP_NUM_THREADS"] = "1"

from cluster.session import session
from cluster.unit_map import Policy, RayExecutor, SerialExecutor
from jobs.kinds.sweep import Asks
from jobs.plan.plan import make_plan
from jobs.run.progress import Reporter
from jobs.run.run import run
from jobs.spec.reading import load_specs
from jobs.step import Task, Work
from jobs.steps import sweep

ROUNDS = 3
PATIENCE_S = 3600
HELD: list[Work] = []


def experiment(name: str, images: str | None, root: Path) -> tuple[Task[Asks], list[str]]:
    """The sweep's task on a root where all that it needs is done, and its units."""
    plan = make_plan(load_specs(name)[0], images)
    run([plan], root, SerialExecutor(), Reporter(root=root))
    task = plan.step("sweep").task(root.resolve())
    return task, task.output.units() or []


def copied(task: Task[Asks], folder: Path) -> Task[Asks]:
    """The same task writing elsewhere."""
    shutil.copytree(str(task.output.path), folder / "root" / "sweep" / task.output.digest)
    output = type(task.output)(folder / "root", task.output.step, task.output.digest)
    return replace(task, output=output)


def warmed(task: Task[Asks], unit: str, arrived: Path, workers: int) -> Work:
    """In an actor: the work, once every actor has done one unit."""
    work = sweep.open_work(task)
    work(unit)
    (arrived / str(os.getpid())).touch()
    while len(list(arrived.iterdir())) < workers:
        time.sleep(0.005)
    return work


def by_ray(task: Task[Asks], units: list[str], workers: int) -> float:
    """Seconds of all units over held actors, from when the last was warm."""
    with session() as found, tempfile.TemporaryDirectory() as arrived:
        assert isinstance(found, RayExecutor)
        executor = RayExecutor(workers=workers)
        ready: list[float] = []
        factory = partial(warmed, task, units[0], Path(arrived), workers)
        policy = Policy(lease_s=PATIENCE_S, deadline_s=PATIENCE_S)
        events = lambda event: ready.append(time.time()) if event.kind == "worker_ready" else None  # noqa: E731
        outcomes = list(executor.map(factory, units, policy=policy, on_event=events))
        assert all(outcome.ok for outcome in outcomes), outcomes[0].error
        return time.time() - max(ready)


def hold(task: Task[Asks], unit: str) -> None:
    """In a plain process: be ready."""
    HELD.append(sweep.open_work(task))
    HELD[0](unit)


def do(unit: str) -> None:
    """In a plain process: one unit."""
    HELD[0](unit)


def by_processes(task: Task[Asks], units: list[str], processes: int) -> float:
    """Seconds of all units over plain processes, from when all were warm."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, hold, (task, units[0])) as pool:
        pool.map(time.sleep, [1.0] * processes, chunksize=1)
        seconds = once(lambda: pool.map(do, units, chunksize=1))
        pool.close()
        pool.join()
        return seconds


def main() -> None:
    """Time all of them in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="quick")
    parser.add_argument("--root", type=Path, help="root of a finished experiment")
    parser.add_argument("--spec", default="digits")
    parser.add_argument("--images")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        task, units = experiment(asked.spec, asked.images, asked.root or Path(name) / "made")
        task = copied(task, Path(name))
        ways: dict[str, Any] = {
            "one worker": partial(by_ray, task, units, 1),
            "two workers": partial(by_ray, task, units, 2),
            "one process": partial(by_processes, task, units, 1),
            "two processes": partial(by_processes, task, units, 2),
        }
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, work in ways.items():
                taken[way].append(work())
    seconds = {way: statistics.median(rounds) for way, rounds in taken.items()}
    limit = seconds["one process"] / seconds["two processes"]
    rows = [
        {
            "what": way,
            "seconds": seconds[way],
            "ratio": seconds[one] / seconds[way],
            "of limit": seconds[one] / seconds[way] / (limit if way.startswith("two") else 1),
        }
        for way, one in (
            ("one worker", "one worker"),
            ("two workers", "one worker"),
            ("one process", "one process"),
            ("two processes", "one process"),
        )
    ]
    report("workers", rows, spec=asked.spec, units=len(units), rounds=taken)


if __name__ == "__main__":
    main()
