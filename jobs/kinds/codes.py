"""Codes of one split: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass

from jobs.memory import PROCESS, Sizes
from jobs.step import Inputs
from store.layout import BLOCK

VERSION = 2
LEASE_S = 3600
ON_GPU = True
INPUTS = Inputs(["embeddings", "keys"], optional=["seen"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Nothing: codes follow from the inputs."""


def memory(asks: Asks, sizes: Sizes) -> int:
    """Projections and keys twice, the training codes, and a block of items."""
    return PROCESS + 2 * sizes.bottleneck + sizes.codes + BLOCK * (4 * sizes.d_z + 8 * sizes.c)
