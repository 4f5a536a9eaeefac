"""Projections and keys: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass, field

from dkvb.settings import KeySettings
from jobs.memory import PROCESS, Sizes
from jobs.step import IF_SET, Inputs
from store.layout import CODEBOOKS

VERSION = 2
LEASE_S = 86400
ON_GPU = True
INPUTS = Inputs(["train"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Which keys are fitted, and how."""

    c: int
    """Codebooks."""
    m: int
    """Keys of a codebook."""
    d_k: int
    """Width of a key."""
    sample: int | None
    """Training items that the keys see; None: all."""
    settings: KeySettings
    seed: int
    items: bool = field(default=False, metadata=IF_SET)
    """Whether keys are random items, and none is fitted."""


def memory(asks: Asks, sizes: Sizes) -> int:
    """The items that are fitted on, and their projections, codebook by codebook."""
    items = min(asks.sample or sizes.items, sizes.items)
    return PROCESS + 2 * items * sizes.d_z + CODEBOOKS * items * (4 * asks.d_k + 8)
