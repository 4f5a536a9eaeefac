"""Showing how far a run is: a bar on a terminal, a line a change otherwise, and progress.json for others."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from cluster.shardmap import Outcome
from store.artefacts import write_json

WIDTH = 30
"""Characters of the bar."""

EVERY = 1.0
"""Seconds between two writes of progress.json."""


@dataclass
class Reporter:
    """Watches a run; everything goes to the error stream, so that results can be piped."""

    root: Path
    terminal: bool = field(default_factory=lambda: sys.stderr.isatty())
    label: str = ""
    total: int = 0
    ended: int = 0
    failed: int = 0
    began: float = 0.0
    written: float = 0.0
    told: int = -1

    def step(self, label: str, total: int, standing: int) -> None:
        """A step begins."""
        self.label, self.total, self.ended, self.failed = label, total, standing, 0
        self.began, self.told = time.monotonic(), -1
        if standing < total:
            self._show(force=True)

    def unit(self, outcome: Outcome) -> None:
        """A unit ended."""
        self.ended += 1
        self.failed += not outcome.ok
        self._show()

    def done(self, label: str, seconds: float) -> None:
        """A step ended."""
        text = f"{label}: {self.total} of {self.total} units"
        self._line(f"{text}, {seconds:.1f} s" if seconds else f"{text}, stood already")
        self._write()

    def note(self, text: str) -> None:
        """Something the user should know."""
        self._line(f"note: {text}")

    def _line(self, text: str) -> None:
        clear = "\r\x1b[K" if self.terminal else ""
        print(f"{clear}{text}", file=sys.stderr, flush=True)

    def _show(self, *, force: bool = False) -> None:
        if force or time.monotonic() - self.written >= EVERY:
            self._write()
        trouble = f", {self.failed} failed" if self.failed else ""
        text = f"{self.label}: {self.ended} of {self.total} units{trouble}"
        if self.terminal:
            full = WIDTH * self.ended // max(self.total, 1)
            print(f"\r\x1b[K[{'#' * full}{'.' * (WIDTH - full)}] {text}", end="", file=sys.stderr, flush=True)
        elif (tenth := 10 * self.ended // max(self.total, 1)) != self.told and self.ended < self.total:
            self.told = tenth
            self._line(text)

    def _write(self) -> None:
        self.written = time.monotonic()
        about = {"step": self.label, "units": self.total, "ended": self.ended, "failed": self.failed}
        write_json(self.root / "progress.json", {**about, "time": time.time()})
