"""Oracle-KV: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass, field

from dkvb.settings import KeySettings, LdaSettings
from jobs.memory import PROCESS, Sizes
from jobs.step import IF_SET, Inputs

VERSION = 1
LEASE_S = 86400
ON_GPU = False
INPUTS = Inputs(["manifest", "train", "test", "values"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """For which classes, and how their keys are fitted: as `jobs.steps.keys` is asked for those of all items."""

    c: int
    m: int
    d_k: int
    sample: int | None
    settings: KeySettings
    seed: int
    classes: list[str] | None
    """Names; None: all that have training items."""
    selectable: str
    """ "used": in evaluation only keys that training used; "all": every key."""
    first: int | None = field(default=None, metadata=IF_SET)
    """Of the classes only the first so many."""
    items: bool = field(default=False, metadata=IF_SET)
    """Whether keys are random items, and none is fitted."""
    trained: bool = field(default=True, metadata=IF_SET)
    """Whether values are trained on these keys."""
    lda: LdaSettings | None = field(default=None, metadata=IF_SET)
    """How values are solved for on them; None: they are not."""

    @property
    def written(self) -> list[str]:
        """Arrays that are written, by split."""
        trained = ["oracle_logits"] if self.trained else []
        return [*trained, "oracle_lda_logits"] if self.lda else trained


def memory(asks: Asks, sizes: Sizes) -> int:
    """Embeddings of both splits, and a training or a solve."""
    solve = 0 if asks.lda is None else sizes.solve + 2 * sizes.table
    return PROCESS + solve + 4 * (sizes.train + sizes.test) * sizes.d_z + sizes.training + 2 * sizes.bottleneck
