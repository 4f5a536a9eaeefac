"""Running plans on a root: skip what is done, do the rest unit by unit, lose nothing when killed.

Steps that do not wait for each other are mapped together, those with the fewest units first, so that a step of one
unit does not leave all workers but one idle.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from cluster.unit_map import Event, Executor, Outcome, Policy
from cluster.units import has_ended, here
from dkvb.errors import DkvbError
from jobs.errors import BadRequest, BadSpec, StepFailed
from jobs.images.splits import check_manifests
from jobs.plan.plan import Plan, waves
from jobs.printable import shown
from jobs.provenance import surroundings
from jobs.spec.reading import as_table, build
from jobs.spec.schema import Spec
from jobs.step import Step, Task, Work
from jobs.steps import STEPS
from store.artefacts import as_written, open_root, read_json, read_record, write_record
from store.errors import ImageDataError
from store.files import exists
from store.journal import Journal
from store.places import Place, absolute, reported
from store.recording import recording

DEADLINE_S = 1800
"""Seconds without a worker that is set up before a run gives up: a node must boot, weights must be fetched."""

FRESH_S = 30.0
"""Seconds for which a driver that wrote progress.json counts as being at work."""

SHOWN = 20
"""Failed units named in an error."""

REFUSALS = (BadSpec, BadRequest, DkvbError, ImageDataError)
"""What was asked is wrong: for one experiment or one step, which holds up no other."""


class Progress(Protocol):
    """Who watches a run."""

    def step(self, label: str, total: int, standing: int) -> None:
        """A step begins, some of its units standing already."""

    def unit(self, label: str, outcome: Outcome) -> None:
        """A unit of a step ended."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def done(self, label: str, seconds: float) -> None:
        """A step ended."""


def run(plans: Sequence[Plan], root: Place, executor: Executor, progress: Progress) -> None:
    """Run or resume experiments; what they share is done once.

    raises: StepFailed when units failed, after all others that could be done were done; StoreError; ClusterError.
    """
    root = absolute(open_root(root, create=True))  # Workers have working directories of their own.
    for plan in plans:
        if changed := record(plan, root):
            progress.note(f"{plan.spec.name} ran here before with another spec or other images: {', '.join(changed)}")
    run_steps(waves(plans)[0], root, executor, progress)  # the manifests, and nothing else: nothing waits for less
    sound: list[Plan] = []
    refused: list[Exception] = []
    for plan in plans:
        try:
            notes = check_manifests(plan.spec, plan.steps, root)
        except REFUSALS as error:
            refused.append(error)
            continue
        sound.append(plan)
        for text in notes:
            progress.note(f"{plan.spec.name}: {text}")
    for wave in waves(sound)[1:] if sound else []:
        run_steps(wave, root, executor, progress)
    if refused:
        raise refused[0]


def another_driver(root: Place) -> bool:
    """Whether another driver was at work on the root some seconds ago, and has not ended as far as can be told."""
    path = root / "progress.json"
    with as_written(path):
        last: dict[str, Any] = read_json(path) if exists(path) else {"time": 0.0}
        if time.time() - float(last["time"]) >= FRESH_S:
            return False
        driver = str(last.get("driver"))
        return driver != here() and not has_ended(driver)


def record(plan: Plan, root: Place) -> list[str]:
    """Write down which artefacts make up the experiment, so that it can be found by name.

    returns: in what it differs from what ran under this name before: spec keys, images; the newer one takes the name.
    """
    path = root / "experiments" / f"{plan.spec.name}.json"
    about: dict[str, Any] = {"name": plan.spec.name, "spec": asdict(plan.spec), "steps": plan.digests()}
    with as_written(path):
        last = read_record(path) if exists(path) else about
        before, steps = flat(completed(last["spec"])), dict(last["steps"])
    now = flat(about["spec"])
    write_record(path, about)
    keys = sorted(key for key in before | now if before.get(key) != now.get(key))
    if any(key.startswith(("images.", "other.")) for key in keys):
        return keys
    listings = [label for label in steps if label.startswith("manifest[")]
    changed = [label for label in listings if steps[label] != about["steps"].get(label, steps[label])]
    return [*keys, *(f"the files of {label.removeprefix('manifest')}, in names or sizes" for label in changed)]


def completed(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec as it was written, with the defaults of keys that came later."""
    try:
        return asdict(build(Spec, as_table(spec), ""))
    except BadSpec:  # of another version, whose keys or bounds were others
        return spec


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested table as one level of dotted keys."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


@dataclass(slots=True, kw_only=True)
class Running:
    """One step while its units are mapped."""

    label: str
    step: Step
    task: Task[Any]
    units: list[str]
    open: set[str]
    """Units without an outcome."""
    failed: list[Outcome]
    journal: Journal
    began: datetime
    clock: float


def run_steps(steps: Mapping[str, Step], root: Place, executor: Executor, progress: Progress) -> None:
    """Run steps that do not wait for each other to their ends; those that stand are skipped.

    steps: by the label under which progress is told of them.
    """
    shared = another_driver(root)  # asked before this one writes that it is at work
    running: dict[str, Running] = {}
    refused: list[Exception] = []
    with ExitStack() as stack:
        for label, step in steps.items():
            try:
                one = begin(label, step, step.task(root), progress)
            except REFUSALS as error:  # what was asked is wrong, for this step
                refused.append(error)
                continue
            if one is not None:
                running[label] = one
                stack.enter_context(one.journal)
        for one in running.values():
            if not one.open:
                close(one, progress)
        map_units(running, executor, progress, apart=shared)
    if failed := [report(one.label, one.failed, len(one.units)) for one in running.values() if one.failed]:
        causes = [outcome.exception for one in running.values() for outcome in one.failed]
        raise StepFailed(
            "\n".join([*failed, "what was finished is kept; mend the cause and run the same command again"]),
            unreachable=all(isinstance(cause, ConnectionError) for cause in causes),
        )
    if refused:
        raise refused[0]


def begin(label: str, step: Step, task: Task[Any], progress: Progress) -> Running | None:
    """Prepare a step and see what of it stands; None where all of it does."""
    output, began, clock = task.output, datetime.now(UTC), time.perf_counter()
    if output.done:
        output.check_own()  # others read it; of one that is not done, `prepare` sees to it
        total = len(output.units() or [])
        progress.step(label, total, total)
        progress.done(label, 0.0)
        return None
    output.prepare(step.identity)
    if (units := output.units()) is None:
        units = list(STEPS[step.kind].prepare(task))
        output.declare(units)
    pending = set(units) - output.standing()
    progress.step(label, len(units), len(units) - len(pending))
    return Running(
        label=label,
        step=step,
        task=task,
        units=units,
        open=pending,
        failed=[],
        journal=output.journal(),
        began=began,
        clock=clock,
    )


def map_units(running: Mapping[str, Running], executor: Executor, progress: Progress, *, apart: bool) -> None:
    """Map the open units of all steps, keep the event logs, close each step with its last unit.

    apart: begin somewhere in the middle: two drivers on one root that both begin with the first unit do all twice.
    """
    todo = sorted((one for one in running.values() if one.open), key=lambda one: len(one.open))
    if not todo:
        return
    leases = {
        f"{one.label}/{unit}": STEPS[one.step.kind].LEASE_S
        for one in todo
        for unit in rotated(sorted(one.open), apart=apart)
    }

    def log(event: Event) -> None:
        label, _, unit = event.unit.rpartition("/")
        for one in [running[label]] if label else todo:
            one.journal.write(asdict(replace(event, unit=unit)))

    factory = partial(open_units, {one.label: (one.step.kind, one.task) for one in todo})
    policy = Policy(leases=leases, deadline_s=DEADLINE_S)
    for outcome in executor.map(factory, list(leases), policy=policy, on_event=log):
        label, _, unit = outcome.unit.rpartition("/")
        one, outcome.unit = running[label], unit
        one.open.discard(unit)
        one.journal.write(unit_event(outcome))
        progress.unit(label, outcome)
        if not outcome.ok:
            one.failed.append(outcome)
        if not one.open and not one.failed:
            close(one, progress)


def rotated(units: list[str], *, apart: bool) -> list[str]:
    """The units from a random one on, and then those before it, if asked."""
    first = secrets.randbelow(len(units)) if apart else 0
    return units[first:] + units[:first]


def open_units(tasks: Mapping[str, tuple[str, Task[Any]]]) -> Work:
    """In a worker: the work of several steps, one of them open at a time; the first is opened at once.

    tasks: kind and task, by label; a unit's name is label/unit.
    """
    held: dict[str, Work] = {}

    def work_of(label: str) -> Work:
        if label not in held:
            held.clear()  # what the last step held makes room first
            held[label] = open_unit(*tasks[label])
        return held[label]

    work_of(next(iter(tasks)))

    def do(name: str) -> Any:
        label, _, unit = name.rpartition("/")
        return work_of(label)(unit)

    return do


def open_unit(kind: str, task: Task[Any]) -> Work:
    """In a worker: the step's work, each unit marked once its data stand."""
    with reported(task.output.path):
        work = STEPS[kind].open_work(task)

    def do(unit: str) -> dict[str, Any]:
        if task.output.stands(unit):  # another driver on this root was quicker
            return {}
        with reported(task.output.path), recording(task.output.path) as files:
            facts = work(unit)
        with reported(task.output.path):
            task.output.mark(unit, facts, files)
        return {"images": facts["items"]} if kind == "embeddings" else {}

    return do


def close(one: Running, progress: Progress) -> None:
    """The last unit of a step stands: bring its parts together."""
    output = one.task.output
    with recording(output.path) as files:
        facts = STEPS[one.step.kind].finish(one.task)
    if left_out := facts.get("left_out"):
        first = "; ".join(shown(f"{item['shard']}: {item['item']}: {item['reason']}") for item in left_out[:3])
        progress.note(f"{one.label}: left out {len(left_out)} items or shards ({first}); all in provenance.json")
    for text in facts.get("notes", ()):
        progress.note(f"{one.label}: {text}")
    seconds = time.perf_counter() - one.clock
    times = {"began": one.began.isoformat(), "ended": datetime.now(UTC).isoformat(), "seconds": round(seconds, 3)}
    output.finish({"facts": facts, "times": times, **surroundings()}, files)
    progress.done(one.label, seconds)


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


def report(label: str, failed: Sequence[Outcome], total: int) -> str:
    """Which units of a step failed, and why."""
    lines = [f"  {outcome.unit}: {outcome.error} (attempts: {outcome.attempts})" for outcome in failed[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"  and {len(failed) - SHOWN} more")
    return "\n".join([f"{label}: {len(failed)} of {total} units failed", *lines])
