"""The queue shown: one line per job, all of one job, and its log."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from jobs.queue.files import find_job
from jobs.queue.job import Attempt, Job
from store.artefacts import as_written
from store.journal import read_journal
from store.places import Place

ORDER = ("running", "queued", "lost", "failed", "stopped", "succeeded")
FOLLOW_S = 2.0
"""Seconds between two looks at a log that is followed."""


def row(job: Job) -> dict[str, Any]:
    """One job as JSON."""
    with as_written(job.place):
        return _row(job)


def _row(job: Job) -> dict[str, Any]:
    state, last = job.state(time.time()), job.attempts[-1] if job.attempts else None
    beat = (last.heartbeat or {}) if last is not None else {}
    return {
        "job": job.id,
        "state": state.name,
        "why": state.why,
        "priority": job.priority,
        "attempts": len(job.attempts),
        "submitted": _when(job.asked["time"]),
        "progress": {key: beat[key] for key in ("step", "units", "ended", "failed") if key in beat},
        "root": job.asked["root"],
        "address": job.asked["address"],
    }


def rows(jobs: list[Job]) -> list[dict[str, Any]]:
    """All jobs: those that run, then those that wait in the order they will start, then those that ended."""
    return sorted((row(job) for job in jobs), key=lambda one: ORDER.index(one["state"]))


def as_text(listed: list[dict[str, Any]]) -> str:
    """One line per job."""
    width = max((len(one["job"]) for one in listed), default=0)
    lines = []
    for one in listed:
        beat = one["progress"]
        runs = one["state"] == "running" and beat.get("step")
        far = f"{beat['step']} {beat['ended']}/{beat['units']}" if runs else ""
        why = _plain(one["why"].partition("\n")[0])
        lines.append(
            f"{one['job']:<{width}}  {one['state']:<9}  priority {one['priority']:>3}  attempts {one['attempts']}  "
            f"{one['submitted']}  {far or why}".rstrip()
        )
    return "\n".join(lines)


def show(job: Job) -> dict[str, Any]:
    """All that the files say of a job, as JSON."""
    return {
        **row(job),
        "asked": dict(job.asked),
        "orders": [dict(order) for order in job.orders],
        "tries": [_attempt(attempt) for attempt in job.attempts],
    }


def show_text(job: Job) -> str:
    """The same for people."""
    with as_written(job.place):
        return _show_text(job)


def _show_text(job: Job) -> str:
    about, state = row(job), job.state(time.time())
    lines = [
        f"{job.id}: {state.name}{f', {_plain(state.why)}' if state.why else ''}",
        f"  root       {about['root']}",
        f"  images     {job.asked['images'] or 'bundled'}",
        f"  cluster    {about['address']}",
        f"  specs      {', '.join(spec['name'] for spec in job.asked['specs'])}",
        f"  priority   {about['priority']}",
        f"  submitted  {about['submitted']} by {job.asked['by']}",
    ]
    lines += [f"  {order['order']:<10} {_when(order['time'])} by {order['by']}" for order in job.orders]
    for attempt in job.attempts:
        lines.append(f"  attempt {attempt.number}  {_attempt_line(attempt)}")
        output = str((attempt.end or {}).get("output", ""))
        lines += [f"    | {_plain(line)}" for line in output.splitlines()]
    return "\n".join(lines)


def log_lines(job: Job) -> Iterator[dict[str, Any]]:
    """The log of all attempts, oldest line first."""
    for attempt in job.attempts:
        yield from read_journal(attempt.place / "log.jsonl")


def follow(queue: Place, name: str) -> Iterator[dict[str, Any]]:
    """The log as it grows, until the job has ended."""
    told = 0
    while True:
        job = find_job(queue, name)
        ended = job.state(time.time()).name in ("succeeded", "failed", "stopped")  # before the log is read for good
        lines = list(log_lines(job))
        yield from lines[told:]
        told = len(lines)
        if ended:
            return
        time.sleep(FOLLOW_S)


def log_text(line: dict[str, Any]) -> str:
    """A line of a log for people."""
    try:
        return _log_text(line)
    except (KeyError, OverflowError, OSError, TypeError, ValueError):
        return f"not a line of a log: {line}"


def _log_text(line: dict[str, Any]) -> str:
    more = {key: line[key] for key in ("unit", "seconds", "worker", "units", "standing") if key in line}
    parts = " ".join(f"{key}={value}" for key, value in more.items())
    head = f"{_when(line['time'])} {line['attempt']} {line['event']:<11}"
    return " ".join(part for part in (head, line.get("step", ""), parts, _plain(line.get("text", ""))) if part)


def _attempt(attempt: Attempt) -> dict[str, Any]:
    parts = {name: getattr(attempt, name) for name in ("decided", "started", "plan", "heartbeat", "end")}
    return {"number": attempt.number, "submission": attempt.submission, **parts}


def _attempt_line(attempt: Attempt) -> str:
    text = f"{_when(attempt.decided['time'])} decided by {attempt.decided['by']}"
    if attempt.started:
        text += f", run by {attempt.started['by']}"
    if attempt.end:
        text += f", {attempt.end['state']} {_when(attempt.end['time'])}"
        text += f": {_plain(attempt.end['why'])}" if attempt.end["why"] else ""
    return text


def _plain(text: str) -> str:
    """Words from files and clusters for a terminal: no control characters, lines below the first indented."""
    lines = ["".join(char for char in line if char.isprintable()) for line in text.splitlines()]
    return "\n      ".join(lines)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
