"""Models and items drawn for kernels: half of the keys are copies of others, so that there are ties."""

from dataclasses import replace

import torch
from torch import Tensor

from dkvb.bottleneck import Bottleneck


def drawn(
    seed: int, n: int, *, c: int = 3, m: int = 70, v: int = 5, d_z: int = 21, d_k: int = 5
) -> tuple[Bottleneck, Tensor]:
    """A bottleneck with seven of ten keys selectable, and n embeddings of half precision."""
    gen = torch.Generator().manual_seed(seed)
    keys = torch.randn(c, m, d_k, generator=gen)
    keys[:, m - m // 2 :] = keys[:, : m // 2]
    model = Bottleneck(
        torch.randn(c, d_z, d_k, generator=gen),
        keys,
        torch.randn(c, m, v, generator=gen),
        torch.rand(c, m, generator=gen) < 0.7,
        {},
    )
    return model, torch.randn(n, d_z, generator=gen).half()


def moved(model: Bottleneck, device: torch.device) -> Bottleneck:
    """The model on a device."""
    parts = {name: getattr(model, name).to(device) for name in ("projection", "keys", "values", "selectable")}
    return replace(model, **parts)
