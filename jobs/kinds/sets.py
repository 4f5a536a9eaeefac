"""Sets of classes: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass

from jobs.forget_sets import SETS
from jobs.memory import PROCESS, Sizes
from jobs.spec.schema import Grids, SetAsks
from jobs.step import MODEL, Inputs
from store.layout import BLOCK

VERSION = 1
LEASE_S = 86400
ON_GPU = False
INPUTS = Inputs([name for name in MODEL if name not in ("keys", "linear")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Which sets are forgotten, over which budgets."""

    sets: SetAsks
    methods: Grids


def memory(asks: Asks, sizes: Sizes) -> int:
    """The model, the training codes, a block of items, and the tables of a block of sets."""
    tables = 16 * SETS * sizes.c * sizes.m
    return PROCESS + 2 * sizes.table + sizes.codes + 128 * BLOCK * sizes.c + tables
