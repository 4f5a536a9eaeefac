"""What a fault did to a run: read off markers and event logs, which say when which unit was begun and finished."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.artefacts import Artefact
from store.files import names
from store.places import Place
from tests.faults.stage import Command, Stage
from tests.tiny import data_files


@dataclass(frozen=True, kw_only=True)
class Measures:
    """One disturbed run."""

    repeated: int
    """Units whose marker stood before the fault and that were done, or begun, again after it."""
    twice: int
    """Units that were begun more than once: those in flight at the fault."""
    recover_s: float
    """From the fault (or from its end, where nothing can be done before) to the unit that shows that all is well."""
    seconds: float
    """From the first command to the last one's end."""
    identical: bool
    """Whether all data files are those of a calm run."""
    says: str
    """Exit codes, and the message of the disturbed command."""


@dataclass(frozen=True)
class Moment:
    """What stood, and who was at work, when the fault came."""

    time: float
    marks: Mapping[str, float]
    busy: Mapping[str, str]
    """Unit -> worker."""


def artefacts(root: Place) -> list[Artefact]:
    """Every artefact folder of a root."""
    steps = [name for name in names(root) if name in STEPS]
    return [Artefact(root, step, digest) for step in steps for digest in names(root / step)]


STEPS = ("manifest", "embeddings", "keys", "codes", "neighbours", "values", "linear", "counts", "sweep")


def marks(root: Place) -> dict[str, float]:
    """When each unit that is done was marked, by step/digest/unit."""
    if not isinstance(root, Path):
        found = root.fs.find(root.path, detail=True)
        files = {path: about for path, about in found.items() if "LastModified" in about}  # not the folders some list
        times = {path.removeprefix(f"{root.path}/"): about["LastModified"].timestamp() for path, about in files.items()}
    else:
        there = [path for path in root.glob("*/*/units/*.json") if path.name[0] != "."]
        times = {path.relative_to(root).as_posix(): path.stat().st_mtime for path in there}
    return {
        path.replace("/units/", "/").removesuffix(".json"): stamp
        for path, stamp in times.items()
        if "/units/" in path and path.endswith(".json")
    }


def events(root: Place, *kinds: str) -> list[dict[str, Any]]:
    """Events of all steps in order of time; their units are named as those of `marks`."""
    found = [
        {**event, "unit": f"{one.step}/{one.digest}/{event['unit']}"}
        for one in artefacts(root)
        for event in one.events()
    ]
    return sorted((event for event in found if event["kind"] in kinds), key=lambda event: event["time"])


def busy(root: Place) -> dict[str, str]:
    """Units that were begun and of which no end was heard, and the worker of each."""
    open_units: dict[str, str] = {}
    for event in events(root, "started", "done", "failed", "retry"):
        if event["kind"] == "started":
            open_units[event["unit"]] = event["worker"]
        else:
            open_units.pop(event["unit"], None)
    return open_units


def moment(root: Place) -> Moment:
    """The present one; its time comes last: what is begun while an object store lists its files is no repetition."""
    marked, at_work = marks(root), busy(root)
    return Moment(time.time(), marked, at_work)


def at_work(root: Path, command: Command, there: Callable[[str], bool] = lambda worker: True) -> Moment:
    """Wait for a moment at which a worker is at work; `there`: whether a worker counts."""

    def found() -> Moment | None:
        now = moment(root)
        return now if any(map(there, now.busy.values())) else None

    struck = command.wait_until(found, "a worker at work")
    assert struck is not None
    return struck


def until(root: Place, count: int, command: Command) -> None:
    """Wait until so many units are done."""
    every = 0.01 if isinstance(root, Path) else 0.2
    command.wait_until(lambda: len(marks(root)) >= count, f"{count} units", every=every)


def next_done(root: Place, since: float) -> float:
    """Seconds from then to the next unit that a driver heard the end of."""
    return float(min(event["time"] for event in events(root, "done") if event["time"] > since)) - since


def lost_done(root: Place, struck: Moment) -> float:
    """Seconds from the fault to the end of the last of the units that were at work on what was lost."""
    lost = {event["unit"] for event in events(root, "worker_lost", "lease_expired") if event["time"] > struck.time}
    ends: list[float] = [event["time"] for event in events(root, "done") if event["unit"] in lost]
    return max(ends, default=struck.time) - struck.time


def pid_of(worker: str) -> int:
    """Of a worker's name, host:pid."""
    return int(worker.rpartition(":")[2])


def same(one: Path, other: Path) -> bool:
    """Whether two roots have the same data files with the same bytes."""
    left, right = data_files(one), data_files(other)
    assert len(right) > 50, "too few files to compare anything"
    return left == right


def measure(
    stage: Stage, root: Place, struck: Moment, *, began: float, recovered: float, says: str, copy: Path | None = None
) -> Measures:
    """Everything after the last command has ended.

    copy: the root on a disk, where it is on an object store.
    """
    now, starts = marks(root), events(root, "started")
    redone = {unit for unit, stamp in struck.marks.items() if now.get(unit) != stamp}
    begun = {event["unit"] for event in starts if event["time"] > struck.time and event["unit"] not in struck.busy}
    counted = Counter(event["unit"] for event in starts)
    return Measures(
        repeated=len(redone | (begun & struck.marks.keys())),
        twice=sum(count > 1 for count in counted.values()),
        recover_s=max(0.0, recovered),
        seconds=time.time() - began,
        identical=same(copy or Path(str(root)), stage.calm),
        says=says,
    )
