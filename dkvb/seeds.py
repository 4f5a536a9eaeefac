"""Random generators named by what they are for, so that no draw depends on another's order."""

import hashlib

import torch


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose.

    Equal arguments give equal streams on every machine, worker and executor; different purposes give
    independent ones: the codebooks of a model can be drawn in any order or in parallel.

    seed: the experiment's seed.
    purpose: what the numbers are for, such as ``("keys", codebook)``.
    """
    text = "/".join(map(str, (seed, *purpose)))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))
