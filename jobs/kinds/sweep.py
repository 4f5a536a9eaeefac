"""The sweep: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass, field

from jobs.forget_sets import block_size
from jobs.memory import PROCESS, Sizes
from jobs.spec.schema import Grids
from jobs.step import IF_SET, MODEL, Inputs
from store.layout import BLOCK

VERSION = 4
LEASE_S = 86400
ON_GPU = False
INPUTS = Inputs([name for name in MODEL if name not in ("keys", "linear")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Which classes are forgotten, over which budgets."""

    classes: list[str] | None
    """Names; None: all that have training items."""
    methods: Grids
    first: int | None = field(default=None, metadata=IF_SET)
    """Of the classes only the first so many."""


def memory(asks: Asks, sizes: Sizes) -> int:
    """The model, the training codes, a block of items, and the tables of a block of classes."""
    tables = 16 * block_size(sizes.v) * sizes.c * sizes.m
    return PROCESS + 2 * sizes.table + sizes.codes + 128 * BLOCK * sizes.c + tables
