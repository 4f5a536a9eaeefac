"""What the steps of a plan need of machines: memory, room on disks, and core hours by measured rates."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf
from typing import Any

from dkvb.sizes import PROJECTED
from jobs.kinds import KINDS, embeddings, keys, linear, neighbours, sweep, values
from jobs.kinds.embeddings import EDGE
from jobs.memory import WEIGHTS, Sizes
from jobs.step import Step
from store.layout import BLOCK, CODEBOOKS

KEYS = 15e9
"""Multiply-adds of a core in a second while keys are fitted."""

CODES = 30e9
"""The same of codes and neighbours; of the linear head about as many."""

ROW, COLUMN = 80e-9, 1e-9
"""Seconds of a core for an item and a codebook of a pass of the values, and for each class of it."""

ENTRY = 90e-9
"""Seconds of a core for an item and a codebook of a sweep of one class."""

LOST, TOUCHED = 75e-6, 7e-6
"""What is added, times share^4 and share, the less of both; share: of an item's pairs, which the class activates. Of a
small share hardly a list is lost whole and searched past. Fitted to the three sweeps of docs/performance.md."""

COUNTED = 120e-9
"""Seconds of a core for a class and a pair, whose counts are written in two layouts."""

SUMMED = 40e9
"""Multiply-adds of a core in a second, in double precision, while items are summed and heads solved for."""

ACTIVATED = 0.49
"""A class of k items a pair of a codebook activates 1 - exp(-0.49 k) of the pairs: 45 % on CIFAR-10, as was seen."""

CONTEXT = 512 << 20
"""Bytes that a process takes of a GPU before its work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one step needs."""

    step: str
    memory: int
    """Bytes of a worker."""
    scratch: int
    """Bytes for temporary files of a worker."""
    vram: int
    """Bytes of a GPU where there is one; 0 for a step that uses none."""
    core_s: float | None
    """Seconds of one core of docs/performance.md; None where no rate is known."""


def needs(step: Step, sizes: Sizes) -> Needs:
    """What a step needs, from sizes alone."""
    module = KINDS[step.kind]
    by_lda = isinstance(step.asks, values.Asks) and step.asks.lda is not None
    return Needs(
        step=step.label,
        memory=module.memory(step.asks, sizes),
        scratch=sizes.scratch if step.kind in ("values", "oracles") and not by_lda else 0,
        vram=_vram(step, sizes) if module.ON_GPU else 0,
        core_s=core_seconds(step, sizes),
    )


def _vram(step: Step, sizes: Sizes) -> int:
    """What is added up from the kernels' own words: nobody has measured it."""
    asks = step.asks
    if isinstance(asks, embeddings.Asks):
        edge = asks.backbone.image_size or EDGE
        return WEIGHTS + (28 + 2) * 12 * asks.batch * edge**2
    if isinstance(asks, keys.Asks):
        items = min(asks.sample or sizes.train, sizes.train)
        return CONTEXT + 6 * items * sizes.d_z + 4 * items * sizes.d_k * CODEBOOKS
    listed = asks.r if isinstance(asks, neighbours.Asks) else 1
    return CONTEXT + 4 * PROJECTED + 2 * sizes.bottleneck + BLOCK * (6 * sizes.d_z + 2 * sizes.c * listed)


def core_seconds(step: Step, sizes: Sizes) -> float | None:
    """How long one core takes; None for a step whose rate is another's: a backbone's, a disk's, a comparison's."""
    items = sizes.test if step.split.startswith("test") else sizes.train
    pairs = sizes.c * sizes.m * sizes.d_k
    projected = sizes.c * 16 * sizes.d_z * -(-sizes.d_k // 16)
    asks = step.asks
    if isinstance(asks, keys.Asks):
        passes = 0 if asks.items else asks.settings.epochs
        return float(passes) * min(asks.sample or sizes.train, sizes.train) * pairs / KEYS
    if step.kind == "codes":
        return items * (pairs + projected) / CODES
    if step.kind == "neighbours":
        return 2.0 * items * (pairs + projected) / CODES
    if step.kind == "counts":
        return COUNTED * sizes.v * sizes.c * sizes.m
    if step.kind == "sums" or (isinstance(asks, values.Asks) and asks.settings is None):
        features = sizes.c * sizes.d_k
        return (sizes.train if step.kind == "sums" else features) * float(features) ** 2 / SUMMED
    if isinstance(asks, values.Asks) and asks.settings is not None:
        passes = asks.settings.epochs * (2 if asks.settings.validation else 1)
        return 2.0 * passes * sizes.train * sizes.c * (ROW + COLUMN * sizes.v)
    if isinstance(asks, linear.Asks) and asks.settings is None:
        return items * float(sizes.d_z) ** 2 / SUMMED
    if isinstance(asks, linear.Asks) and asks.settings is not None:
        passes = asks.settings.epochs * (2 if asks.settings.validation else 1)
        return 2.0 * passes * sizes.train * sizes.d_z * sizes.v / CODES
    if isinstance(asks, sweep.Asks):
        classes = sizes.v if asks.classes is None else len(asks.classes)
        grids = sum(len(getattr(grid, "seeds", [0])) for grid in asks.methods)
        share = 1 - exp(-ACTIVATED * sizes.train / max(1, sizes.v * sizes.m))
        each = ENTRY + min(LOST * share**4, TOUCHED * share)
        return each * grids * classes * (sizes.train + sizes.test) * sizes.c
    return None


def sizes_asked(found: dict[str, int], bottleneck: Any, d_z: int) -> Sizes:
    """The sizes of a spec. found: items of "train" and "test", and "classes"; bottleneck: its part of the spec."""
    return Sizes(
        train=found["train"],
        test=found["test"],
        v=found["classes"],
        c=bottleneck.c,
        m=bottleneck.m,
        d_k=bottleneck.d_k,
        d_z=d_z,
    )


def lines(all_needs: Sequence[Needs], *, cpus: int, memory: float, whose: str) -> list[str]:
    """What the steps need, and what of it a machine with so many CPUs and so much memory (bytes) cannot do.

    whose: that memory is, in words.
    """
    told = [f"  {'step':<18} {'memory':>10} {'GPU':>10} {'scratch':>10} {'core hours':>10}"]
    for one in all_needs:
        hours = "-" if one.core_s is None else f"{one.core_s / 3600:.2f}"
        cells = (size(one.memory), size(one.vram), size(one.scratch), hours)
        on_gpu = "   on a GPU: not measured" if one.vram else ""
        told.append(f"  {one.step:<18} " + " ".join(f"{cell:>10}" for cell in cells) + on_gpu)
    most = max((one.memory for one in all_needs), default=0)
    workers = min(cpus, int(memory // most)) if most and memory < inf else cpus
    told.append("")
    if short := [one.step for one in all_needs if one.memory > memory]:
        told.append(f"  too large for a machine with {size(memory)} of memory: {', '.join(short)}")
    else:
        there = f", of the {size(memory)} of {whose}" if memory < inf else ""
        told.append(f"  memory: at most {size(most)} for each of {workers} workers{there}")
    return told


def size(number: float) -> str:
    """Bytes for people; "-" where there are none."""
    if not number:
        return "-"
    return f"{number / 2**30:.1f} GiB" if number >= 0.1 * 2**30 else f"{number / 2**20:.0f} MiB"
