"""Compilation of the sweep's kernels, before a clock starts."""

import numpy as np
import torch

from dkvb.bottleneck import Bottleneck
from dkvb.decoding import NO_VOTE
from dkvb.sweep import Items, sweep


def warm() -> None:
    """Compile what `sweep` runs, or load it from the disk, which takes seconds that belong to no sweep.

    Types and memory layouts decide what is compiled, sizes do not. Few items fill an array of results of their own;
    many items fill parts of a larger one, block by block, which is another layout.
    """
    c, m, d_z, d_k, v, budgets = 2, 3, 2, 3, 2, 2  # an axis of 1 would hide an array's order in memory
    parts = torch.zeros(c, d_z, d_k), torch.zeros(c, m, d_k), torch.zeros(c, m, v), torch.ones(c, m, dtype=torch.bool)
    bottleneck = Bottleneck(*parts, header={})
    table = np.ones((c, m, 1), np.uint8)
    for n in (1, 1 << 14):
        codes = torch.full((n, c), NO_VOTE, dtype=torch.int16)
        codes[0] = 0  # one item that is searched for is enough
        items = Items(torch.zeros(n, d_z).half(), codes, codes[:, :, None].contiguous())
        sweep(bottleneck, items, table, budgets=budgets, forget=[[0]])
