"""Pace of a step: how fast its units end, when the last of them will, and which worker is slow; told in one line."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from cluster.machine import machine_memory, used_memory
from jobs.printable import shown

SLOW = 3.0
"""A worker is slow whose last unit took so many times the median, or whose unit has been open for so long."""

SLOW_S = 2.0
"""Seconds over the median below which no worker is called slow."""

SLOW_FROM = 4
"""Units that have to end before any worker is called slow."""

GIB = 2**30

BAR = 30
"""Characters of the bar, at most."""


@dataclass(slots=True)
class Part:
    """One step that is being worked on; times are seconds of `time.monotonic`."""

    total: int
    ended: int
    """Units that are done; those that failed are not among them."""
    failed: int = 0
    images: int = 0
    began: float = field(default_factory=time.monotonic)
    standing: int = field(init=False)
    """Units that were done before."""
    seconds: list[float] = field(default_factory=list)
    """What each unit took."""
    last: dict[str, float] = field(default_factory=dict)
    """Worker -> seconds of its last unit."""
    open: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Worker -> its unit, and since when."""
    first: float | None = None
    """When the first of its units began."""

    def __post_init__(self) -> None:
        self.standing = self.ended

    def starts(self, unit: str, worker: str) -> None:
        """Take note that a worker begins with a unit."""
        self.open[worker] = (unit, time.monotonic())
        self.first = self.first or time.monotonic()

    @property
    def waited(self) -> float | None:
        """Seconds before the first of its units began; None where none has."""
        return None if self.first is None else self.first - self.began

    def ends(self, worker: str, seconds: float, *, ok: bool, images: int) -> None:
        """Take note that a unit ended."""
        self.ended += ok
        self.failed += not ok
        self.images += images
        self.seconds.append(seconds)
        self.last[worker] = seconds
        self.open.pop(worker, None)

    def loses(self, worker: str) -> None:
        """Take note that a worker is gone, or its unit taken from it."""
        self.open.pop(worker, None)
        self.last.pop(worker, None)

    def slow(self, now: float) -> tuple[float, str] | None:
        """The slowest worker, where one is slow: how many times the median, and who."""
        if len(self.seconds) < SLOW_FROM:
            return None
        usual = max(median(self.seconds), 0.001)
        taken = {**self.last}
        for worker, (_, since) in self.open.items():
            taken[worker] = max(now - since, taken.get(worker, 0.0))
        worker = max(taken, key=lambda each: taken[each], default="")
        most = taken.get(worker, 0.0)
        return (most / usual, worker) if most >= SLOW * usual and most - usual >= SLOW_S else None


def line(parts: Mapping[str, Part], width: int, now: float) -> str:
    """How far the open steps are, in one line of a terminal: what does not fit is left out, the least needed first.

    parts: by label; width: characters; now: seconds of `time.monotonic`.
    """
    units, ended, failed = (
        sum(getattr(part, name) for part in parts.values()) for name in ("total", "ended", "failed")
    )
    words = [f"{_labels(parts)}: {ended} of {units} units"]
    if failed:
        words[0] += f", {failed} failed"
    if slow := max((found for part in parts.values() if (found := part.slow(now))), default=None):
        words.append(f"slow: {shown(slow[1])} ({slow[0]:.0f}x the median)")
    new = ended + failed - sum(part.standing for part in parts.values())
    past = now - min((part.began for part in parts.values()), default=now)
    if new > 0 and past > 0:
        words += [f"{clock(past * (units - ended - failed) / new)} left", f"{rate(new / past)} units/s"]
        if images := sum(part.images for part in parts.values()):
            words.append(f"{rate(images / past)} images/s")
    if (used := used_memory()) is not None:
        words.append(f"memory {used / GIB:.1f} of {machine_memory() / GIB:.0f} GiB")
    while len(words) > 1 and len(", ".join(words)) > width:
        words.pop()
    text = ", ".join(words)
    if len(text) > width:
        return text[: max(width - 3, 0)] + "..."[:width]
    if (room := min(BAR, width - len(text) - 3)) < 5:
        return text
    full = room * ended // max(units, 1)
    return f"[{'#' * full}{'.' * (room - full)}] {text}"


def _labels(parts: Mapping[str, Part]) -> str:
    names = [shown(label) for label in parts]
    return " + ".join(names[:2]) + (f" + {len(names) - 2} more" if len(names) > 2 else "")


def rate(each_second: float) -> str:
    """A rate with two or three digits that mean something."""
    if each_second >= 100:
        return f"{each_second:,.0f}"
    return f"{each_second:.1f}" if each_second >= 1 else f"{each_second:.2g}"


def clock(seconds: float) -> str:
    """A time as people read it: 7 s, 2:05 min, 3:07 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60}:{whole % 60:02d} min" if whole < 3600 else f"{whole // 3600}:{whole % 3600 // 60:02d} h"
