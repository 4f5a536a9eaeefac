"""U-LiRA: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass, field

from jobs.memory import PROCESS, Sizes
from jobs.step import IF_SET, MODEL, Inputs
from store.layout import LIRA_HEADS

VERSION = 1
LEASE_S = 86400
ON_GPU = False
INPUTS = Inputs([*MODEL, "tuning"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """How many heads are trained, on what, and for which classes."""

    classes: list[str] | None
    """Names; None: all that have training items."""
    seed: int
    tau: float
    """The share of the class's activations that its mask holds."""
    heads: int
    """Trained with the class, and as many without."""
    items: int
    """Training items that they are trained on, drawn by the seed."""
    first: int
    """Of the classes only the first so many."""
    every: bool = field(default=False, metadata=IF_SET)
    """Whether heads forget by every method, and AUCs have intervals; or by a mask and SCRUB alone."""


def memory(asks: Asks, sizes: Sizes) -> int:
    """Both heads' items, and a batch of heads trained twice."""
    items = min(asks.items, sizes.train)
    return PROCESS + sizes.heads + LIRA_HEADS * (4 * sizes.table + 4 * items * sizes.v)
