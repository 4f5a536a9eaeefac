"""Trivial controls: what forgets by construction and learns nothing, and a mask that knows nothing of the class."""

import torch
from torch import Tensor

from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.seeds import generator


def without_column(weights: Tensor, forget: list[int]) -> Tensor:
    """Set the forget classes' columns of the weights (features, v) to zero, and so their logits."""
    kept = weights.clone()
    kept[:, forget] = 0
    return kept


def without_logit(logits: Tensor, forget: list[int]) -> Tensor:
    """Set the forget classes' logits (n, v) to minus infinity."""
    kept = logits.clone()
    kept[:, forget] = -torch.inf
    return kept


def random_mask(like: Tensor, among: Tensor, *, seed: int) -> Tensor:
    """Draw a mask with as many pairs in each codebook as another.

    like: (c, m) bool, the mask to match; among: (c, m) bool, pairs that may be drawn.
    returns: (c, m) bool.
    raises: BadSetting when a codebook has too few pairs; ShapeMismatch.
    """
    if like.shape != among.shape:
        raise ShapeMismatch.between("among (c, m)", among.shape, "like (c, m)", like.shape)
    if (short := like.sum(1) > among.sum(1)).any():
        raise BadSetting(f"among: found too few pairs in {int(short.sum())} codebooks, expected what the mask has")
    order = torch.rand(like.shape, generator=generator(seed, "random mask")).masked_fill(~among, 2).argsort(1)
    place = torch.empty_like(order).scatter_(1, order, torch.arange(like.shape[1]).expand_as(order))
    return place < like.sum(1, keepdim=True)
