"""Preprocessing of a backbone's images by its own library, and a description of what it really does."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dkvb.errors import BadImages

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_IMAGE = 32
LARGEST_IMAGE = 4096
"""Pixels of the smallest and the largest image that a spec can ask of a backbone."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """A library's evaluation transform behind a check of the image mode."""

    steps: Any

    def __call__(self, image: Image.Image) -> "Tensor":
        """RGB image -> (3, h, w) float32; raises: BadImages for another mode."""
        # A palette image would pass through timm's transform and silently give a wrong embedding.
        if image.mode != "RGB":
            raise BadImages(f"the image has mode {image.mode!r}, expected 'RGB': convert it when decoding")
        pixels: Tensor = self.steps(image)
        return pixels


def describe(steps: Any) -> dict[str, Any]:
    """Facts of a preprocessing, read off its steps and not off a configuration."""
    each = getattr(steps, "transforms", [steps])
    facts: dict[str, Any] = {"steps": [type(step).__name__ for step in each]}
    for step in each:
        if hasattr(step, "interpolation"):
            facts["resize"] = _numbers(step.size)
            facts["interpolation"] = str(getattr(step.interpolation, "value", step.interpolation))
            # A PIL image is always resized with antialiasing; a step without the setting is PIL's own resize.
            facts["antialias"] = bool(getattr(step, "antialias", True))
        elif "Crop" in type(step).__name__:
            facts["crop"] = _numbers(step.size)
        elif type(step).__name__ == "Normalize":
            facts["mean"], facts["std"] = _numbers(step.mean), _numbers(step.std)
    black = steps(Image.new("RGB", (2 * SMALLEST_IMAGE, SMALLEST_IMAGE)))
    return {**facts, "size": list(black.shape[1:])}


def _numbers(values: Any) -> Any:
    """Plain numbers; float32 values in their shortest decimal form (0.485, not 0.48500001430511475)."""
    if isinstance(values, int):
        return values
    return [value if isinstance(value, int) else float(str(np.float32(value))) for value in values]
