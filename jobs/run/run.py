"""Running plans on a root: skip what is done, do the rest unit by unit, lose nothing when killed.

Steps that do not wait for each other are mapped together, those with the fewest units first, so that a step of one
unit does not leave all workers but one idle.
"""

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any

from cluster.unit_map import Event, Executor, Outcome, Policy
from dkvb.errors import DkvbError
from jobs import destroying
from jobs.errors import BadRequest, BadSpec, StepFailed
from jobs.images.splits import check_manifests
from jobs.kinds import KINDS
from jobs.memory import sizes_of
from jobs.plan.plan import Plan, waves
from jobs.printable import number, shown
from jobs.provenance import surroundings
from jobs.run.progress import Progress, another_driver
from jobs.run.recorded import record_all
from jobs.step import Facts, Step, StepModule, Task, Work
from store.artefacts import PROVENANCE, Artefact, open_root
from store.errors import ImageDataError
from store.journal import Journal
from store.places import Place, absolute, reported
from store.recording import recording

DEADLINE_S = 1800
"""Seconds without a worker that is set up before a run gives up: a node must boot, weights must be fetched."""

SHOWN = 20
"""Failed units named in an error."""

NAMED = 3
"""Items that a note of what was left out names."""

REFUSALS = (BadSpec, BadRequest, DkvbError, ImageDataError)
"""Errors of a spec that asks for what cannot be: they end one experiment or one step, and hold up no other."""


def run(plans: Sequence[Plan], root: Place, executor: Executor, progress: Progress, *, recorded: bool = True) -> None:
    """Run or resume experiments; what they share is done once.

    recorded: write down which artefacts make up each experiment, once its images are those that its spec expects: one
        that is refused takes the place of none; otherwise what stands there stays.
    raises: StepFailed when units failed, after all others that could be done were done; StoreError; ClusterError.
    """
    root = absolute(open_root(root, create=True))  # Workers have working directories of their own.
    destroying.finish(root)
    if other := another_driver(root):
        progress.note(f"another run ({other}) is at work on this root; both go on, and share what either has done")
    notes = Notes(progress)
    # the manifests, and nothing else: nothing waits for less
    run_steps(waves(plans)[0], root, executor, progress, notes)
    sound: list[Plan] = []
    refused: list[Exception] = []
    for plan in plans:
        try:
            found = check_manifests(plan.spec, plan.steps, root)
        except REFUSALS as error:
            refused.append(error)
            continue
        sound.append(plan)
        if recorded:
            record_all([plan], root, progress)
        for text in found:
            progress.note(f"{plan.spec.name}: {text}")
    for wave in waves(sound)[1:] if sound else []:
        run_steps(wave, root, executor, progress, notes)
    if refused:
        raise refused[0]


@dataclass(slots=True, kw_only=True)
class OpenStep:
    """One step while its units are mapped."""

    label: str
    step: Step
    task: Task[Any]
    units: list[str]
    open: set[str]
    """Units without an outcome."""
    failed: list[Outcome] = field(default_factory=list)
    journal: Journal
    began: datetime
    clock: float


class UnitEvent(StrEnum):
    """What became of a unit, in the journal of its step beside the events of `cluster.unit_map`."""

    DONE = "done"
    FAILED = "failed"


class Notes:
    """Notes of steps, told once: heads of several seeds have the same to say of the images they share."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._told: set[tuple[str, str, frozenset[str]]] = set()
        self._left_out: set[tuple[str, str]] = set()

    def left_out(self, label: str, output: Artefact, found: Sequence[Mapping[str, str]]) -> None:
        """Tell what a step could not use, but for what an earlier one has told of already."""
        new = {(one["shard"], one["item"]): one for one in found}
        new = {where: one for where, one in new.items() if where not in self._left_out}
        self._left_out |= new.keys()
        if not new:
            return
        items = sum(bool(item) for _, item in new)
        parts = [number(items, "item", "items")] * bool(items)
        parts += [number(len(new) - items, "shard", "shards")] * (len(new) > items)
        some = ["; ".join(": ".join(filter(None, one.values())) for one in [*new.values()][:NAMED])]
        some += [f"and {len(new) - NAMED} more"] * (len(new) > NAMED)
        where = shown(str(output.path / PROVENANCE))
        self._progress.note(f"{label}: left out {' and '.join(parts)} ({shown('; '.join(some))}); all in {where}")

    def tell(self, label: str, step: Step, text: str) -> None:
        """Tell a note, unless a step of the same kind said the same of the same inputs."""
        note = (text, step.kind, frozenset(needed.digest for needed in step.inputs.values()))
        if note not in self._told:
            self._progress.note(f"{label}: {text}")
        self._told.add(note)


def run_steps(
    steps: Mapping[str, Step], root: Place, executor: Executor, progress: Progress, notes: Notes | None = None
) -> None:
    """Run steps that do not wait for each other to their ends; those that are done are skipped.

    steps: by the label under which progress is told of them.
    raises: StepFailed; what a step says of a spec that asks for what cannot be; StoreError; ClusterError.
    """
    notes = notes or Notes(progress)
    shared = bool(another_driver(root))  # looked for before this one writes that it is at work
    open_steps: dict[str, OpenStep] = {}
    refused: list[Exception] = []
    with ExitStack() as stack:
        for label, step in steps.items():
            try:
                open_step = begin(label, step, step.task(root), progress, notes)
            except REFUSALS as error:  # its spec is wrong; the other steps go on
                refused.append(error)
                continue
            if open_step is not None:
                open_steps[label] = open_step
                stack.enter_context(open_step.journal)
        for open_step in open_steps.values():
            if not open_step.open:
                close(open_step, progress, notes)
        split = any(each.open for each in open_steps.values()) and executor.holds_gpus()
        for on_gpu in (True, False):  # GPU workers, and the nodes that they are on, can go before the others begin
            alike = {
                label: each for label, each in open_steps.items() if (split and KINDS[each.step.kind].ON_GPU) is on_gpu
            }
            for open_step in map_units(alike, executor, progress, apart=shared, on_gpu=on_gpu):
                close(open_step, progress, notes)
    failed = [open_step for open_step in open_steps.values() if open_step.failed]
    if failed:
        causes = [outcome.exception for open_step in failed for outcome in open_step.failed]
        raise StepFailed(
            "\n".join([*reports(failed), "what was finished is kept; fix the cause and run the same command again"]),
            unreachable=all(isinstance(cause, ConnectionError) for cause in causes),
        )
    if refused:
        raise refused[0]


def begin(label: str, step: Step, task: Task[Any], progress: Progress, notes: Notes) -> OpenStep | None:
    """Prepare a step and see which of its units are done; None where all of it is."""
    output, began, clock = task.output, datetime.now(UTC), time.perf_counter()
    if output.done:
        output.check_own()  # others read it; of one that is not done, `prepare` sees to it
        total = len(output.units() or [])
        progress.step(label, total, total)
        progress.done(label, 0.0)
        if text := destroying.destroyed(output):
            progress.note(f"{label}: {text}")
        if step.kind in ("manifest", "embeddings"):
            notes.left_out(label, output, output.facts().get("left_out", ()))
        return None
    destroying.check_not_destroyed(output)
    output.prepare(step.identity)
    if (units := output.units()) is None:
        units = list(step_modules()[step.kind].prepare(task))
        output.declare(units)
    pending = set(units) - output.done_units()
    progress.step(label, len(units), len(units) - len(pending))
    return OpenStep(
        label=label,
        step=step,
        task=task,
        units=units,
        open=pending,
        journal=output.journal(),
        began=began,
        clock=clock,
    )


def map_units(
    open_steps: Mapping[str, OpenStep], executor: Executor, progress: Progress, *, apart: bool, on_gpu: bool
) -> Iterator[OpenStep]:
    """Map the open units of all steps and keep their journals; yields each step after its last unit, if none failed.

    apart: begin somewhere in the middle: two drivers on one root that both begin with the first unit do all twice.
    """
    todo = sorted((each for each in open_steps.values() if each.open), key=lambda each: len(each.open))
    if not todo:
        return
    root = todo[0].task.output.root
    leases = {
        f"{each.label}/{unit}": KINDS[each.step.kind].LEASE_S
        for each in todo
        for unit in rotated(sorted(each.open), apart=apart)
    }

    def log(event: Event) -> None:
        label, _, unit = event.unit.rpartition("/")
        event = replace(event, unit=unit)
        for each in [open_steps[label]] if label else todo:
            each.journal.write(asdict(event))
        progress.worker(label, event)

    factory = partial(open_units, {each.label: (each.step.kind, each.task) for each in todo})
    policy = Policy(leases=leases, deadline_s=DEADLINE_S)
    memory = max(KINDS[each.step.kind].memory(each.step.asks, sizes_of(each.step, root)) for each in todo)
    mapped = executor.map(factory, list(leases), policy=policy, on_event=log, on_gpu=on_gpu, memory=memory)
    for outcome in mapped:
        label, _, unit = outcome.unit.rpartition("/")
        open_step, outcome.unit = open_steps[label], unit
        open_step.open.discard(unit)
        open_step.journal.write(unit_event(outcome))
        progress.unit(label, outcome)
        if not outcome.ok:
            open_step.failed.append(outcome)
        if not open_step.open and not open_step.failed:
            yield open_step


def step_modules() -> Mapping[str, StepModule]:
    """What does the steps, by kind; imported only where something is left to do, as it brings torch."""
    from jobs.steps import STEPS

    return STEPS


def rotated(units: list[str], *, apart: bool) -> list[str]:
    """The units in order; apart: from a random one on, and then those before it."""
    first = secrets.randbelow(len(units)) if apart else 0
    return units[first:] + units[:first]


def open_units(tasks: Mapping[str, tuple[str, Task[Any]]]) -> Work:
    """Open the work of several steps, in a worker: one at a time, the first at once.

    tasks: kind and task, by label; a unit's name is label/unit.
    """
    held: dict[str, Work] = {}

    def work_of(label: str) -> Work:
        if label not in held:
            held.clear()  # what the last step held makes room first
            held[label] = open_unit(*tasks[label])
        return held[label]

    work_of(next(iter(tasks)))

    def do(name: str) -> Facts:
        label, _, unit = name.rpartition("/")
        return work_of(label)(unit)

    return do


def open_unit(kind: str, task: Task[Any]) -> Work:
    """Open the work of a step, in a worker: each unit is marked as done once its data are written."""
    with reported(task.output.path):
        work = step_modules()[kind].open_work(task)

    def do(unit: str) -> Facts:
        if task.output.is_done(unit):  # another driver on this root was quicker
            return {}
        with reported(task.output.path), recording(task.output.path) as files:
            facts = work(unit)
        with reported(task.output.path):
            task.output.mark(unit, facts, files)
        return {"images": facts["items"]} if kind == "embeddings" else {}

    return do


def close(open_step: OpenStep, progress: Progress, notes: Notes) -> None:
    """Finish a step whose last unit is done: bring its parts together."""
    from jobs import coordinates  # brings Zarr

    label, output = open_step.label, open_step.task.output
    with recording(output.path) as files:
        facts = step_modules()[open_step.step.kind].finish(open_step.task)
        coordinates.seal(output, coordinates.add(output))
    notes.left_out(label, output, facts.get("left_out", ()))
    for text in facts.get("notes", ()):
        notes.tell(label, open_step.step, text)
    seconds = time.perf_counter() - open_step.clock
    times = {
        "began": open_step.began.isoformat(),
        "ended": datetime.now(UTC).isoformat(),
        "seconds": round(seconds, 3),
    }
    output.finish({"facts": facts, "times": times, **surroundings()}, files)
    progress.done(label, seconds)


def unit_event(outcome: Outcome) -> dict[str, Any]:
    """The line of a step's journal for a unit that ended."""
    return {
        "kind": UnitEvent.DONE if outcome.ok else UnitEvent.FAILED,
        "unit": outcome.unit,
        "worker": outcome.worker,
        "text": outcome.error or "",
        "time": time.time(),
        "attempts": outcome.attempts,
        "seconds": round(outcome.seconds, 3),
    }


def reports(failed: Sequence[OpenStep]) -> list[str]:
    """What failed, and why; steps of a single unit are told by their cause alone, once where several have the same."""
    alone: dict[str, list[str]] = {}
    for one in failed:
        if len(one.units) == 1:
            alone.setdefault(reason(one.failed[0]), []).append(one.label)
    told = [f"{' and '.join(labels)}: {text}" for text, labels in alone.items()]
    return [*told, *(report(one) for one in failed if len(one.units) > 1)]


def report(open_step: OpenStep) -> str:
    """Which units of a step failed, and why; of a step of one unit that alone."""
    failed = open_step.failed
    lines = [f"  {outcome.unit}: {reason(outcome)}" for outcome in failed[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"  and {len(failed) - SHOWN} more")
    return "\n".join([f"{open_step.label}: {len(failed)} of {len(open_step.units)} units failed", *lines])


def reason(outcome: Outcome) -> str:
    """Why a unit failed, and how often it was tried if more than once."""
    return f"{outcome.error} (attempts: {outcome.attempts})" if outcome.attempts > 1 else str(outcome.error)
