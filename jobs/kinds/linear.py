"""The linear head: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass, field

from dkvb.settings import LdaSettings, TrainSettings
from jobs.memory import PROCESS, Sizes
from jobs.step import IF_SET, Inputs

VERSION = 1
LEASE_S = 86400
ON_GPU = False
INPUTS = Inputs(["manifest", "train", "test"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """How the head is made: trained, or solved for from sums."""

    settings: TrainSettings | None
    """None: it is not trained."""
    seed: int
    lda: LdaSettings | None = field(default=None, metadata=IF_SET)
    """None: it is trained."""
    bits: int | None = field(default=None, metadata=IF_SET)
    """Bits after the point of the embeddings that are summed up."""


def memory(asks: Asks, sizes: Sizes) -> int:
    """Embeddings in both precisions, those of the search beside all, and errors twice."""
    items = sizes.train + sizes.test
    return PROCESS + 2 * items * sizes.d_z + 8 * sizes.train * sizes.d_z + 8 * sizes.train * sizes.v
