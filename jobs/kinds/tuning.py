"""Settings of the gradient baselines: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass, field

from jobs.memory import PROCESS, Sizes
from jobs.step import IF_SET, MODEL, Inputs

VERSION = 1
LEASE_S = 86400
ON_GPU = False
INPUTS = Inputs(MODEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """On which classes settings are tried, and how many."""

    classes: list[str] | None
    """Names; None: all that have training items."""
    trials: int
    """Settings that each baseline may try."""
    first: int
    """Of the classes only the first so many."""
    seed: int
    extensions: dict[str, str] | None = field(default=None, metadata=IF_SET)
    """Baselines of extensions that are tuned instead of ours: name -> distribution and version."""
    alone: bool = field(default=False, metadata=IF_SET)
    """Whether one class alone is compared: other classes of the data set are tried beside it, as none may choose for
    itself."""


def memory(asks: Asks, sizes: Sizes) -> int:
    """Both heads."""
    return PROCESS + sizes.heads
