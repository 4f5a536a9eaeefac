"""The values: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass, field

from dkvb.settings import LdaSettings, TrainSettings
from jobs.memory import PROCESS, Sizes
from jobs.step import IF_SET, Inputs

VERSION = 3
LEASE_S = 604800
ON_GPU = False
INPUTS = Inputs(["manifest", "embeddings", "codes", "keys"], ["sums"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """How the values are made: trained, or solved for from sums."""

    settings: TrainSettings | None
    """None: they are not trained."""
    seed: int
    selectable: str
    """ "used": in evaluation only keys that training used; "all": every key."""
    lda: LdaSettings | None = field(default=None, metadata=IF_SET)
    """None: they are trained."""


def memory(asks: Asks, sizes: Sizes) -> int:
    """The training, or sums and their solve; afterwards the checkpoint, of which the values may lie on the disk."""
    if asks.lda is not None:
        return PROCESS + sizes.codes + sizes.solve + 2 * sizes.bottleneck + 2 * sizes.table
    return PROCESS + sizes.training + 2 * sizes.bottleneck
