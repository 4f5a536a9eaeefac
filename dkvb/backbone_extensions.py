"""Backbones of extensions (`dkvb.backbones` entry points): what one has to offer, and a check of all that it gives."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from dkvb.extensions import BACKBONES, Extension, find
from dkvb.preprocessing import LARGEST_IMAGE, SMALLEST_IMAGE


class BackboneLibrary(Protocol):
    """What an entry point of the group `dkvb.backbones` names: a module with these names, or any such object."""

    names: Sequence[str]
    """What `backbone.name` may be."""

    def width(self, name: str) -> int:
        """The embedding width d_z, without weights and without the memory for a model."""

    def load(
        self, name: str, *, weights: str, image_size: int | None
    ) -> tuple[nn.Module, Callable[[Image.Image], Tensor]]:
        """The network and its own preprocessing, on the CPU.

        weights: as the spec says it; "random" must be there, and draws from torch's global generator, seeded before.
        image_size: pixels; None for the network's own.
        returns: a module (b, 3, h, w) float32 -> (b, d_z) float32, which is frozen afterwards; an RGB image of any
            size -> (3, h, w) float32, always of the same h and w. Steps of a torchvision `Compose` are recorded.
        """


class Checked(nn.Module):
    """A network of an extension: what it gives, or raises, is told as the extension's."""

    def __init__(self, network: nn.Module, extension: Extension, d_z: int) -> None:
        super().__init__()
        self.network = network
        self.extension, self.d_z = extension, d_z

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings: images (b, 3, h, w) float32 -> (b, d_z)."""
        with self.extension.running():
            z: Any = self.network(images)
        if not isinstance(z, Tensor) or z.shape != (len(images), self.d_z) or not z.is_floating_point():
            expected = f"({len(images)}, {self.d_z}) torch.float32"
            raise self.extension.failed(f"embeddings: found {found(z)}, expected {expected}")
        return z


def names(library: str) -> tuple[str, ...]:
    """What `backbone.name` may be; raises: ExtensionMissing, ExtensionFailed."""
    extension, loaded = _loaded(library)
    with extension.running():
        known = tuple(loaded.names)
    if not known or not all(isinstance(name, str) for name in known):
        raise extension.failed(f"names: found {loaded.names!r}, expected one or more texts")
    return known


def width(library: str, name: str) -> int:
    """The embedding width d_z; raises: as `names`."""
    extension, loaded = _loaded(library)
    with extension.running():
        d_z: Any = loaded.width(name)
    if type(d_z) is not int or d_z < 1:
        raise extension.failed(f"width({name!r}): found {d_z!r}, expected a whole number, 1 or more")
    return d_z


def facts(library: str, image_size: int | None) -> dict[str, str | int | None]:
    """What is recorded of an extension's backbone beside what is of all."""
    return {"extension": find(BACKBONES, library).release, "image_size": image_size}


def load(
    library: str, name: str, weights: str, image_size: int | None
) -> tuple[nn.Module, Callable[[Image.Image], Tensor]]:
    """The network, checked whenever it is used, and its preprocessing, checked on one image; raises: as `names`."""
    extension, loaded = _loaded(library)
    with extension.running():
        made: Any = loaded.load(name, weights=weights, image_size=image_size)
    if not isinstance(made, tuple) or len(made) != 2 or not isinstance(made[0], nn.Module) or not callable(made[1]):
        raise extension.failed(f"load({name!r}): found {found(made)}, expected (torch.nn.Module, transform)")
    network, transform = made
    with extension.running():
        pixels: Any = transform(Image.new("RGB", (2 * SMALLEST_IMAGE, SMALLEST_IMAGE)))
    fits = isinstance(pixels, Tensor) and pixels.dtype == torch.float32 and pixels.ndim == 3 and len(pixels) == 3
    if not fits or max(pixels.shape) > LARGEST_IMAGE:
        raise extension.failed(f"transform: found {found(pixels)}, expected (3, h, w) torch.float32")
    return Checked(network, extension, width(library, name)), transform


def found(value: Any) -> str:
    """What a value is, for a message."""
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _loaded(library: str) -> tuple[Extension, Any]:
    extension = find(BACKBONES, library)
    return extension, extension.load()
