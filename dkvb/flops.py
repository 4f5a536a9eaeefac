"""FLOPs of one item, forward and backward, counted by a library: torch's `FlopCounterMode`.

The counter listens to torch's operations, so it is blind to compiled kernels. What is counted is therefore the plain
torch path of the same arithmetic: the one that other devices take and that the kernels are tested against. Its
formulas read shapes only, so heads and codes are counted on torch's meta device, where nothing is computed or kept.

Its conventions hold: matrix products and convolutions count, a multiplication and an addition as two (2 m n k for a
product), padding and skipped work included; what goes element by element (biases, activations, norms, softmax, argmax,
the division of a mean) counts as nothing. Updates by an optimiser (momentum, decay, clipping, the linear head's
preconditioner) are not counted: they grow with parameters and updates, not with items.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from math import prod
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dkvb.codes import encode
from dkvb.errors import BadSetting
from dkvb.linear import EmbeddingFeatures
from dkvb.training import Features
from dkvb.values import CodeFeatures

META = torch.device("meta")


@dataclass(frozen=True, slots=True)
class Flops:
    """FLOPs of some items."""

    forward: int
    backward: int
    """Those of the gradient of the weights; 0 for what is frozen."""

    @property
    def total(self) -> int:
        """Forward and backward together."""
        return self.forward + self.backward

    def __add__(self, other: Self) -> "Flops":
        return Flops(self.forward + other.forward, self.backward + other.backward)

    def __mul__(self, items: int) -> "Flops":
        """FLOPs of that many items: counts are linear in them."""
        return Flops(self.forward * items, self.backward * items)


def _fetch_and_add(weights: Any, indices: Any, *_: Any, out_shape: Any) -> int:
    """FLOPs forward: each index adds a row of weights (rows, v) to its item's sum."""
    return int(prod(indices) * weights[1])


def _scatter_add(error: Any, indices: Any, *_: Any, out_shape: Any) -> int:
    """FLOPs backward: each index adds its item's row of the error (n, v) to the gradient of the row it fetched."""
    return int(prod(indices) * error[1])


FORMULAS: dict[Any, Callable[..., int]] = {
    torch.ops.aten._embedding_bag: _fetch_and_add,
    torch.ops.aten._embedding_bag_forward_only: _fetch_and_add,
    torch.ops.aten._embedding_bag_backward: _scatter_add,
    torch.ops.aten._embedding_bag_dense_backward: _scatter_add,
}
"""Formulas that torch's counter lacks: n c v additions each way. A gradient is one of the last two operations."""


def flops_of(work: Callable[[], object]) -> int:
    """FLOPs of torch's operations in some work, gradients included; compiled kernels count as nothing."""
    from torch.utils.flop_counter import FlopCounterMode  # brings Triton along, which takes long to import

    with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter, _plain_attention():
        work()
    return int(counter.get_total_flops())


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Compute attention by matrix products: fused kernels, some unknown to the counter, would count as nothing."""
    mha = torch.backends.mha
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        mha.set_fastpath_enabled(before)


def backbone(module: nn.Module, shape: tuple[int, ...], *, items: int = 1) -> int:
    """FLOPs of a frozen backbone that embeds some images; the module is left as it was.

    module: (b, *shape) -> (b, d_z), on any device.
    shape: of one image, (3, h, w); items: how many images.
    raises: BadSetting.
    """
    _check({"items": items})
    training = [(part, part.training) for part in module.modules()]
    like = next(chain(module.parameters(), module.buffers()), torch.empty(0))
    images = like.new_zeros(items, *shape)
    try:
        module.eval()
        with torch.no_grad():
            return flops_of(lambda: module(images))
    finally:
        for part, before in training:
            part.training = before


@lru_cache
def linear_head(d_z: int, v: int, *, items: int = 1) -> Flops:
    """FLOPs of the linear head with its bias: embeddings are constant, so backward is the weights' gradient alone.

    raises: BadSetting.
    """
    _check({"d_z": d_z, "v": v, "items": items})
    return _head(EmbeddingFeatures(torch.empty(items, d_z + 1, device=META), torch.empty(0, device=META)), v)


@lru_cache
def value_head(c: int, v: int, *, m: int = 1, items: int = 1) -> Flops:
    """FLOPs of the values on cached codes: c rows are added up, and the error is added to c rows, whatever m is.

    raises: BadSetting.
    """
    _check({"c": c, "v": v, "m": m, "items": items})
    return _head(CodeFeatures(torch.empty(items, c, dtype=torch.int16, device=META), m), v)


@lru_cache
def coding(*, c: int, d_z: int, d_k: int, m: int, items: int = 1) -> int:
    """FLOPs of finding codes: c projections of d_z to d_k numbers, each then compared with m keys.

    raises: BadSetting.
    """
    _check({"c": c, "d_z": d_z, "d_k": d_k, "m": m, "items": items})
    z, keys = torch.empty(items, d_z, device=META), torch.empty(c, m, d_k, device=META)
    projection = torch.empty(c, d_z, d_k, device=META)
    return flops_of(lambda: encode(z, projection, keys))


def _head(features: Features, v: int) -> Flops:
    """FLOPs of a linear model forward, and of autograd's backward pass from a given error."""
    weights = features.weights(v).requires_grad_()
    logits: list[Tensor] = []
    forward = flops_of(lambda: logits.append(features.forward(weights)))
    error = torch.ones_like(logits[0])
    return Flops(forward, flops_of(lambda: torch.autograd.grad(logits[0], weights, error)))


def _check(sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise BadSetting(f"{name}: found {size}, expected 1 or more")
