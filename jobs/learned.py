"""Items that a request learned, as its folder keeps them: what is needed to sum them up again, and to forget them.

A request that commits keeps what is left of all that were learned before it, as one file in which forgotten items are
blank: they keep their rows and labels, and the digests of their keys.

k: items of the request; c: codebooks; d_z: width of an embedding.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from dkvb.checkpoint import UNREADABLE
from jobs.excluded import item_digest
from store.artefacts import Artefact
from store.checksums import checked_on_disk
from store.errors import NotARoot, StoreError
from store.layout import LEARNED

METHOD = "learn"
"""Of requests that learn, in their specs."""

FORMAT = "dkvb-learned/1"

TYPES = {"codes": np.int16, "embeddings": np.float16, "labels": np.int64}
"""Tensors of the file."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """The items of one request, in order."""

    keys: Sequence[str]
    """(k,) what the items are called: paths of their files below the folder of class folders."""
    new: Sequence[str]
    """Classes that were not there before, in the order of their labels."""
    labels: NDArray[np.int64]
    """(k,) classes: those of the experiment, then those that requests added, in their order."""
    codes: NDArray[np.int16]
    """(k, c)."""
    embeddings: NDArray[np.float16]
    """(k, d_z)."""
    blank: Sequence[str] = ()
    """(k,) digests (`jobs.excluded.item_digest`) of the keys of items that are blank, "" of the others; none where no
    item is."""

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The items of several requests, one or more, as those of one."""
        return cls(
            keys=[key for part in parts for key in part.keys],
            new=[name for part in parts for name in part.new],
            labels=np.concatenate([part.labels for part in parts]),
            codes=np.concatenate([part.codes for part in parts]),
            embeddings=np.concatenate([part.embeddings for part in parts]),
            blank=[text for part in parts for text in part.blanks],
        )

    @property
    def blanks(self) -> list[str]:
        """(k,) what `blank` says, whether an item is blank or not."""
        return list(self.blank) or [""] * len(self.keys)

    def without(self, places: Collection[int]) -> Self:
        """The same items, some of them blank."""
        codes, embeddings, some = self.codes.copy(), self.embeddings.copy(), sorted(places)
        codes[some], embeddings[some] = 0, 0
        keys, blank = list(self.keys), self.blanks
        for place in some:
            blank[place] = blank[place] or item_digest(keys[place])
            keys[place] = ""
        return replace(self, keys=keys, codes=codes, embeddings=embeddings, blank=blank)

    def to_bytes(self) -> bytes:
        """A safetensors file; equal items give equal bytes."""
        about = {"format": FORMAT, "keys": list(self.keys), "new": list(self.new)}
        if any(self.blank):
            about["blank"] = list(self.blank)
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in TYPES}
        return bytes(save(tensors, {"dkvb": json.dumps(about, sort_keys=True)}))


def left_of(learned: Sequence[Learned], gone: Collection[int]) -> Learned | None:
    """What is left of all learned items, of which some are forgotten; None where nothing of these is there to go.

    gone: places of the forgotten ones among all that were learned.
    """
    if not learned:
        return None
    whole = Learned.joined(learned)
    return whole.without(gone) if any(whole.keys[place] for place in gone) else None


def read_learned(request: Artefact) -> Learned:
    """What a request learned, or keeps of what was learned before it.

    raises: ArtefactDamaged; NotARoot where the file holds something else.
    """
    path = request.path / LEARNED
    try:
        with checked_on_disk(path) as file, safe_open(file, "np") as opened:
            about = json.loads(opened.metadata()["dkvb"])
            tensors = {name: opened.get_tensor(name) for name in TYPES}
            keys, new, form = list(about["keys"]), list(about["new"]), about["format"]
            blank = list(about.get("blank", ()))
    except StoreError:
        raise
    except UNREADABLE as error:
        raise NotARoot(f"{path}: not readable as items that were learned: {error}; restore it from a backup") from error
    lengths = {len(keys), *([len(blank)] if blank else []), *(len(tensor) for tensor in tensors.values())}
    types = {name: tensor.dtype for name, tensor in tensors.items()}
    axes = [tensors[name].ndim for name in TYPES]
    texts = all(isinstance(text, str) for text in (*keys, *new, *blank))
    if form != FORMAT or types != TYPES or axes != [2, 2, 1] or len(lengths) > 1 or not texts:
        raise NotARoot(f"{path}: not items that were learned, as {FORMAT} has them; restore it from a backup")
    return Learned(keys, new, tensors["labels"], tensors["codes"], tensors["embeddings"], blank)
