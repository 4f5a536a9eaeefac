"""Synthetic items with class structure, and a bottleneck fitted to them: what the benchmarks measure on."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb.bottleneck import Bottleneck
from dkvb.codes import encode
from dkvb.counts import count_codes
from dkvb.projection import project, random_projection

D_K = 14
POOL = 50_000
"""Items the keys are drawn from."""


def items(labels: Tensor, s: dict[str, float], *, seed: int) -> Tensor:
    """Embeddings (n, d_z) float16 around one centre a class, as far from it as `strength` says, all of one length."""
    v, d_z = int(s["v"]), int(s["d_z"])
    centres = torch.randn(v, d_z, generator=torch.Generator().manual_seed(99))
    out = torch.empty(len(labels), d_z, dtype=torch.float16)
    gen = torch.Generator().manual_seed(seed)
    for rows, some in zip(out.split(8192), labels.split(8192), strict=True):
        z = centres[some] * s["strength"] + torch.randn(len(some), d_z, generator=gen)
        rows.copy_(z * (d_z**0.5 / z.norm(dim=1, keepdim=True)))
    return out


def some_labels(n: int, v: int, *, seed: int) -> Tensor:
    """(n,) int64 labels, drawn."""
    return torch.randint(v, (n,), generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True, slots=True)
class Scene:
    """A bottleneck, the counts of its classes, and items to watch."""

    model: Bottleneck
    counts: NDArray[np.uint16]
    """(v, c, m)."""
    z: Tensor
    labels: Tensor


def codebooks(s: dict[str, float]) -> tuple[Tensor, Tensor]:
    """Projection (c, d_z, d_k) and keys (c, m, d_k): projected items, as key fitting leaves them."""
    c, m = int(s["c"]), int(s["m"])
    pool = items(some_labels(POOL, int(s["v"]), seed=1), s, seed=1)
    projection = random_projection(range(c), int(s["d_z"]), D_K, seed=0)
    gen = torch.Generator().manual_seed(2)
    keys = torch.stack([project(pool[torch.randperm(POOL, generator=gen)[:m]], part) for part in projection])
    return projection, keys


def scene(s: dict[str, float]) -> Scene:
    """Every class counted on its own training items; values are each pair's class frequencies, as logits."""
    v, c, m = int(s["v"]), int(s["c"]), int(s["m"])
    projection, keys = codebooks(s)
    counts = np.empty((v, c, m), np.uint16)
    for k in range(v):
        own = items(torch.full((int(s["per_class"]),), k), s, seed=1000 + k)
        counts[k] = count_codes(encode(own, projection, keys), m).numpy()
    total = counts.sum(0, dtype=np.int64)
    values = torch.empty(c, m, v)
    for j in range(c):
        share = counts[:, j].astype(np.float32) / np.maximum(total[j], 1)
        values[j] = torch.from_numpy(np.log(share + 1e-2)).T
    model = Bottleneck(projection, keys, values, torch.from_numpy(total > 0), {})
    labels = some_labels(int(s["n"]), v, seed=3)
    return Scene(model, counts, items(labels, s, seed=4), labels)
