"""Counts: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass

from jobs.memory import PROCESS, Sizes
from jobs.step import Inputs

VERSION = 1
LEASE_S = 7200
ON_GPU = False
INPUTS = Inputs(["manifest", "embeddings", "codes", "keys"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Nothing: counts follow from the inputs."""


def memory(asks: Asks, sizes: Sizes) -> int:
    """The codes, and counts in two widths."""
    return PROCESS + 3 * sizes.codes + sizes.table + sizes.table // 2
