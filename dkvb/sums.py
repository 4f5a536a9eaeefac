"""Sums over items, exact: items can be added and taken away again, in any order, and nothing of them is left.

Features are whole numbers, and their sums and products stay below 2^53, where float64 holds every whole number: no
sum is rounded, so its bits depend neither on the order of items nor on blocks, threads or devices.

Shapes: n items, v classes, d features of an item; c codebooks, m keys of a codebook, d_k width of a key (d = c d_k
where features are keys).
"""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from dkvb.checkpoint import UNREADABLE
from dkvb.errors import BadSums, ShapeMismatch

EXACT = 1 << 53
"""Whole numbers below this are exact in float64."""

KEY_BITS = 11
"""Whole keys lie below two to the power of this."""

FORMAT = "dkvb-sums/1"

TENSORS = ("items", "classes", "moments")
"""Of a file of sums."""

ITEMS = 2048
"""Items whose features are held at a time."""

COLUMNS = 512
"""Features of a block, where nothing else says how many."""


def most_items(largest: int) -> int:
    """How many items can be summed exactly, where no feature is larger than that."""
    return (EXACT - 1) // max(1, largest) ** 2


def check_items(items: int, largest: int) -> None:
    """Whether sums over so many items are exact; raises: BadSums with the largest number that is."""
    if items > (most := most_items(largest)):
        raise BadSums(
            f"sums over {items:,} items, whose features reach {largest:,}, may pass 2^53 and would be rounded; "
            f"expected at most {most:,} items"
        )


def whole_keys(keys: Tensor) -> tuple[Tensor, int]:
    """Keys as whole numbers: q = round(2^s key), with the largest s for which all |q| < 2^11.

    keys: (c, m, d_k) float32, finite.
    returns: (c, m, d_k) int16, and s.
    raises: BadSums where a key is no finite number.
    """
    peak = float(keys.abs().max())
    if not math.isfinite(peak):
        raise BadSums("keys: found one that is no finite number, expected finite keys; fit them again")
    most = (1 << KEY_BITS) - 1
    bits = math.floor(math.log2(most / peak)) if peak > 0 else 0
    while round(math.ldexp(peak, bits + 1)) <= most and peak > 0:
        bits += 1
    return _whole(keys, bits).short(), bits


def _whole(numbers: Tensor, bits: int) -> Tensor:
    """round(2^bits number), halves to the even one; float64."""
    return torch.round(torch.ldexp(numbers.double(), torch.tensor(bits)))


class WholeFeatures(Protocol):
    """Features of n items, whole numbers."""

    def __len__(self) -> int:
        """Number of items n."""
        ...

    @property
    def width(self) -> int:
        """Number of features d."""
        ...

    @property
    def largest(self) -> int:
        """What no feature's absolute value is above; a property of the kind of features, not of the items."""
        ...

    def read(self, rows: slice, start: int) -> Tensor:
        """Some items' features from number start on: (rows, d - start) float64."""
        ...


@dataclass(frozen=True, slots=True)
class SelectedKeys:
    """Items as the keys that they select, one codebook after the other."""

    codes: Tensor
    """(n, c) int16, each in [0, m)."""
    keys: Tensor
    """(c, m, d_k) int16, of `whole_keys`."""
    largest: int
    """max |q| of the keys."""

    @classmethod
    def of(cls, codes: Tensor, keys: Tensor) -> Self:
        """From codes and whole keys; raises: ShapeMismatch, also where an item has no code."""
        if codes.ndim != 2 or codes.shape[1] != len(keys):
            raise ShapeMismatch.between("codes (n, c)", codes.shape, "keys (c, m, d_k)", keys.shape)
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < keys.shape[1]:
            raise ShapeMismatch(f"codes: found {int(codes.min())} to {int(codes.max())}, expected 0 to m - 1")
        return cls(codes, keys, int(keys.int().abs().max()))

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def width(self) -> int:
        """See `WholeFeatures`: d = c d_k."""
        return self.keys.shape[0] * self.keys.shape[2]

    def read(self, rows: slice, start: int) -> Tensor:
        """See `WholeFeatures`; start: where a codebook begins, or anywhere."""
        c, m, d_k = self.keys.shape
        first = start // d_k
        pairs = self.codes[rows, first:].long() + m * torch.arange(first, c, device=self.codes.device)
        found = self.keys.view(c * m, d_k)[pairs.flatten()].double()
        return found.view(len(pairs), -1)[:, start - first * d_k :]


@dataclass(frozen=True, slots=True)
class WholeEmbeddings:
    """Items as their embeddings: q = round(2^bits z)."""

    q: Tensor
    """(n, d_z) int16."""

    largest = (1 << 15) - 1

    @classmethod
    def of(cls, z: Tensor, bits: int) -> Self:
        """From embeddings (n, d_z), float.

        bits: chosen without the items, or forgetting one would leave a trace of it.
        raises: BadSums for a number that is not finite or too large, with the largest bits that would do.
        """
        peak = float(z.abs().max()) if z.numel() else 0.0
        if not math.isfinite(peak):
            raise BadSums("embeddings: found one that is no finite number, expected finite ones")
        if math.ldexp(peak, bits) > cls.largest:
            fits = math.floor(math.log2(cls.largest / peak))
            raise BadSums(f"bits: found {bits}, expected at most {fits} for embeddings that reach {peak:g}")
        return cls(_whole(z, bits).short())

    def __len__(self) -> int:
        return len(self.q)

    @property
    def width(self) -> int:
        """See `WholeFeatures`: d = d_z."""
        return self.q.shape[1]

    def read(self, rows: slice, start: int) -> Tensor:
        """See `WholeFeatures`."""
        return self.q[rows, start:].double()


@dataclass(frozen=True, slots=True)
class BlockSums:
    """The sums of some features; blocks are independent of each other."""

    start: int
    """Number of the block's first feature."""
    classes: Tensor
    """(v, w) int64, per class the sum of the block's w features."""
    moments: Tensor
    """(w, d - start) int64, sums of products of the block's features with themselves and all later ones."""


def block_sums(features: WholeFeatures, labels: Tensor, *, v: int, start: int, stop: int) -> BlockSums:
    """Sum up features start to stop of all items.

    labels: (n,) int64 in [0, v).
    raises: BadSums before a sum could be rounded; ShapeMismatch.
    """
    check_items(len(features), features.largest)
    if labels.shape != (len(features),):
        raise ShapeMismatch.between("labels (n,)", labels.shape, "features (n, d)", (len(features), features.width))
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < v:
        raise ShapeMismatch(f"labels: found {int(labels.min())} to {int(labels.max())}, expected 0 to {v - 1}")
    width = stop - start
    classes = torch.zeros(v, width, dtype=torch.float64, device=labels.device)
    moments = torch.zeros(width, features.width - start, dtype=torch.float64, device=labels.device)
    for first in range(0, len(features), ITEMS):
        rows = slice(first, first + ITEMS)
        x = features.read(rows, start)
        classes.index_add_(0, labels[rows], x[:, :width])
        moments.addmm_(x[:, :width].T, x)
    return BlockSums(start, classes.long().cpu(), moments.long().cpu())


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """All that values by linear discriminant analysis know of their items."""

    items: Tensor
    """(v,) int64, items of each class."""
    classes: Tensor
    """(v, d) int64, per class the sum of the features."""
    moments: Tensor
    """(d, d) int64, sum of the products of each two features."""
    largest: int
    """What no feature's absolute value is above."""

    @classmethod
    def of(cls, features: WholeFeatures, labels: Tensor, *, v: int) -> Self:
        """Sum up items.

        labels: (n,) int64 in [0, v).
        raises: BadSums before a sum could be rounded; ShapeMismatch.
        cost: n d^2 multiply-adds; memory: 16 d^2 bytes while they are put together.
        """
        edges = [(start, min(start + COLUMNS, features.width)) for start in range(0, features.width, COLUMNS)]
        blocks = (block_sums(features, labels, v=v, start=start, stop=stop) for start, stop in edges)
        items = torch.bincount(labels, minlength=v).cpu()
        return cls.joined(items, blocks, width=features.width, largest=features.largest)

    @classmethod
    def joined(cls, items: Tensor, blocks: Iterable[BlockSums], *, width: int, largest: int) -> Self:
        """Put blocks together that hold each feature once, in any order.

        items: (v,) int64.
        raises: ShapeMismatch where a feature is missing, or there twice.
        """
        classes = torch.empty(len(items), width, dtype=torch.int64)
        moments = torch.empty(width, width, dtype=torch.int64)
        there = torch.zeros(width, dtype=torch.int64)
        for block in blocks:
            stop = block.start + block.classes.shape[1]
            if block.moments.shape != (stop - block.start, width - block.start):
                raise ShapeMismatch.between("moments", block.moments.shape, "features", (width,))
            classes[:, block.start : stop] = block.classes
            moments[block.start : stop, block.start :] = block.moments
            moments[stop:, block.start : stop] = block.moments[:, stop - block.start :].T
            there[block.start : stop] += 1
        if not (there == 1).all():
            raise ShapeMismatch("blocks: found features that are missing or there twice, expected each once")
        return cls(items, classes, moments, largest)

    @property
    def n(self) -> int:
        """Number of items."""
        return int(self.items.sum())

    def __add__(self, other: "Sums") -> "Sums":
        """The sums over both's items; raises: ShapeMismatch, BadSums."""
        self._check_alike(other)
        check_items(self.n + other.n, self.largest)
        parts = (self.items + other.items, self.classes + other.classes, self.moments + other.moments)
        return Sums(*parts, self.largest)

    def __sub__(self, other: "Sums") -> "Sums":
        """The sums over the items that are not other's.

        raises: ShapeMismatch; BadSums where other's items cannot all be among these.
        """
        self._check_alike(other)
        left = Sums(self.items - other.items, self.classes - other.classes, self.moments - other.moments, self.largest)
        if int(left.items.min()) < 0 or int(left.moments.diagonal().min()) < 0:
            raise BadSums("items: found some that are not in these sums; they were taken away before, or never added")
        return left

    def with_classes(self, v: int) -> "Sums":
        """The same sums, with as many classes as are asked for: further ones have no items.

        raises: ShapeMismatch where there are more classes already.
        """
        if (more := v - len(self.items)) < 0:
            raise ShapeMismatch(f"sums: found {len(self.items)} classes, expected at most {v}")
        if not more:
            return self
        items = torch.cat([self.items, self.items.new_zeros(more)])
        classes = torch.cat([self.classes, self.classes.new_zeros(more, self.classes.shape[1])])
        return Sums(items, classes, self.moments, self.largest)

    def _check_alike(self, other: "Sums") -> None:
        if self.classes.shape != other.classes.shape:
            raise ShapeMismatch.between("sums (v, d)", other.classes.shape, "sums (v, d)", self.classes.shape)
        if self.largest != other.largest:
            raise BadSums(f"sums of other features: they reach {other.largest}, expected {self.largest}")

    def to_bytes(self) -> bytes:
        """A safetensors file with a checksum; equal sums give equal bytes."""
        about = {"format": FORMAT, "largest": self.largest, "sha256": self._sha256()}
        tensors: dict[str, Tensor] = {name: getattr(self, name) for name in TENSORS}
        return bytes(save(tensors, {"dkvb": json.dumps(about, sort_keys=True)}))

    def _sha256(self) -> str:
        content = hashlib.sha256(str(self.largest).encode())
        for name in TENSORS:
            tensor = getattr(self, name)
            content.update(f" {tuple(tensor.shape)} ".encode())
            content.update(tensor.contiguous().numpy().data)
        return content.hexdigest()

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `to_bytes` gave; raises: BadSums where it is missing, damaged, or something else."""
        try:
            with safe_open(path, "pt") as file:
                about = json.loads(file.metadata()["dkvb"])
                sums = cls(**{name: file.get_tensor(name) for name in TENSORS}, largest=int(about["largest"]))
                form, sha256 = about["format"], about["sha256"]
        except UNREADABLE as error:
            raise BadSums(f"{path}: not readable sums: {error}") from error
        kinds = {sums.items.dtype, sums.classes.dtype, sums.moments.dtype}
        shapes = (*sums.items.shape, *sums.moments.shape[:1]), (*sums.moments.shape[1:],)
        if form != FORMAT or kinds != {torch.int64} or (sums.classes.shape, sums.classes.shape[1:]) != shapes:
            raise BadSums(f"{path}: not sums of items as {FORMAT} has them")
        if sums._sha256() != sha256:
            raise BadSums(f"{path}: its sums are not those that its checksum was made of: it was damaged; make it anew")
        return sums
