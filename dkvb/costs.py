"""What work costs on this machine: its time when warm, the memory it adds, and when it has paid off."""

import ctypes
import gc
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from dkvb.errors import BadSetting

PROC = Path("/proc/self")
"""Where Linux tells a process its memory, and lets it reset the high-water mark (proc(5), clear_refs)."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds and memory of warm runs of some work."""

    median: float
    """Seconds of the middle run."""
    least: float
    """Seconds of the fastest run."""
    most: float
    """Seconds of the slowest run."""
    peak_bytes: int | None
    """The most resident memory of this process in a run, less that before it; None where the system has no PROC."""


def measure(work: Callable[[], object], *, repeats: int = 5) -> Timing:
    """Time some work, then measure its memory.

    One run warms up, ``repeats`` runs are timed, and one more is measured for memory: before it, what earlier runs have
    freed is given back to the system, which would slow a timed run down. Memory of other processes and of other devices
    is not seen; work on another device must wait until that is done.

    raises: BadSetting; and whatever the work raises.
    """
    if repeats < 1:
        raise BadSetting(f"repeats: found {repeats}, expected 1 or more")
    work()
    seconds = []
    for _ in range(repeats):
        begin = perf_counter()
        result = work()
        seconds.append(perf_counter() - begin)
        del result  # freed outside the time, and before the next run
    return Timing(median(seconds), min(seconds), max(seconds), _peak(work))


def break_even(*, train_seconds: float, retrain_seconds: float, unlearn_seconds: float) -> float:
    """Number of requests after which a bottleneck has paid off against retraining at every request.

    train_seconds: what the bottleneck cost beforehand, which retraining saves.
    retrain_seconds, unlearn_seconds: what a request costs without and with the bottleneck.
    returns: train / (retrain - unlearn); inf where unlearning takes as long as retraining, or longer.
    raises: BadSetting.
    """
    for name, seconds in (("train", train_seconds), ("retrain", retrain_seconds), ("unlearn", unlearn_seconds)):
        if not 0 <= seconds < math.inf:
            raise BadSetting(f"{name}_seconds: found {seconds}, expected 0 or more, and finite")
    saved = retrain_seconds - unlearn_seconds
    return train_seconds / saved if saved > 0 else math.inf


def _peak(work: Callable[[], object]) -> int | None:
    """Most bytes that one run adds to what is resident, by the system's high-water mark, which misses nothing."""
    gc.collect()
    try:
        with (PROC / "clear_refs").open("w", encoding="ascii") as mark:
            _trim()
            mark.write("5")  # resets the mark
        before = _resident("VmRSS")
    except OSError:
        return None
    result = work()
    peak = _resident("VmHWM")
    del result
    return max(0, peak - before)


def _resident(field: str) -> int:
    lines = (PROC / "status").read_text(encoding="ascii", errors="replace").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _trim() -> None:
    """Give freed memory back to the system: kept by the C library, it would hide what the next run needs."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
