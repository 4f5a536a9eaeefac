"""Showing how far a run is: a bar on a terminal, a line a change otherwise, progress.json and metrics for others."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster import metrics
from cluster.unit_map import Outcome
from cluster.units import here
from jobs.printable import lines, shown
from store.artefacts import write_json
from store.places import Place, is_local

WIDTH = 30
"""Characters of the bar."""

EVERY = 1.0
"""Seconds between two writes of progress.json on a disk; ten times that on an object store."""


@dataclass(slots=True)
class Part:
    """One step that is being worked on."""

    total: int
    ended: int
    failed: int = 0
    images: int = 0
    began: float = field(default_factory=time.monotonic)


@dataclass(kw_only=True)
class Reporter:
    """Watches a run; everything goes to the error stream, so that results can be piped."""

    root: Place
    terminal: bool = field(default_factory=lambda: sys.stderr.isatty())
    log: Callable[[Mapping[str, Any]], None] | None = None
    """Is given every change as a record."""
    parts: dict[str, Part] = field(default_factory=dict)
    """The steps that are open, by label."""
    label: str = ""
    """The last step that something happened in."""
    written: float = 0.0
    told: int = -1

    def step(self, label: str, total: int, standing: int) -> None:
        """A step begins."""
        self.label, self.parts[label], self.told = label, Part(total, standing), -1
        if standing < total:
            self._note("step", units=total, standing=standing)
            self._show(force=True)

    def unit(self, label: str, outcome: Outcome) -> None:
        """A unit ended."""
        self.label, part = label, self.parts[label]
        part.ended += 1
        part.failed += not outcome.ok
        metrics.count(metrics.UNITS, {"step": label, "result": "done" if outcome.ok else "failed"})
        if images := (outcome.value or {}).get("images", 0):
            part.images += images
            metrics.gauge(metrics.IMAGES, part.images / (time.monotonic() - part.began), {"step": label})
        self._note(
            "unit" if outcome.ok else "unit failed",
            unit=outcome.unit,
            seconds=round(outcome.seconds, 3),
            worker=outcome.worker,
            **({"text": outcome.error} if outcome.error else {}),
        )
        self._show()

    def done(self, label: str, seconds: float) -> None:
        """A step ended."""
        self.label, part = label, self.parts[label]
        part.ended = part.total
        text = f"{label}: {part.total} of {part.total} units"
        self._line(f"{text}, {seconds:.1f} s" if seconds else f"{text}, done already")
        self._note("step done", seconds=round(seconds, 3))
        self._write()
        del self.parts[label]

    def note(self, text: str) -> None:
        """Something the user should know."""
        self._line(f"note: {text}")
        self._note("note", text=text)

    def now(self) -> dict[str, Any]:
        """How far the run is: the last step, and units of all steps that are open."""
        units = [(part.total, part.ended, part.failed) for part in list(self.parts.values())]
        total, ended, failed = (sum(column) for column in zip(*units, strict=True)) if units else (0, 0, 0)
        return {"step": " + ".join(self.parts) or self.label, "units": total, "ended": ended, "failed": failed}

    def _note(self, event: str, **more: Any) -> None:
        if self.log is not None:
            self.log({"event": event, "step": self.label, **more})

    def _line(self, text: str) -> None:
        clear = "\r\x1b[K" if self.terminal else ""
        print(f"{clear}{lines(text)}", file=sys.stderr, flush=True)

    def _show(self, *, force: bool = False) -> None:
        pause = EVERY if is_local(self.root) else 10 * EVERY
        if force or time.monotonic() - self.written >= pause:
            self._write()
        now = self.now()
        trouble = f", {now['failed']} failed" if now["failed"] else ""
        text = f"{shown(' + '.join(self.parts))}: {now['ended']} of {now['units']} units{trouble}"
        if self.terminal:
            full = WIDTH * now["ended"] // max(now["units"], 1)
            print(f"\r\x1b[K[{'#' * full}{'.' * (WIDTH - full)}] {text}", end="", file=sys.stderr, flush=True)
        elif (tenth := 10 * now["ended"] // max(now["units"], 1)) != self.told and now["ended"] < now["units"]:
            self.told = tenth
            self._line(text)

    def _write(self) -> None:
        self.written = time.monotonic()
        write_json(self.root / "progress.json", {**self.now(), "time": time.time(), "driver": here()})
