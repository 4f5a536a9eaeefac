"""Showing how far a run is: a bar on a terminal, a line a change otherwise, progress.json and metrics for others."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from cluster import metrics
from cluster.unit_map import Outcome
from cluster.units import Event, EventKind, has_ended, here
from jobs.errors import BadRequest
from jobs.printable import draw, lines, shown, wipe
from jobs.run.pace import Part, line
from store.artefacts import as_written, read_json, write_json
from store.files import exists
from store.places import Place, is_local

WIDTH = 80
"""Columns of a terminal that does not say how wide it is."""

EVERY = 1.0
"""Seconds between two writes of progress.json on a disk; ten times that on an object store."""

FRESH_S = 30.0
"""Seconds for which a driver that wrote progress.json counts as being at work."""

WAITED_S = 10.0
"""Seconds before the first unit of a step from which on a line says so."""

WAITED = "before its first unit began, while workers started or did units of other steps"

PROGRESS = "progress.json"


class Progress(Protocol):
    """What a run tells whoever watches it."""

    def step(self, label: str, total: int, done: int) -> None:
        """Tell that a step begins; done: units of it that are done already."""

    def worker(self, label: str, event: Event) -> None:
        """Tell what a worker does with a unit of a step before it ends."""

    def unit(self, label: str, outcome: Outcome) -> None:
        """Tell that a unit of a step ended."""

    def note(self, text: str) -> None:
        """Tell what the user should know."""

    def done(self, label: str, seconds: float) -> None:
        """Tell that a step ended; seconds: 0 where nothing was left to do."""


class LogEvent(StrEnum):
    """What a line of a job's log is about."""

    STEP = "step"
    UNIT = "unit"
    UNIT_FAILED = "unit failed"
    UNIT_AGAIN = "unit again"
    WORKER_LOST = "worker lost"
    WAITS = "waits"
    STEP_DONE = "step done"
    NOTE = "note"
    ATTEMPT = "attempt"
    TRACEBACK = "traceback"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One change of a run, for a log; None: not part of this line."""

    event: LogEvent
    step: str | None = None
    units: int | None = None
    standing: int | None = None
    """Units that were done before."""
    unit: str | None = None
    seconds: float | None = None
    waited: float | None = None
    """Of a step that is done: of its seconds, those before its first unit began."""
    worker: str | None = None
    text: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The line as a JSON object, without what is not part of it."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How far a run is: the steps that are open, or the last one, and the units of all that are open."""

    step: str
    units: int
    ended: int
    """Units that are done; those that failed are not among them."""
    failed: int
    lost: int = 0
    """Workers that were lost so far."""
    waits: str = ""
    """What no worker of the run has, so that nothing goes on: "CPUs" or "GPUs"; empty while one works."""


@dataclass(kw_only=True)
class Reporter:
    """Watches a run; everything goes to the error stream, so that results can be piped."""

    root: Place
    terminal: bool = field(default_factory=lambda: sys.stderr.isatty())
    log: Callable[[LogLine], None] = lambda _: None
    """Is given every change."""
    parts: dict[str, Part] = field(default_factory=dict)
    """The steps that are open, by label."""
    label: str = ""
    """The last step that something happened in."""
    written: float = 0.0
    """When progress.json was."""
    tenth: int = -1
    """The tenth of the units that was printed last."""
    lost: int = 0
    """As of the tally."""
    gone: set[str] = field(default_factory=set)
    """The workers that were lost."""
    waits: str = ""
    """As of the tally."""

    def step(self, label: str, total: int, done: int) -> None:
        """Tell that a step begins."""
        self.label, self.parts[label], self.tenth = label, Part(total, done), -1
        if done < total:
            self.log(LogLine(event=LogEvent.STEP, step=label, units=total, standing=done))
            self._show(force=True)

    def worker(self, label: str, event: Event) -> None:
        """Tell what a worker does."""
        if event.kind is EventKind.STARTED:
            self.parts[label].starts(event.unit, event.worker)
            self.waits = ""  # a worker has a place again
        elif event.kind is EventKind.WAITING:
            self.waits = event.text.partition(":")[0]
            self._tell(LogEvent.WAITS, label, event, f"waits for {event.text}")
        elif event.kind in (EventKind.WORKER_LOST, EventKind.LEASE_EXPIRED):
            for part in self.parts.values():
                part.loses(event.worker)
            self.gone.add(event.worker)
            self.lost += 1
            metrics.count(metrics.LOST, {"step": label or self.label})
            self._tell(LogEvent.WORKER_LOST, label, event, _lost(label, event))
        elif event.kind is EventKind.SETUP_FAILED:
            self._tell(LogEvent.NOTE, label, event, f"worker {event.worker} could not be set up: {event.text}")
        elif event.kind is EventKind.RETRY and event.worker not in self.gone:
            text = f"unit {event.unit} of {label} begins again: {event.text}"
            self.log(LogLine(event=LogEvent.UNIT_AGAIN, step=label, unit=event.unit, worker=event.worker, text=text))
        if self.terminal and self.parts:
            self._draw()

    def unit(self, label: str, outcome: Outcome) -> None:
        """Tell that a unit ended."""
        self.label, part = label, self.parts[label]
        images = (outcome.value or {}).get("images", 0)
        part.ends(outcome.worker, outcome.seconds, ok=outcome.ok, images=images)
        metrics.count(metrics.UNITS, {"step": label, "result": "done" if outcome.ok else "failed"})
        if images:
            metrics.gauge(metrics.IMAGES, part.images / (time.monotonic() - part.began), {"step": label})
        self.log(
            LogLine(
                event=LogEvent.UNIT if outcome.ok else LogEvent.UNIT_FAILED,
                step=label,
                unit=outcome.unit,
                seconds=round(outcome.seconds, 3),
                worker=outcome.worker,
                text=outcome.error or None,
            )
        )
        self._show()

    def done(self, label: str, seconds: float) -> None:
        """Tell that a step ended."""
        self.label, part = label, self.parts[label]
        part.ended = part.total
        text = f"{label}: {part.total} of {part.total} units"
        waited = None if part.waited is None else round(part.waited, 3)
        about = f" ({waited:.1f} s of them {WAITED})" if waited is not None and waited >= WAITED_S else ""
        self._print(f"{text}, {seconds:.1f} s{about}" if seconds else f"{text}, done already")
        self.log(
            LogLine(
                event=LogEvent.STEP_DONE,
                step=label,
                seconds=round(seconds, 3),
                waited=waited,
                text=about.strip(" ()") or None,
            )
        )
        self._write()
        del self.parts[label]

    def note(self, text: str) -> None:
        """Tell what the user should know."""
        self._print(f"note: {text}")
        self.log(LogLine(event=LogEvent.NOTE, step=self.label, text=text))

    def tally(self) -> Tally:
        """Count how far the run is."""
        parts = list(self.parts.values())  # a heartbeat asks from another thread
        return Tally(
            step=" + ".join(self.parts) or self.label,
            units=sum(part.total for part in parts),
            ended=sum(part.ended for part in parts),
            failed=sum(part.failed for part in parts),
            lost=self.lost,
            waits=self.waits,
        )

    def _tell(self, kind: LogEvent, label: str, event: Event, text: str) -> None:
        """Print and log what happened to a worker."""
        self._print(f"note: {text}")
        self.log(
            LogLine(
                event=kind,
                step=label or self.label,
                unit=event.unit or None,
                worker=event.worker or None,
                text=text,
            )
        )

    def _print(self, text: str) -> None:
        wipe()
        print(lines(text), file=sys.stderr, flush=True)

    def _show(self, *, force: bool = False) -> None:
        pause = EVERY if is_local(self.root) else 10 * EVERY
        if force or time.monotonic() - self.written >= pause:
            self._write()
        if self.terminal:
            self._draw()
            return
        tally = self.tally()
        trouble = f", {tally.failed} failed" if tally.failed else ""
        text = f"{shown(' + '.join(self.parts))}: {tally.ended} of {tally.units} units{trouble}"
        if (tenth := 10 * tally.ended // max(tally.units, 1)) != self.tenth and tally.ended < tally.units:
            self.tenth = tenth
            self._print(text)

    def _draw(self) -> None:
        try:
            width = os.get_terminal_size(sys.stderr.fileno()).columns or WIDTH
        except OSError:
            width = WIDTH
        draw(line(self.parts, width - 1, time.monotonic()))

    def _write(self) -> None:
        self.written = time.monotonic()
        write_json(self.root / PROGRESS, {**asdict(self.tally()), "time": time.time(), "driver": here()})


def _lost(label: str, event: Event) -> str:
    """What became of a worker that was lost, and of its unit."""
    who = f"worker {event.worker}" if event.worker else "a worker"
    if event.kind is EventKind.LEASE_EXPIRED:
        what = f"{who} was ended: {event.text}"
    else:
        what = f"{who} was lost{'' if event.worker else f' before it began: {event.text}'}"
    if not event.unit:
        return what
    return f"{what}; unit {event.unit} of {label} {'is given up' if event.last else 'begins again'}"


def another_driver(root: Place) -> str:
    """Another driver, host:pid, that was at work on the root some seconds ago, and has not ended as far as can be told.

    Empty where there is none.

    raises: NotARoot where progress.json holds something else.
    """
    path = root / PROGRESS
    if not exists(path):
        return ""
    with as_written(path):
        last: dict[str, Any] = read_json(path)
        driver = str(last.get("driver"))
        fresh = time.time() - float(last["time"]) < FRESH_S
        return driver if fresh and driver != here() and not has_ended(driver) else ""


def check_quiet(root: Place) -> None:
    """Check that no run is at work on a root where something is to be destroyed; raises: BadRequest."""
    if other := another_driver(root):
        raise BadRequest(
            f"{root}: a run ({other}) is at work there, and may need what is to be destroyed; wait for its end"
        )
