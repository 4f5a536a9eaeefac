"""Sums over items as a root keeps them, read as one state, and the values that they make."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dkvb.lda import LdaSettings, discriminants, lda_values
from dkvb.sums import BlockSums, Sums
from store import arrays
from store.artefacts import Artefact, as_written
from store.errors import NotARoot
from store.layout import CODEBOOKS


@dataclass(frozen=True, slots=True)
class Summed:
    """The sums of a model's training items, and the keys that they are of."""

    sums: Sums
    keys: Tensor
    """(c, m, d_k) int16."""

    def values(self, settings: LdaSettings) -> Tensor:
        """(c, m, v) float32, by one solve; raises: as `dkvb.lda.discriminants`."""
        return lda_values(discriminants(self.sums, settings), self.keys)


def read_summed(artefact: Artefact) -> Summed:
    """The sums that a finished `sums` step wrote; raises: ArtefactMissing, ArtefactDamaged, NotARoot, BadSums."""
    with as_written(artefact.path):
        facts = artefact.facts()
        items, largest = torch.tensor(facts["items"]), int(facts["largest"])
    class_sums = torch.from_numpy(arrays.read(artefact.data, "class_sums"))
    moments = arrays.open_array(artefact.data, "moments")
    arrays.check_size(moments)
    c, d_k, v = class_sums.shape
    if items.shape != (v,):
        raise NotARoot(f"{artefact.path}: sums of {v} classes, numbers of items of {len(items)}")
    blocks = []
    for first in range(0, c, CODEBOOKS):
        start, rows = first * d_k, slice(first, first + CODEBOOKS)
        products = torch.from_numpy(moments[rows]).flatten(0, 1)[:, start:]
        blocks.append(BlockSums(start, class_sums[rows].flatten(0, 1).T, products))
    return Summed(Sums.joined(items, blocks, width=c * d_k, largest=largest), read_whole_keys(artefact))


def read_whole_keys(artefact: Artefact) -> Tensor:
    """(c, m, d_k) int16, the keys alone; raises: as `read_summed`."""
    return torch.from_numpy(arrays.read(artefact.data, "whole_keys"))
