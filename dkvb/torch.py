"""A checkpoint as a torch module: images or embeddings in, logits out, on any device, without compiled kernels.

Backbone, image size and preprocessing are those that the checkpoint's header records; nothing is typed anew.

Ray, Zarr and numba are not needed here. Nearest keys are found by plain torch, which adds in another order than the
compiled kernel (`dkvb.tiles`) and so may decide near ties otherwise. On one CPU 6 of 3,931,904 codes of test items
differ (CIFAR-10 5 of 2,560,000; Tiny-ImageNet's subset 1 of 1,280,000; the digits 0 of 91,904), and none of the 15,359
predictions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor, nn

from dkvb.backbones import Backbone
from dkvb.bottleneck import TENSORS, Bottleneck, decode
from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.exact import exact_float32
from dkvb.plain import encode_plain
from dkvb.recorded import backbone_of, embed_half


class Classifier(nn.Module, ABC):
    """A head, and the frozen backbone in front of it. Its tensors are buffers, so nothing of it is trained."""

    header: dict[str, Any]
    """What the model is: class names, backbone, specs, digests (JSON)."""

    def __init__(self, header: dict[str, Any], backbone: Backbone | None) -> None:
        super().__init__()
        self.header = header
        self.backbone = None if backbone is None else backbone.module
        self._recorded = backbone

    @property
    def classes(self) -> list[str]:
        """(v,) names, in the order of the logits."""
        return list(self.header["classes"])

    @property
    def recorded(self) -> Backbone:
        """The backbone with its preprocessing and facts; raises: BadSetting where it was not loaded."""
        if self._recorded is None:
            raise BadSetting(
                "this model was loaded without its backbone: give embeddings (b, d_z), or load it with backbone=True"
            )
        return self._recorded

    @property
    def transform(self) -> Callable[[Image.Image], Tensor]:
        """The backbone's own preprocessing: RGB image of any size -> (3, h, w) float32; raises: BadSetting."""
        return self.recorded.transform

    def forward(self, batch: Tensor) -> Tensor:
        """Logits of images or of embeddings.

        batch: (b, 3, h, w) float32, stacked results of `transform`; or (b, d_z) float, embeddings as stored (float16).
        returns: (b, v) float32, on the module's device.
        raises: BadSetting where images are given to a model without backbone, or its tensors were converted to half
            precision; BadImages; ShapeMismatch.
        """
        return self.head(self.embed(batch) if batch.ndim == 4 else batch)

    def embed(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) float32, stacked results of `transform` -> (b, d_z) float16; raises: BadSetting, BadImages."""
        return embed_half(self.recorded, images)

    @abstractmethod
    def head(self, z: Tensor) -> Tensor:
        """Logits of embeddings: (b, d_z) float -> (b, v) float32; raises: ShapeMismatch, BadSetting."""

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        """Set the mode as torch does; the backbone is frozen and stays in evaluation mode."""
        super().train(mode)
        if self.backbone is not None:
            self.backbone.eval()
        return self

    def _check(self, z: Tensor, name: str, shape: str, d_z: int) -> torch.device:
        """Check embeddings against the tensor that takes them, and that it was not converted; returns its device."""
        tensor: Tensor = getattr(self, name)
        if z.ndim != 2 or z.shape[1] != d_z:
            raise ShapeMismatch.between("z (b, d_z)", z.shape, f"{name} {shape}", tensor.shape)
        if tensor.dtype != torch.float32:
            raise BadSetting(
                f"{name}: found {tensor.dtype}, expected torch.float32: in another precision items select other keys "
                "and get other logits; move the model with .to(device) alone"
            )
        return tensor.device


class Model(Classifier):
    """A bottleneck, and the frozen backbone in front of it."""

    projection: Tensor
    """(c, d_z, d_k) float32."""
    keys: Tensor
    """(c, m, d_k) float32."""
    values: Tensor
    """(c, m, v) float32."""
    selectable: Tensor
    """(c, m) bool."""

    def __init__(self, bottleneck: Bottleneck, backbone: Backbone | None = None) -> None:
        super().__init__(bottleneck.header, backbone)
        for name in TENSORS:
            self.register_buffer(name, getattr(bottleneck, name))

    @property
    def bottleneck(self) -> Bottleneck:
        """The same tensors as a `dkvb.bottleneck.Bottleneck`."""
        return Bottleneck(**{name: getattr(self, name) for name in TENSORS}, header=self.header)

    def head(self, z: Tensor) -> Tensor:
        """Logits of embeddings: (b, d_z) float -> (b, v) float32; raises: ShapeMismatch, BadSetting."""
        return decode(self.codes(z), self.values)

    def codes(self, z: Tensor) -> Tensor:
        """Codes of embeddings, -1 where a codebook has no selectable key.

        z: (b, d_z) float.
        returns: (b, c) int16, on the module's device.
        raises: ShapeMismatch; BadSetting for tensors that were converted.
        """
        device = self._check(z, "projection", "(c, d_z, d_k)", self.projection.shape[1])
        with torch.autocast(device.type, enabled=False), exact_float32():
            return encode_plain(z.to(device), self.projection, self.keys, selectable=self.selectable)

    def mask(self, path: Path | str) -> Self:
        """The model that has forgotten what a mask file takes; this one stays as it is, and both share the backbone.

        path: as `dkvb unlearn` wrote it.
        raises: BadCheckpoint for another model's mask, one that does not say whose it is, or a damaged file.
        """
        return type(self)(self.bottleneck.masked_by(path), self._recorded)

    def extra_repr(self) -> str:
        """Sizes, for torch's text of a module."""
        (c, m, v), d_z = self.values.shape, self.projection.shape[1]
        return f"classes={v}, codebooks={c}, keys={m}, d_z={d_z}"


class LinearModel(Classifier):
    """The linear head on the same embeddings, and the frozen backbone in front of it."""

    weight: Tensor
    """(d_z, v) float32."""
    bias: Tensor
    """(v,) float32."""

    def __init__(self, weight: Tensor, bias: Tensor, header: dict[str, Any], backbone: Backbone | None = None) -> None:
        super().__init__(header, backbone)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def head(self, z: Tensor) -> Tensor:
        """Logits of embeddings: (b, d_z) float -> (b, v) float32; raises: ShapeMismatch, BadSetting."""
        device = self._check(z, "weight", "(d_z, v)", self.weight.shape[0])
        with torch.autocast(device.type, enabled=False), exact_float32():
            return z.to(device).float() @ self.weight + self.bias

    def extra_repr(self) -> str:
        """Sizes, for torch's text of a module."""
        return f"classes={self.weight.shape[1]}, d_z={self.weight.shape[0]}"


def load(path: Path | str, *, backbone: bool = True, weights: str | None = None) -> Model:
    """Load a checkpoint, in evaluation mode, on the CPU.

    path: a checkpoint that `dkvb run` or `dkvb unlearn` wrote.
    backbone: whether to load the backbone too; without it the model takes embeddings only.
    weights: where the backbone's weights lie here, if they came from a file or folder that lies elsewhere.
    raises: BadCheckpoint; BackboneWeightsInvalid where the backbone is not the one that the header records;
        BackboneWeightsMissing.
    """
    bottleneck = Bottleneck.load(path)
    made = backbone_of(bottleneck.header, weights=weights) if backbone else None
    return Model(bottleneck, made).eval()
