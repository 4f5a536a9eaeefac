"""Masks: which pairs are taken away so that a class is forgotten.

Both methods remove pairs in a fixed order as their budget N grows, so both are described by one tensor:
``position`` (c, m) int64, the place of a pair in that order. The mask at N is ``position < N``; the masks are
nested, and a pair that is never removed stands at NEVER.
"""

import math

import torch
from torch import Tensor

from dkvb.errors import BadBudget
from dkvb.seeds import generator

NEVER = torch.iinfo(torch.int64).max
"""The position of a pair that no budget removes."""

SCOPES = ("global", "per-codebook")


def activation_positions(counts: Tensor, *, scope: str = "global") -> Tensor:
    """Unlearning via Activations: the most activated pairs go first.

    counts: (c, m) integer, hits of the forget class (or the sum over several) on every pair.
    scope: "global" ranks all pairs together; "per-codebook" removes the top N of every codebook.
    returns: (c, m) int64. Pairs with count 0 are never removed; ties go to the lower codebook, then the lower key.
    raises: BadBudget for an unknown scope.
    source: Shah et al., arXiv 2311.15268, Unlearning via Activations.
    """
    if scope not in SCOPES:
        raise BadBudget(f"scope: found {scope!r}, expected one of {', '.join(SCOPES)}")
    ranked = counts.reshape(1, -1) if scope == "global" else counts
    order = ranked.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(ranked.shape[1], device=counts.device).expand_as(order)
    position = torch.empty_like(order).scatter_(1, order, places).view_as(counts)
    return position.masked_fill(counts == 0, NEVER)


def activated_pairs(counts: Tensor, *, scope: str = "global") -> int:
    """The largest N_a there is: how many pairs the forget class activates, or at most in one codebook.

    counts: (c, m) integer; scope: as in `activation_positions`.
    """
    activated = counts > 0
    return int(activated.sum() if scope == "global" else activated.sum(1).max())


def example_positions(codes: Tensor, m: int, *, seed: int) -> Tensor:
    """Unlearning via Examples: every pair that an example selects goes with that example.

    codes: (n_f, c) integer, codes of the forget items.
    seed: draws the one permutation of which every N_e takes the first N_e items.
    returns: (c, m) int64, the place in the permutation of the first example that selects the pair.
    source: Shah et al., arXiv 2311.15268, Unlearning via Examples.
    """
    n, c = codes.shape
    shuffled = codes[torch.randperm(n, generator=generator(seed, "examples")).to(codes.device)].long()
    position = torch.full((c, m), NEVER, device=codes.device)
    places = torch.arange(n, device=codes.device)
    for j in range(c):
        votes = shuffled[:, j] >= 0
        position[j].scatter_reduce_(0, shuffled[votes, j], places[votes], "amin")
    return position


def budgets(grid: list[float], available: int, *, shares: bool, what: str) -> list[int]:
    """The numbers N of a grid.

    grid: absolute numbers, or shares in [0, 1] of what is available (rounded up).
    available: how many there are: activated pairs for UvA, items for UvE.
    what: names them in the error.
    raises: BadBudget when the grid asks for more than there is.
    """
    asked = [math.ceil(round(share * available, 6)) for share in grid] if shares else [int(n) for n in grid]
    if too_many := [n for n in asked if n > available]:
        raise BadBudget(
            f"N = {max(too_many)} is larger than the {available} {what}: give at most {available}, or give shares"
        )
    return asked


def steps_of(position: Tensor, grid: list[int]) -> Tensor:
    """The grid step at which each pair is removed.

    position: (c, m) int64.
    grid: increasing numbers N.
    returns: (c, m) int64: the first index g with position < grid[g]; len(grid) when none has.
    """
    return torch.searchsorted(torch.tensor(grid, device=position.device), position, right=True)


def smallest_budget(counts: Tensor, share: float) -> int:
    """The smallest N_a whose pairs hold a share of a class's activations: reads training counts only.

    counts: (c, m) integer, hits of the forget class.
    share: in [0, 1].
    """
    held = counts.flatten().sort(descending=True).values.cumsum(0)
    wanted = math.ceil(round(share * int(counts.sum()), 6))
    return int((held < wanted).sum()) + 1 if wanted else 0
