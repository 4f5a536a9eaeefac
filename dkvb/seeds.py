"""Random generators named by what they are for, so that no draw depends on another's order."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream(seed: int, *purpose: str | int) -> int:
    """The number that names one stream of draws: equal arguments, equal number, on every machine (64 bits).

    seed: the experiment's seed.
    purpose: what the numbers are for, such as ``("keys", codebook)``.
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(seed: int, *purpose: str | int) -> "torch.Generator":
    """A CPU generator of torch for one purpose.

    Equal arguments give equal streams on every machine, worker and executor; different purposes give
    independent ones: the codebooks of a model can be drawn in any order or in parallel.

    seed, purpose: as in `stream`.
    """
    import torch

    return torch.Generator().manual_seed(stream(seed, *purpose))


def drawn(n: int, count: int, seed: int, *purpose: str | int) -> "torch.Tensor":
    """Rows of `count` of n items, drawn without replacement, in order; all of them where n is smaller.

    seed, purpose: as in `stream`.
    returns: (min(n, count),) int64.
    """
    import torch

    return torch.randperm(n, generator=generator(seed, *purpose))[:count].sort().values


def numpy_generator(seed: int, *purpose: str | int) -> np.random.PCG64:
    """A bit generator of NumPy for one purpose, without torch.

    It is no `numpy.random.Generator`: raw numbers are the same in every NumPy release, while what the methods of a
    Generator make of them may change.

    seed, purpose: as in `stream`.
    """
    return np.random.PCG64(stream(seed, *purpose))
