"""The queue shown: one line per job, all of one job, and its log."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from heapq import merge
from typing import Any

from jobs.queue.files import find_job, read_log
from jobs.queue.job import Attempt, Job, StateName
from jobs.queue.look import Seen, look
from jobs.queue.reconcile import without_repeats
from jobs.queue.records import Command, Json
from jobs.run.progress import Tally
from store.artefacts import as_written
from store.places import Place

ORDER = (
    StateName.RUNNING,
    StateName.QUEUED,
    StateName.LOST,
    StateName.FAILED,
    StateName.STOPPED,
    StateName.SUCCEEDED,
)
"""In which a list has the jobs."""

FOLLOW_S = 2.0
"""Seconds between two looks at a log that is followed."""

ASK_S = 10.0
"""Seconds between two questions to its cluster meanwhile."""

WIDTH = 160
"""Columns of a list that goes to no terminal."""

REASON = 100
"""Characters of a reason, at most, on a line of its own; `show` has all of it."""

LEAST = 24
"""Characters of a reason in a list, however narrow the terminal."""

HEADS = ("JOB", "STATE", "PRIORITY", "ATTEMPTS", "SUBMITTED (UTC)", "PROGRESS OR REASON")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One job of a list."""

    job: str
    """Its id."""
    state: StateName
    why: str
    priority: int
    attempts: int
    """Made so far."""
    submitted: str
    """Date and time (UTC)."""
    progress: Tally | None
    """As of its last heartbeat; None once it has succeeded, as the last heartbeat came before the end."""
    root: str
    address: str

    def to_json(self) -> dict[str, Any]:
        """The row as a JSON object."""
        return {**asdict(self), "progress": {} if self.progress is None else asdict(self.progress)}


def row(seen: Seen) -> Row:
    """One job as a row."""
    job = seen.job
    state, last = job.state(time.time()), job.attempts[-1] if job.attempts else None
    heartbeat = last.heartbeat if last is not None and state.name is not StateName.SUCCEEDED else None
    progress = heartbeat.tally if heartbeat is not None else None
    waits = progress.waits if progress is not None and state.name is StateName.RUNNING else ""
    return Row(
        job=job.id,
        state=state.name,
        why=seen.note or state.why or (f"waits for {waits}" if waits else ""),
        priority=job.priority,
        attempts=len(job.attempts),
        submitted=_when(job.assignment.time),
        progress=progress,
        root=job.assignment.root,
        address=job.assignment.address,
    )


def rows(jobs: Iterable[Seen], *, attended: bool = True) -> list[Row]:
    """All jobs: those that run, then those that wait in the order they will start, then those that ended.

    attended: whether a reconciler looks after the queue; what waits says what for.
    """
    table = sorted(map(row, jobs), key=lambda listed: ORDER.index(listed.state))
    for number, each in enumerate(table):
        if each.state is StateName.QUEUED and not each.why:
            turn = f"waits for its turn, behind {number}" if number else "is next"
            table[number] = replace(each, why=turn if attended else "waits for a reconciler")
    return table


def as_text(table: list[Row], columns: int = WIDTH) -> str:
    """A line of heads, and one per job: how far it is while it runs, the beginning of the reason otherwise."""
    if not table:
        return ""
    cells = [
        (each.job, str(each.state), str(each.priority), str(each.attempts), each.submitted.rpartition(":")[0])
        for each in table
    ]
    widths = [max(map(len, column)) for column in zip(HEADS[:-1], *cells, strict=True)]
    room = max(LEAST, columns - sum(widths) - 2 * len(widths))
    abouts = [short(", ".join(filter(None, (each.why, _progress(each)))), room) for each in table]
    return "\n".join(
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)), about]).rstrip()
        for line, about in zip([HEADS[:-1], *cells], [HEADS[-1], *abouts], strict=True)
    )


def short(text: str, room: int) -> str:
    """The first line of a text in so many characters."""
    line = plain(text.partition("\n")[0])
    return line if len(line) <= room else f"{line[: room - 4].rstrip()} ..."


def _progress(job: Row) -> str:
    if job.state is not StateName.RUNNING or job.progress is None or not job.progress.step:
        return ""
    return _units(job.progress)


def _units(tally: Tally) -> str:
    """How far a run is, and what went wrong in it."""
    text = f"{tally.step} {tally.ended}/{tally.units}"
    for count, what in ((tally.failed, "failed"), (tally.lost, "worker lost" if tally.lost == 1 else "workers lost")):
        text += f", {count} {what}" if count else ""
    return text


def show(seen: Seen) -> dict[str, Any]:
    """All that is known of a job, as JSON."""
    job = seen.job
    return {
        **row(seen).to_json(),
        "asked": job.assignment.to_json(),
        "orders": [command.to_json() for command in job.commands],
        "tries": [_attempt(attempt) for attempt in job.attempts],
    }


def show_text(seen: Seen) -> str:
    """All that is known of a job, for people; raises: NotARoot for a spec without a name."""
    job, assignment, about = seen.job, seen.job.assignment, row(seen)
    with as_written(job.place):
        specs = ", ".join(spec["name"] for spec in assignment.specs)
    lines = [
        f"{job.id}: {about.state}{f', {plain(about.why)}' if about.why else ''}",
        f"  root       {assignment.root}",
        f"  images     {assignment.images or 'bundled'}",
        f"  cluster    {assignment.address}",
        *([f"  python     {assignment.python}"] if assignment.python else []),
        f"  specs      {specs}",
        f"  priority   {job.priority}",
        f"  submitted  {_when(assignment.time)} by {assignment.by}",
    ]
    if about.progress is not None and about.progress.step:
        lines.append(f"  {'progress' if about.state is StateName.RUNNING else 'came to':<10} {_units(about.progress)}")
    commands = ((command.time, [_command_line(command)]) for command in job.commands)
    attempts = ((attempt.decision.time, _attempt_lines(attempt)) for attempt in job.attempts)
    for _, text in merge(commands, attempts, key=lambda dated: dated[0]):  # each in its order, whatever clocks say
        lines += text
    return "\n".join(lines)


def log_lines(job: Job) -> Iterator[Json]:
    """The log of all attempts, oldest line first."""
    for attempt in job.attempts:
        yield from read_log(attempt)


def follow(queue: Place, name: str, tell: Callable[[str], None]) -> Iterator[Json]:
    """The log as it grows, until the job has ended, by its files or by what its cluster knows.

    tell: is given a line, once, where the cluster does not answer, and one where a driver said no word of its end.
    """
    shown, tell = 0, without_repeats(tell)
    asked = time.monotonic()
    while True:
        seen = Seen(job=find_job(queue, name))
        if time.monotonic() - asked > ASK_S:
            (seen,) = look([seen.job], tell)
            asked = time.monotonic()
        job, state = seen.job, seen.job.state(time.time())
        ended = state.name.has_ended  # before the log is read for good
        lines = list(log_lines(job))
        yield from lines[shown:]
        shown = len(lines)
        if ended:
            if seen.ending is not None:
                tell(f"{job.id}: {state.name}: {plain(state.why)}")
            return
        time.sleep(FOLLOW_S)


def log_text(line: Json) -> str:
    """A line of a log for people; of a file that others changed it may be anything."""
    try:
        return _log_text(line)
    except (KeyError, OverflowError, OSError, TypeError, ValueError):
        return f"not a line of a log: {line}"


def _log_text(line: Json) -> str:
    numbers = {key: line[key] for key in ("unit", "seconds", "waited", "worker", "units", "standing") if key in line}
    parts = " ".join(f"{key}={value}" for key, value in numbers.items())
    head = f"{_when(line['time'])} {line['attempt']} {line['event']:<11}"
    return " ".join(part for part in (head, line.get("step", ""), parts, plain(line.get("text", ""))) if part)


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "submission": attempt.submission,
        "decided": attempt.decision.to_json(),
        "started": None if attempt.start is None else attempt.start.to_json(),
        "plan": None if attempt.outputs is None else attempt.outputs.to_json(),
        "heartbeat": None if attempt.heartbeat is None else attempt.heartbeat.to_json(),
        "end": None if attempt.end is None else attempt.end.to_json(),
    }


def _command_line(command: Command) -> str:
    value = "" if command.value is None else f" to {command.value}"
    return f"  {command.kind:<10} {_when(command.time)} by {command.by}{value}"


def _attempt_lines(attempt: Attempt) -> list[str]:
    """When it was started, by which process and driver (host:pid), how it ended, and its last output."""
    decision = attempt.decision
    text = f"  attempt {attempt.number}  {_when(decision.time)} started by submit or reconciler {decision.by}"
    if attempt.start is not None:
        text += f", driver {attempt.start.by}"
    if attempt.end is not None:
        text += f", {attempt.end.state} {_when(attempt.end.time)}"
        text += f": {plain(attempt.end.why)}" if attempt.end.why else ""
    output = (attempt.end.output if attempt.end is not None else None) or ""
    return [text, *(f"    | {plain(line)}" for line in output.splitlines())]


def plain(text: str) -> str:
    """Words from files and clusters for a terminal: no control characters, lines below the first indented."""
    lines = ["".join(char for char in line if char.isprintable()) for line in text.splitlines()]
    return "\n      ".join(lines)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
