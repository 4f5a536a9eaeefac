"""Codes: the index of the nearest selectable key, per item and codebook."""

import torch
from torch import Tensor

from dkvb.errors import ShapeMismatch
from dkvb.projection import project

NO_VOTE = -1
"""The code of an item in a codebook that has no selectable key."""

BLOCK = 256
"""Rows of a distance tile: 256 x 4096 float32 stay in a core's cache, which is what makes the tile cheap."""


def nearest(x: Tensor, keys: Tensor, *, selectable: Tensor | None = None) -> Tensor:
    """Nearest selectable key of one codebook: squared L2, ties to the lowest index.

    x: (n, d_k) float32, projected items.
    keys: (m, d_k) float32.
    selectable: (m,) bool, or None when every key is.
    returns: (n,) int64, NO_VOTE where nothing is selectable.
    memory: one tile of BLOCK x m float32, whatever n is.
    raises: ShapeMismatch.
    """
    if x.ndim != 2 or keys.ndim != 2 or x.shape[1] != keys.shape[1]:
        raise ShapeMismatch.between("x (n, d_k)", x.shape, "keys (m, d_k)", keys.shape)
    if selectable is not None and not selectable.any():
        return torch.full((len(x),), NO_VOTE, device=x.device)
    # |x - k|^2 = |x|^2 - 2 (x.k - |k|^2 / 2): the nearest key has the largest score.
    bias = keys.square().sum(1).mul_(-0.5)
    if selectable is not None:
        bias.masked_fill_(~selectable, -torch.inf)
    scores = keys.new_empty(min(BLOCK, len(x)), len(keys))
    found = torch.empty(len(x), dtype=torch.int64, device=x.device)
    for rows, out in zip(x.split(BLOCK), found.split(BLOCK), strict=True):
        tile = torch.addmm(bias, rows, keys.T, out=scores[: len(rows)])
        torch.argmax(tile, dim=1, out=out)
    return found


def encode(
    z: Tensor,
    projection: Tensor,
    keys: Tensor,
    *,
    selectable: Tensor | None = None,
) -> Tensor:
    """Codes of items in every codebook.

    z: (n, d_z) float, embeddings.
    projection: (c, d_z, d_k) float32.
    keys: (c, m, d_k) float32.
    selectable: (c, m) bool, or None when every key is.
    returns: (n, c) int16, NO_VOTE (-1) where a codebook has no selectable key.
    memory: the result and one tile; n x c x m is never materialised.
    raises: ShapeMismatch.
    source: Träuble et al., arXiv 2207.11240, equation 1.
    """
    if projection.ndim != 3 or z.shape[1:] != projection.shape[1:2]:
        raise ShapeMismatch.between("z (n, d_z)", z.shape, "projection (c, d_z, d_k)", projection.shape)
    if keys.ndim != 3 or (keys.shape[0], keys.shape[2]) != (projection.shape[0], projection.shape[2]):
        raise ShapeMismatch.between("keys (c, m, d_k)", keys.shape, "projection (c, d_z, d_k)", projection.shape)
    if selectable is not None and selectable.shape != keys.shape[:2]:
        raise ShapeMismatch.between("selectable (c, m)", selectable.shape, "keys (c, m, d_k)", keys.shape)
    c, m, _ = keys.shape
    if m > torch.iinfo(torch.int16).max + 1:
        raise ShapeMismatch(f"keys: found m = {m} pairs per codebook, expected at most 32768 (codes are int16)")
    codes = torch.empty(len(z), c, dtype=torch.int16, device=z.device)
    for j in range(c):
        allowed = None if selectable is None else selectable[j]
        codes[:, j] = nearest(project(z, projection[j]), keys[j], selectable=allowed)
    return codes
