"""Random projections: every codebook sees the embedding through a few directions of its own.

n: items; d_z: width of an embedding; d_k: width of a key, and the number of directions.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dkvb.seeds import generator
from dkvb.tiles import LANES, each, fill_tiles, kernel, pack, scores_of_tile, widened

BLOCK = 1024
"""Embeddings that are widened at a time."""


def random_projection(codebooks: Iterable[int], d_z: int, d_k: int, *, seed: int) -> Tensor:
    """Draw the frozen projections of some codebooks.

    codebooks: their indexes; each is drawn by itself, so some of them are the same as those among all.
    returns: (len(codebooks), d_z, d_k) float32, standard normal, each column scaled to unit L2 norm over d_z.
    source: Träuble et al., arXiv 2207.11240, section 2 and the authors' settings.
    """
    drawn = [torch.randn(d_z, d_k, generator=generator(seed, "projection", j)) for j in codebooks]
    projection = torch.stack(drawn)
    unit: Tensor = projection / projection.norm(dim=1, keepdim=True)
    return unit


def project(z: Tensor, directions: Tensor) -> Tensor:
    """Project embeddings into one codebook: as `project_each` of that codebook alone.

    z: (n, d_z) any float dtype; directions: (d_z, d_k) float32.
    returns: (n, d_k) float32.
    """
    return project_each(z, directions[None])[0]


def project_each(z: Tensor, projection: Tensor) -> Tensor:
    """Project embeddings into some codebooks; they are widened and laid out once for all of them.

    z: (n, d_z) any float dtype, embeddings; half precision is widened block by block.
    projection: (c, d_z, d_k) float32, of the codebooks.
    returns: (c, n, d_k) float32; on the CPU a row's bits depend on that row alone (`dkvb.tiles`).
    """
    if z.device.type != "cpu":
        return torch.cat([block.float() @ projection for block in z.split(BLOCK)], 1)
    x = torch.empty(len(projection), len(z), projection.shape[2])
    columns, out = np.stack([pack(directions.numpy().T) for directions in projection]), x.numpy()

    def project_block(begin: int) -> None:
        rows = slice(begin, begin + BLOCK)
        _project(widened(z[rows]), columns, out[:, rows])

    each(project_block, range(0, len(z), BLOCK))
    return x


@kernel
def _project(z: Any, columns: Any, x: Any) -> None:
    """Fill x (c, n, d_k) with the projections of z (n, d_z) on columns (c, groups of 16 directions, d_z, 16)."""
    tile = np.empty((1, z.shape[1], LANES), np.float32)
    zero = np.zeros((columns.shape[1], LANES), np.float32)
    scores = np.empty((columns.shape[1] * LANES, LANES), np.float32)
    for begin in range(0, len(z), LANES):
        fill_tiles(z[begin : begin + LANES], tile)
        for j in range(len(columns)):
            scores_of_tile(tile[0], columns[j], zero, scores)
            for lane in range(min(LANES, len(z) - begin)):
                for k in range(x.shape[2]):
                    x[j, begin + lane, k] = scores[k, lane]
