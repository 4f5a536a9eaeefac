"""Random projections: every codebook looks at the embedding through its own few directions."""

from collections.abc import Iterable

import torch
from torch import Tensor

from dkvb.seeds import generator


def random_projection(codebooks: Iterable[int], d_z: int, d_k: int, *, seed: int) -> Tensor:
    """Draw the frozen projections of some codebooks.

    codebooks: their indexes; each is drawn by itself, so a part of them equals that part of all.
    returns: (len(codebooks), d_z, d_k) float32, standard normal, each column scaled to unit L2 norm over d_z.
    source: Träuble et al., arXiv 2207.11240, section 2 and the authors' settings.
    """
    drawn = [torch.randn(d_z, d_k, generator=generator(seed, "projection", j)) for j in codebooks]
    projection = torch.stack(drawn)
    unit: Tensor = projection / projection.norm(dim=1, keepdim=True)
    return unit


def project(z: Tensor, directions: Tensor) -> Tensor:
    """Project embeddings into one codebook.

    z: (n, d_z) any float dtype, embeddings; half-precision is widened block by block.
    directions: (d_z, d_k) float32, the projection of the codebook.
    returns: (n, d_k) float32.
    """
    return torch.cat([block.float() @ directions for block in z.split(4096)])
