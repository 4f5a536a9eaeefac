"""What requests cost: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass, field

from dkvb.backbone_spec import BackboneSpec
from jobs.memory import PROCESS, WEIGHTS, Sizes
from jobs.spec.heads import SolvedHeads
from jobs.spec.schema import Grids
from jobs.step import IF_SET, MODEL, Inputs

VERSION = 1
LEASE_S = 86400
ON_GPU = False
INPUTS = Inputs([*MODEL, "tuning"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Of which class the costs are measured, its first, and with which backbone."""

    classes: list[str] | None
    """Names; None: all that have training items."""
    seed: int
    tau: float
    """The share of the class's activations that its mask holds."""
    backbone: BackboneSpec
    drawn: int | None
    """The seed of random weights; None for others."""
    first: int | None = field(default=None, metadata=IF_SET)
    """Of the classes only the first so many."""
    choosing: Grids | None = field(default=None, metadata=IF_SET)
    """Grids from which masks choose N by a sweep, which is timed too; None: it is not."""
    solved: SolvedHeads | None = field(default=None, metadata=IF_SET)
    """Heads that are solved for, whose requests cost something too; None: there are none."""
    extension: str | None = field(default=None, metadata=IF_SET)
    """Distribution and version of the backbone, where it is an extension's."""


def memory(asks: Asks, sizes: Sizes) -> int:
    """Both heads, and the backbone; or a head that is solved for."""
    solve = 0 if asks.solved is None else 2 * max(sizes.solve, 32 * sizes.d_z**2)
    return PROCESS + WEIGHTS + sizes.heads + solve
