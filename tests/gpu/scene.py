"""What the check of a GPU computes on: sizes, and items with classes drawn on the device."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dkvb.bottleneck import Bottleneck
from dkvb.gpu.scores import project
from dkvb.projection import random_projection

POOL = 8192
"""Items from which keys are taken."""
STRENGTH = 0.5
"""Distance of a class's centre from the others, in standard deviations of its items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a check is."""

    name: str
    items: int
    swept: int
    """Items of a sweep."""
    v: int
    c: int = 256
    m: int = 4096
    d_k: int = 14
    d_z: int = 1280
    r: int = 16
    budgets: int = 20
    compared: int = 512
    """Items that the CPU computes too."""
    fitted: int
    """Items of the epoch in which keys are fitted."""


CIFAR = Size(name="CIFAR", items=50_000, swept=10_000, v=10, compared=1024, fitted=50_000)
IMAGENET = Size(name="ImageNet-1k", items=1_281_167, swept=50_000, v=1000, fitted=131_072)
TINY = Size(name="tiny", items=70, swept=6, v=4, c=3, m=70, d_k=5, d_z=16, r=4, budgets=4, compared=20, fitted=70)
TINY_WIDE = Size(
    name="tiny, many classes", items=40, swept=3, v=20, c=2, m=40, d_k=5, d_z=16, r=2, budgets=3, compared=9, fitted=40
)


@dataclass(frozen=True)
class Scene:
    """Items around one centre a class, and a bottleneck whose keys are such items, projected."""

    size: Size
    device: torch.device

    @cached_property
    def gen(self) -> torch.Generator:
        """Draws on the device."""
        return torch.Generator(self.device).manual_seed(7)

    @cached_property
    def labels(self) -> Tensor:
        """(items,) int64."""
        return torch.randint(self.size.v, (self.size.items,), generator=self.gen, device=self.device)

    @cached_property
    def z(self) -> Tensor:
        """(items, d_z) float16, all of one length."""
        size = self.size
        centres = STRENGTH * torch.randn(size.v, size.d_z, generator=self.gen, device=self.device)
        out = torch.empty(size.items, size.d_z, dtype=torch.float16, device=self.device)
        for rows, some in zip(out.split(POOL), self.labels.split(POOL), strict=True):
            z = centres[some] + torch.randn(len(some), size.d_z, generator=self.gen, device=self.device)
            rows.copy_(z * (size.d_z**0.5 / z.norm(dim=1, keepdim=True)))
        return out

    @cached_property
    def projection(self) -> Tensor:
        """(c, d_z, d_k) float32."""
        size = self.size
        return random_projection(range(size.c), size.d_z, size.d_k, seed=0).to(self.device)

    @cached_property
    def keys(self) -> Tensor:
        """(c, m, d_k) float32."""
        size, pool = self.size, self.z[:POOL]
        x = project(pool, self.projection.permute(1, 0, 2).reshape(size.d_z, -1).contiguous())
        x = x.view(size.c, size.d_k, -1)
        chosen = [torch.randint(len(pool), (size.m,), generator=self.gen, device=self.device) for _ in range(size.c)]
        return torch.stack([part[:, some].T for part, some in zip(x, chosen, strict=True)]).contiguous()

    @cached_property
    def selectable(self) -> Tensor:
        """(c, m) bool: nine of ten."""
        return torch.rand(self.size.c, self.size.m, generator=self.gen, device=self.device) < 0.9

    def spread(self, count: int, among: int) -> Tensor:
        """Some rows, spread over all: (count,) int64 on the CPU."""
        return torch.linspace(0, among - 1, min(count, among)).long()

    def model(self, values: Tensor) -> Bottleneck:
        """The bottleneck, on the device of the values (c, m, v)."""
        parts = (part.to(values.device) for part in (self.projection, self.keys, values, self.selectable))
        projection, keys, values, selectable = parts
        return Bottleneck(projection, keys, values, selectable, {})


def removal_table(counts: Tensor, budgets: int) -> Tensor:
    """When each class loses each pair: those that it activates most go first.

    counts: (v, c, m) integer; budgets: they take equal shares of the pairs that a class activates.
    returns: (c, m, v) uint8 on the device of the counts, 255: never.
    """
    v, c, m = counts.shape
    table = torch.full((c, m, v), 255, dtype=torch.uint8, device=counts.device)
    for k in range(v):
        hits = counts[k].flatten()
        activated = int((hits > 0).sum())
        place = torch.empty_like(hits, dtype=torch.int64)
        place[hits.argsort(descending=True, stable=True)] = torch.arange(len(hits), device=hits.device)
        index = (place * budgets).div(max(1, activated), rounding_mode="floor")
        table[:, :, k] = torch.where(place < activated, index, 255).to(torch.uint8).view(c, m)
    return table
