"""Backbones for tests, images of noise for them, and where real ones are."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dkvb.backbones import Backbone, BackboneSpec
from tests.paths import DATA

TINY = DATA / "tiny-imagenet"
CIFAR = DATA / "cifar10"

needs_tiny = pytest.mark.skipif(not TINY.is_dir(), reason="the real images of tiny-imagenet are not here")
needs_cifar = pytest.mark.skipif(not CIFAR.is_dir(), reason="the real images of cifar10 are not here")


def timm_spec(**settings: Any) -> BackboneSpec:
    return BackboneSpec(**{"library": "timm", "name": "resnet18", "weights": "random", **settings})


def clip_spec(**settings: Any) -> BackboneSpec:
    return BackboneSpec(**{"library": "open_clip", "name": "ViT-B-32-quickgelu", "weights": "random", **settings})


def noise(width: int, height: int, seed: int = 5) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def batch(backbone: Backbone, n: int) -> Tensor:
    return torch.stack([backbone.transform(noise(61, 47, seed)) for seed in range(n)])
