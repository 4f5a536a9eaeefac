"""Heads that are solved for: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass, field

from jobs.memory import PROCESS, Sizes
from jobs.spec.heads import SolvedHeads
from jobs.step import IF_SET, Inputs

VERSION = 1
LEASE_S = 86400
ON_GPU = False
INPUTS = Inputs(
    ["manifest", "train", "test", "codes_train", "codes_test", "neighbours_train", "neighbours_test", "keys", "values"],
    optional=["oracles"],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Halves:
    """U-LiRA's heads."""

    heads: int
    """Solved for with the class, and as many without."""
    items: int
    """Training items that they see, drawn by the seed; a head sees the class and half of the others."""
    first: int
    """Of the classes only the first so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Which heads are compared, and on which classes."""

    classes: list[str] | None
    """Names; None: all that have training items."""
    heads: SolvedHeads
    seed: int
    lira: Halves | None
    """None: no U-LiRA."""
    first: int | None = field(default=None, metadata=IF_SET)
    """Of the classes only the first so many."""
    metrics: dict[str, str] | None = field(default=None, metadata=IF_SET)
    """Metrics of extensions: name -> distribution and version."""


def memory(asks: Asks, sizes: Sizes) -> int:
    """The items of both heads, their weights, the sums of three sets of items, and a solve."""
    moments = 8 * max(sizes.c * sizes.d_k, sizes.d_z) ** 2
    return PROCESS + sizes.heads + 2 * sizes.table + 3 * moments + max(sizes.solve, 32 * sizes.d_z**2)
