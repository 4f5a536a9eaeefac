"""Running a plan on a root: skip what stands, do the rest unit by unit, lose nothing when killed."""

import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from cluster.shardmap import Event, Executor, Outcome, Policy
from jobs.errors import StepFailed
from jobs.plan import MODULES, Plan
from jobs.provenance import surroundings
from jobs.step import Step, Task, Work
from store.artefacts import open_root, read_json, write_json

DEADLINE_S = 1800
"""Seconds without a worker that is set up before a run gives up: a node must boot, weights must be fetched."""

SHOWN = 20
"""Failed units named in an error."""


class Progress(Protocol):
    """Who watches a run."""

    def step(self, label: str, total: int, standing: int) -> None:
        """A step begins, some of its units standing already."""

    def unit(self, outcome: Outcome) -> None:
        """A unit ended."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def done(self, label: str, seconds: float) -> None:
        """A step ended."""


def run(plan: Plan, root: Path, executor: Executor, progress: Progress) -> None:
    """Run or resume an experiment.

    raises: StepFailed when units failed, after all others of the step were done; StoreError; ClusterError.
    """
    root = open_root(root, create=True).resolve()  # Workers have working directories of their own.
    if changed := record(plan, root):
        progress.note(f"{plan.spec.name} ran here before with another spec (differs in {', '.join(changed)})")
    for step in plan.steps:
        run_step(step, step.task(root), executor, progress)


def record(plan: Plan, root: Path) -> list[str]:
    """Write down which artefacts make up the experiment, so that it can be found by name.

    returns: the spec keys in which it differs from what ran under this name before; the newer one takes the name.
    """
    path = root / "experiments" / f"{plan.spec.name}.json"
    about: dict[str, Any] = {"name": plan.spec.name, "spec": asdict(plan.spec), "steps": plan.digests()}
    before = flat(read_json(path)["spec"]) if path.exists() else flat(about["spec"])
    now = flat(about["spec"])
    write_json(path, about)
    return sorted(key for key in before | now if before.get(key) != now.get(key))


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested table as one level of dotted keys."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def open_unit(kind: str, task: Task) -> Work:
    """In a worker: the step's work, each unit marked once its data stand."""
    work = MODULES[kind].open_work(task)

    def do(unit: str) -> dict[str, Any]:
        task.output.mark(unit, work(unit))
        return {}

    return do


def run_step(step: Step, task: Task, executor: Executor, progress: Progress) -> None:
    """Run one step to its end, or skip it when it stands."""
    output, module = task.output, MODULES[step.kind]
    if output.done:
        total = len(output.units() or [])
        progress.step(step.label, total, total)
        progress.done(step.label, 0.0)
        return
    began, clock = datetime.now(UTC), time.perf_counter()
    output.prepare(step.identity)
    if (units := output.units()) is None:
        units = list(module.prepare(task))
        output.declare(units)
    standing = output.standing()
    pending = [unit for unit in units if unit not in standing]
    progress.step(step.label, len(units), len(units) - len(pending))
    failed = do_units(partial(open_unit, step.kind, task), pending, task, executor, progress.unit)
    if failed:
        raise StepFailed(report(step.label, failed, len(units)))
    facts = module.finish(task)
    if left_out := facts.get("left_out"):
        first = "; ".join(f"{one['shard']}: {one['item']}: {one['reason']}" for one in left_out[:3])
        progress.note(f"{step.label}: left out {len(left_out)} items or shards ({first}); all in provenance.json")
    seconds = time.perf_counter() - clock
    times = {"began": began.isoformat(), "ended": datetime.now(UTC).isoformat(), "seconds": round(seconds, 3)}
    output.finish({"facts": facts, "times": times, **surroundings()})
    progress.done(step.label, seconds)


def do_units(
    factory: Callable[[], Work],
    pending: list[str],
    task: Task,
    executor: Executor,
    on_unit: Callable[[Outcome], None],
) -> list[Outcome]:
    """Map the units, keep the event log, return the outcomes that failed."""
    failed = []

    def log(event: Event) -> None:
        task.output.log([asdict(event)])

    if pending:
        policy = Policy(lease_s=MODULES[task.output.step].LEASE_S, deadline_s=DEADLINE_S)
        for outcome in executor.map(factory, pending, policy=policy, on_event=log):
            task.output.log([unit_event(outcome)])
            on_unit(outcome)
            if not outcome.ok:
                failed.append(outcome)
    return failed


def unit_event(outcome: Outcome) -> dict[str, Any]:
    """The line of the event log for a finished unit."""
    return {
        "kind": "done" if outcome.ok else "failed",
        "unit": outcome.unit,
        "worker": outcome.worker,
        "text": outcome.error or "",
        "time": time.time(),
        "attempts": outcome.attempts,
        "seconds": round(outcome.seconds, 3),
    }


def report(label: str, failed: list[Outcome], total: int) -> str:
    """Which units of a step failed, and why."""
    lines = [f"  {outcome.unit}: {outcome.error} (attempts: {outcome.attempts})" for outcome in failed[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"  and {len(failed) - SHOWN} more")
    return "\n".join(
        [
            f"{label}: {len(failed)} of {total} units failed",
            *lines,
            "what was finished stands; mend the cause and run the same command again",
        ]
    )
