"""The bottleneck as a model: embeddings in, logits out, some pairs masked or none; and its checkpoint."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import safe_open
from torch import Tensor

from dkvb.checkpoint import FORMAT, UNREADABLE, identity, read_header, read_mask_header
from dkvb.errors import BadCheckpoint, BadSetting, ShapeMismatch

SEMANTICS = ("next-nearest", "zero", "drop")
TENSORS = {
    "keys": (torch.float32, "F32"),
    "projection": (torch.float32, "F32"),
    "values": (torch.float32, "F32"),
    "selectable": (torch.bool, "BOOL"),
}
"""Types of a checkpoint's tensors, in the order in which safetensors writes them: wide types first, then by name."""


def decode(codes: Tensor, values: Tensor) -> Tensor:
    """The decoder: the mean of the fetched values over the codebooks that vote.

    codes: (n, c) integer; a negative code is no vote.
    values: (c, m, v) float32.
    returns: (n, v) float32, logits; zeros (so uniform) for an item without any vote.
    raises: ShapeMismatch.
    source: Träuble et al., arXiv 2207.11240, the parameter-free decoder.
    """
    if codes.shape[1] != values.shape[0]:
        raise ShapeMismatch.between("codes (n, c)", codes.shape, "values (c, m, v)", values.shape)
    total = values.new_zeros(len(codes), values.shape[2])
    for column, table in zip(codes.T, values, strict=True):
        votes = column >= 0
        if votes.all():
            total += table[column.long()]
        else:
            total[votes] += table[column[votes].long()]
    return total / (codes >= 0).sum(1, keepdim=True).clamp(min=1)


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """A fitted Discrete Key-Value Bottleneck. Masking gives a new one; nothing is changed in place."""

    projection: Tensor
    """(c, d_z, d_k) float32."""
    keys: Tensor
    """(c, m, d_k) float32."""
    values: Tensor
    """(c, m, v) float32."""
    selectable: Tensor
    """(c, m) bool: not masked, and used in training where the rule asks for that."""
    header: dict[str, Any]
    """What the model is: class names, backbone, specs, digests (JSON)."""

    def codes(self, z: Tensor) -> Tensor:
        """(n, d_z) float embeddings -> (n, c) int16 codes, NO_VOTE where nothing is selectable."""
        from dkvb.codes import encode  # compiled kernels, which nobody else who has a model need load

        return encode(z, self.projection, self.keys, selectable=self.selectable)

    def logits(self, z: Tensor) -> Tensor:
        """(n, d_z) float embeddings -> (n, v) float32 logits: the plain masked forward pass.

        A masked pair is infinitely far away, so an item falls to its next-nearest selectable key.
        """
        return decode(self.codes(z), self.values)

    def masked(self, mask: Tensor) -> Self:
        """The model that has forgotten the masked pairs: they are unselectable and their contents erased.

        mask: (c, m) bool.
        raises: ShapeMismatch.
        """
        if mask.shape != self.selectable.shape:
            raise ShapeMismatch.between("mask", mask.shape, "selectable (c, m)", self.selectable.shape)
        mask = mask.to(self.selectable.device)
        gone = mask[:, :, None]
        return replace(
            self,
            keys=self.keys.masked_fill(gone, 0),
            values=self.values.masked_fill(gone, 0),
            selectable=self.selectable & ~mask,
            header=dict(self.header),
        )

    def masked_by(self, path: Path | str) -> Self:
        """The model that has forgotten what a mask file takes; the file must have been made for this very model.

        path: as `dkvb unlearn` wrote it.
        raises: BadCheckpoint for another model's mask, one that does not say whose it is, or a damaged file.
        """
        said = read_mask_header(path)
        if (found := said.get("model")) is None:
            raise BadCheckpoint(
                f"{path}: does not say which model it was made for; make it again with this version of `dkvb unlearn`"
            )
        if found != identity(self.header):
            raise BadCheckpoint(
                f"{path}: made for another model ({str(found)[:16]}), expected {identity(self.header)[:16]}; its pairs "
                "mean something else here: take the mask of this model, or the model of this mask"
            )
        try:
            with safe_open(path, "pt") as file:
                mask = file.get_tensor("mask")
        except UNREADABLE as error:
            raise BadCheckpoint(f"{path}: not a readable mask: {error}") from error
        if mask.dtype != torch.bool or mask.shape != self.selectable.shape:
            shape = tuple(self.selectable.shape)
            raise BadCheckpoint(f"{path}: found {mask.dtype} {tuple(mask.shape)}, expected torch.bool {shape} (c, m)")
        made = self.masked(mask)
        made.header["unlearned"] = said
        return made

    def to_bytes(self) -> bytes:
        """The checkpoint: a safetensors file whose header says what the model is."""
        return b"".join(self.parts())

    def parts(self) -> Iterator[bytes | memoryview]:
        """The bytes of the checkpoint in order, tensors as they lie in memory: a large model is written without a copy.

        raises: BadCheckpoint for a tensor of another type than its own.
        """
        # One entry: safetensors writes several in no fixed order, and equal models must be equal bytes.
        said = {"dkvb": json.dumps({"format": FORMAT, "header": self.header}, sort_keys=True)}
        table: dict[str, Any] = {"__metadata__": said}
        end = 0
        for name, (dtype, written) in TENSORS.items():
            tensor = getattr(self, name)
            if tensor.dtype != dtype:
                raise BadCheckpoint(f"{name}: dtype found {tensor.dtype}, expected {dtype}")
            begin, end = end, end + tensor.nbytes
            table[name] = {"dtype": written, "shape": list(tensor.shape), "data_offsets": [begin, end]}
        head = json.dumps(table, separators=(",", ":")).encode()
        head += b" " * (-len(head) % 8)
        yield len(head).to_bytes(8, "little") + head
        for name in TENSORS:
            yield getattr(self, name).cpu().contiguous().view(-1).numpy().view("uint8").data

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a checkpoint.

        raises: BadCheckpoint when the file is missing, damaged, or no bottleneck.
        """
        header = read_header(path)
        try:
            with safe_open(path, "pt") as file:
                model = cls(**{name: file.get_tensor(name) for name in TENSORS}, header=header)
        except UNREADABLE as error:
            raise BadCheckpoint(f"{path}: not a readable bottleneck checkpoint: {error}") from error
        c, d_k, m = model.projection.shape[0], model.projection.shape[-1], model.selectable.shape[-1]
        fits = model.keys.shape == (c, m, d_k) and model.selectable.shape == (c, m)
        if not fits or model.values.shape[:-1] != (c, m):
            shapes = ", ".join(f"{name} {tuple(getattr(model, name).shape)}" for name in TENSORS)
            raise BadCheckpoint(f"{path}: tensors do not fit each other: {shapes}")
        return model


def masked_decode(bottleneck: Bottleneck, z: Tensor, mask: Tensor, *, semantics: str) -> Tensor:
    """Logits under the other meanings a mask could have, to compare with.

    z: (n, d_z) float; mask: (c, m) bool.
    semantics: "next-nearest" (the product's), "zero" (a masked pair votes zero), "drop" (its codebook is left
        out of the mean).
    returns: (n, v) float32.
    raises: BadSetting for other semantics; ShapeMismatch.
    """
    if semantics not in SEMANTICS:
        raise BadSetting(f"semantics: found {semantics!r}, expected one of {', '.join(SEMANTICS)}")
    if semantics == "next-nearest":
        return bottleneck.masked(mask).logits(z)
    codes = bottleneck.codes(z)
    if semantics == "zero":
        return decode(codes, bottleneck.values.masked_fill(mask[:, :, None], 0))
    hit = torch.stack([row[code.long()] for row, code in zip(mask, codes.T, strict=True)], dim=1)
    return decode(codes.masked_fill(hit, -1), bottleneck.values)
