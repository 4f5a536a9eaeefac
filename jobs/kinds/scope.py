"""How far masks reach: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass, field

from jobs.memory import PROCESS, Sizes
from jobs.step import IF_SET, MODEL, Inputs

VERSION = 1
LEASE_S = 86400
ON_GPU = False
INPUTS = Inputs([*MODEL, "tuning", "flipped"], optional=["other", "other_manifest"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Which classes are forgotten, and what stands in for their images."""

    classes: list[str] | None
    """Names; None: all that have training items."""
    seed: int
    tau: float
    """The share of a class's activations that its mask holds."""
    proxies: dict[str, str]
    """Class -> class of the other data set whose images stand for it."""
    first: int | None = field(default=None, metadata=IF_SET)
    """Of the classes only the first so many."""
    held_out: bool = field(default=False, metadata=IF_SET)
    """Whether masks for single items are also stopped where held-out items are."""


def memory(asks: Asks, sizes: Sizes) -> int:
    """Both heads, and what is masked of one."""
    return PROCESS + sizes.heads + sizes.table
