"""The manifest of one split: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass

from jobs.memory import PROCESS, Sizes
from jobs.spec.images import SplitImages
from jobs.step import Inputs

VERSION = 1
LEASE_S = 7200
ON_GPU = False
INPUTS = Inputs()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """What is scanned."""

    images: SplitImages
    listing: str
    """Digest of the names and sizes of the files."""


def memory(asks: Asks, sizes: Sizes) -> int:
    """Its keys and labels, item by item."""
    return PROCESS
