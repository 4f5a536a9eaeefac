"""Counts: how often the items of each class select each pair.

n: items; c: codebooks; m: pairs of a codebook.
"""

import torch
from torch import Tensor

from dkvb.errors import ShapeMismatch


def count_codes(codes: Tensor, m: int) -> Tensor:
    """Hits of one set of items on every pair.

    codes: (n, c) integer, NO_VOTE (-1) where a codebook has no vote.
    returns: (c, m) int64; its sum is the number of codes >= 0.
    """
    return torch.stack([torch.bincount(column[column >= 0], minlength=m) for column in codes.T])


def class_counts(codes: Tensor, labels: Tensor, *, classes: int, m: int) -> Tensor:
    """Hits of every class on every pair.

    codes: (n, c) integer.
    labels: (n,) integer in [0, classes); an item with a negative label is left out.
    returns: (classes, c, m) int32; that of a class sums to c times its items when every codebook votes.
    raises: ShapeMismatch.
    source: Shah et al., arXiv 2311.15268 (the activations that UvA ranks).
    """
    if labels.shape != codes.shape[:1]:
        raise ShapeMismatch.between("labels (n,)", labels.shape, "codes (n, c)", codes.shape)
    counts = torch.empty(classes, codes.shape[1], m, dtype=torch.int32, device=codes.device)
    for j, column in enumerate(codes.T):
        counted = (column >= 0) & (labels >= 0)
        cells = labels[counted].long() * m + column[counted]
        counts[:, j] = torch.bincount(cells, minlength=classes * m).view(classes, m)
    return counts
