"""Codes in plain torch: on devices other than the CPU, and where a model is used without compiled kernels."""

import torch
from torch import Tensor

PLAIN_BLOCK = 256
"""Rows of a distance tile."""

BLOCK = 4096
"""Embeddings that are widened at a time."""


def nearest_plain(x: Tensor, keys: Tensor, *, selectable: Tensor | None = None) -> Tensor:
    """Nearest selectable key of one codebook, as `dkvb.codes.nearest`, which may decide near ties otherwise.

    x: (n, d_k) float32, projected items; keys: (m, d_k) float32; selectable: (m,) bool, or None when every key is.
    returns: (n,) int64, on the device of x; -1 where nothing is selectable.
    """
    if selectable is not None and not selectable.any():
        return torch.full((len(x),), -1, device=x.device)
    # |x - k|^2 = |x|^2 - 2 (x.k - |k|^2 / 2): the nearest key has the largest score.
    bias = keys.square().sum(1).mul_(-0.5)
    if selectable is not None:
        bias.masked_fill_(~selectable, -torch.inf)
    found = torch.empty(len(x), dtype=torch.int64, device=x.device)
    for rows, out in zip(x.split(PLAIN_BLOCK), found.split(PLAIN_BLOCK), strict=True):
        torch.argmax(torch.addmm(bias, rows, keys.T), dim=1, out=out)
    return found


def encode_plain(z: Tensor, projection: Tensor, keys: Tensor, *, selectable: Tensor | None = None) -> Tensor:
    """Codes of items in every codebook, as `dkvb.codes.encode`.

    z: (n, d_z) float; projection: (c, d_z, d_k) float32; keys: (c, m, d_k) float32; selectable: (c, m) bool, or None.
    returns: (n, c) int16, on the device of z; -1 where a codebook has no selectable key.
    memory: the result and (PLAIN_BLOCK, m) scores.
    """
    codes = torch.empty(len(z), len(keys), dtype=torch.int16, device=z.device)
    for rows, out in zip(z.split(BLOCK), codes.split(BLOCK), strict=True):
        wide = rows.float()
        for j in range(len(keys)):
            allowed = None if selectable is None else selectable[j]
            out[:, j] = nearest_plain(wide @ projection[j], keys[j], selectable=allowed)
    return codes
