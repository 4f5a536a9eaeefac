"""How long a run will take: what its steps compute, at the speed of this machine, wave after wave."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any

from jobs.memory import Sizes
from jobs.plan.cost import Planned
from jobs.plan.needs import Needs
from jobs.plan.plan import waves
from jobs.step import Step
from store.layout import BLOCK, CODEBOOKS

START_S = 30.0
"""Seconds in which workers start, import their libraries, load the backbone, and compile kernels, as was seen."""

ALONE = ("values", "linear", "counts", "costs")
"""Steps of one unit, which one worker does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What was measured of a machine (`jobs.plan.machine`)."""

    images: float
    """Images a second through the backbone: of one core, or of the GPU."""
    device: str
    """ "cpu", or "cuda": then no number of CPUs makes it faster."""
    seen: int
    """How many images that is of."""
    decoded: bool
    """Whether they were the spec's own, read and decoded too; otherwise black ones, and decoding comes on top."""
    core: float
    """How many times as fast a core is as those of docs/performance.md."""


NOTHING = Speed(images=1.0, device="cpu", seen=0, decoded=False, core=1.0)
"""Of a plan of which nothing is left to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minutes:
    """How long what is left of a run will take."""

    seconds: float
    """Of all steps whose time can be known."""
    not_known: list[str] = field(default_factory=list)
    """Labels of the others."""
    cpus: int
    speeds: Sequence[Speed]
    """Of each plan."""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "seconds": self.seconds,
            "not_known": self.not_known,
            "cpus": self.cpus,
            "speeds": [asdict(speed) for speed in self.speeds],
        }


def minutes(plans: Sequence[Planned], speeds: Sequence[Speed], *, cpus: int, memory: float) -> Minutes | None:
    """What is left of some plans, on one machine; None where it is not known how many images one of them has.

    speeds: what was measured for each of them.
    cpus, memory: of the machine; bytes.
    """
    about: dict[str, tuple[Sizes, Needs, Speed]] = {}
    for planned, speed in zip(plans, speeds, strict=True):
        if planned.sizes is None or planned.needs is None:
            return None
        for step, need in zip(planned.plan.steps, planned.needs, strict=True):
            about[step.digest] = planned.sizes, need, speed
    done = {digest for planned in plans for digest in planned.done or ()}
    total, not_known, left = 0.0, list[str](), False
    for wave in waves([planned.plan for planned in plans]):
        shared, longest = 0.0, 0.0
        for label, step in wave.items():
            if step.digest in done:
                continue
            left, (sizes, need, speed) = True, about[step.digest]
            work = seconds_of(step, sizes, need, speed)
            if work is None:
                not_known.append(label)
                continue
            on_gpu = step.kind == "embeddings" and speed.device != "cpu"
            workers = 1 if on_gpu else max(1, int(min(cpus, memory // max(1, need.memory))))
            shared += work / workers
            longest = max(longest, work / min(workers, _units(step, sizes)))
        total += max(shared, longest)
    return Minutes(seconds=total + START_S * left, not_known=not_known, cpus=cpus, speeds=speeds)


def seconds_of(step: Step, sizes: Sizes, need: Needs, speed: Speed) -> float | None:
    """Seconds of one worker for a step; None where no rate is known."""
    if step.kind == "manifest":
        return 0.0
    if step.kind == "embeddings":
        items = {"test": sizes.test, "other": sizes.other}.get(step.split, sizes.train)
        return items / speed.images if items else None
    return None if need.core_s is None else need.core_s / speed.core


def _units(step: Step, sizes: Sizes) -> int:
    """How many units a step has, as far as sizes tell: no more workers than that can help."""
    if step.kind in ALONE:
        return 1
    if step.kind in ("codes", "neighbours"):
        return max(1, ceil((sizes.test if step.split.startswith("test") else sizes.train) / BLOCK))
    if step.kind == "keys":
        return max(1, ceil(sizes.c / CODEBOOKS))
    return 1 << 30


def words(found: Minutes) -> list[str]:
    """The minutes for people, and what they follow from."""
    if not found.seconds:
        return ["time: nothing is left to do"]
    lines = [
        f"time: about {lasting(found.seconds)} on {found.cpus} CPUs, if nothing else runs on them; "
        "between half and twice that"
    ]
    measured = [speed for speed in dict.fromkeys(found.speeds) if speed.seen]
    for speed in measured:
        each = "on the GPU" if speed.device != "cpu" else "on a core"
        rate = f"{speed.images:.0f}" if speed.images >= 10 else f"{speed.images:.1f}"
        how = "of these images" if speed.decoded else "black images, so the time that decoding takes is not in it"
        lines.append(f"  measured now: {rate} images a second {each} ({speed.seen} {how})")
    if measured:
        lines.append(
            f"  other steps: the rates of docs/performance.md times {measured[0].core:.1f}, as a core computed just now"
        )
    if found.not_known:
        kinds = dict.fromkeys(label.rpartition(" ")[2].partition("[")[0] for label in found.not_known)
        lines += [
            f"  not in it: {', '.join(kinds)}; how long these take is known once they run, as their trainings end by",
            "  themselves: a run with compare.classes set to one class tells",
        ]
    return lines


def lasting(seconds: float) -> str:
    """A time in words."""
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} hours"
