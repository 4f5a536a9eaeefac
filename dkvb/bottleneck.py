"""The bottleneck as a model, whole or with some pairs masked, and as a checkpoint: embeddings in, logits out.

n: items; c: codebooks; m: pairs of a codebook; v: classes; d_z: width of an embedding; d_k: width of a key.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from safetensors import safe_open
from torch import Tensor

from dkvb.checkpoint import FORMAT, UNREADABLE, identity, read_header, read_mask_header, safetensors_head
from dkvb.decoding import add_votes
from dkvb.errors import BadCheckpoint, ShapeMismatch

if TYPE_CHECKING:
    from dkvb.codes import Codebooks

TENSORS = {
    "keys": (torch.float32, "F32"),
    "projection": (torch.float32, "F32"),
    "values": (torch.float32, "F32"),
    "selectable": (torch.bool, "BOOL"),
}
"""Types of a checkpoint's tensors, in the order in which safetensors writes them: wide types first, then by name."""


def decode(codes: Tensor, values: Tensor) -> Tensor:
    """Logits: the mean of the fetched values over the codebooks that vote.

    codes: (n, c) integer; a negative code is no vote.
    values: (c, m, v) float32.
    returns: (n, v) float32, logits; zeros (so uniform) for an item without any vote.
    raises: ShapeMismatch.
    source: Träuble et al., arXiv 2207.11240, the parameter-free decoder.
    """
    if codes.shape[1] != values.shape[0]:
        raise ShapeMismatch.between("codes (n, c)", codes.shape, "values (c, m, v)", values.shape)
    total = values.new_zeros(len(codes), values.shape[2])
    add_votes(total, (column.long() for column in codes.T), values)
    return total


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """A fitted Discrete Key-Value Bottleneck; masking makes another one, and changes nothing in place."""

    projection: Tensor
    """(c, d_z, d_k) float32."""
    keys: Tensor
    """(c, m, d_k) float32."""
    values: Tensor
    """(c, m, v) float32."""
    selectable: Tensor
    """(c, m) bool: not masked, and used in training where the spec asks for that."""
    header: dict[str, Any]
    """What the model is: class names, backbone, specs, digests (JSON)."""
    _packed: list["Codebooks"] = field(default_factory=list, init=False, repr=False, compare=False)
    """What codes are read from, once it was needed: as large as keys and projection together."""

    def codes(self, z: Tensor) -> Tensor:
        """Codes: (n, d_z) float embeddings -> (n, c) int16, NO_VOTE where nothing is selectable."""
        from dkvb.codes import Codebooks, check_shapes, encode  # compiled kernels: not everyone needs them

        if z.device.type != "cpu":
            return encode(z, self.projection, self.keys, selectable=self.selectable)
        check_shapes(z, self.projection, self.keys, self.selectable)
        if not self._packed:
            self._packed.append(Codebooks.of(self.projection, self.keys, self.selectable))
        return self._packed[0].encode(z)

    def logits(self, z: Tensor) -> Tensor:
        """Logits, by the plain masked forward pass: (n, d_z) float embeddings -> (n, v) float32.

        A masked pair is infinitely far away, so an item takes its next-nearest selectable key.
        """
        return decode(self.codes(z), self.values)

    def masked(self, mask: Tensor) -> Self:
        """The model that has forgotten the masked pairs: they are not selectable, and their content is erased.

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
        """The model that has forgotten the pairs of a mask file, which must have been made for this very model.

        path: a mask that `dkvb unlearn` wrote.
        raises: BadCheckpoint for the mask of another model or of none that it names, or a damaged file.
        """
        request = read_mask_header(path)
        if (model := request.get("model")) is None:
            raise BadCheckpoint(
                f"{path}: does not say which model it was made for; make it again with this version of `dkvb unlearn`"
            )
        if model != identity(self.header):
            raise BadCheckpoint(
                f"{path}: made for another model ({str(model)[:16]}), expected {identity(self.header)[:16]}; its pairs "
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
        unlearned = self.masked(mask)
        unlearned.header["unlearned"] = request
        return unlearned

    def to_bytes(self) -> bytes:
        """The checkpoint: a safetensors file whose header says what the model is."""
        return b"".join(self.parts())

    def parts(self) -> Iterator[bytes | memoryview]:
        """The bytes of the checkpoint in order, tensors as they lie in memory: a large model is written without a copy.

        raises: BadCheckpoint for a tensor whose type is not that of TENSORS.
        """
        sizes = {}
        for name, (dtype, written) in TENSORS.items():
            tensor = getattr(self, name)
            if tensor.dtype != dtype:
                raise BadCheckpoint(f"{name}: dtype found {tensor.dtype}, expected {dtype}")
            sizes[name] = written, tuple(tensor.shape), tensor.nbytes
        yield safetensors_head({"format": FORMAT, "header": self.header}, sizes)
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
