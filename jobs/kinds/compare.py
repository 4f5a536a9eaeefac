"""The comparison: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass, field

from jobs.memory import PROCESS, Sizes
from jobs.spec.schema import Grids
from jobs.step import IF_SET, MODEL, Inputs

VERSION = 1
LEASE_S = 86400
ON_GPU = False
EXTENSIONS = "tuning_extensions"
"""The input with the tuning of baselines of extensions."""

INPUTS = Inputs([*MODEL, "tuning"], optional=["oracles", EXTENSIONS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """What is compared, over which budgets."""

    classes: list[str] | None
    """Names; None: all that have training items."""
    methods: Grids
    taus: list[float]
    """Shares of the class's activations that label-free rules are tried with."""
    weights: list[float]
    """Of the orders by contrast."""
    seed: int
    tau: float
    """The share that the mask by the label-free rule holds."""
    first: int | None = field(default=None, metadata=IF_SET)
    """Of the classes only the first so many."""
    beside: bool = field(default=False, metadata=IF_SET)
    """Whether calibration and the like are measured, and files attacked."""
    extensions: dict[str, str] | None = field(default=None, metadata=IF_SET)
    """Methods of extensions that are compared too: name -> distribution and version."""
    metrics: dict[str, str] | None = field(default=None, metadata=IF_SET)
    """Metrics of extensions, likewise."""


def memory(asks: Asks, sizes: Sizes) -> int:
    """Both heads, and what is masked of one."""
    return PROCESS + sizes.heads + sizes.table
