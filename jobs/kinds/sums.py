"""Sums over the training items: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass

from jobs.memory import PROCESS, Sizes
from jobs.step import Inputs
from store.layout import CODEBOOKS

VERSION = 1
LEASE_S = 86400
ON_GPU = False
INPUTS = Inputs(["manifest", "embeddings", "codes", "keys"])

UNIT = 4 * CODEBOOKS
"""Codebooks of a unit, several chunks: each unit looks up the keys of all later codebooks too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Nothing: sums follow from the inputs."""


def memory(asks: Asks, sizes: Sizes) -> int:
    """Codes and whole keys, and the sums of a block of codebooks twice."""
    moments = 8 * UNIT * sizes.d_k * sizes.c * sizes.d_k
    return PROCESS + sizes.codes + 2 * sizes.bottleneck + 2 * moments
