"""Preprocessing: images of any size as the model was trained to see them."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from dkvb.backbones import Backbone, embed, load_backbone
from dkvb.errors import BadImages
from tests.dkvb.models import batch, noise, timm_spec


@pytest.mark.parametrize("size", [(1, 1), (7, 401), (401, 7), (224, 224)])
def test_images_of_any_size_become_the_same_shape(resnet18: Backbone, size: tuple[int, int]) -> None:
    pixels = resnet18.transform(noise(*size))
    assert pixels.shape == (3, 224, 224)
    assert pixels.dtype == torch.float32


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_an_image_that_is_not_rgb_is_refused(resnet18: Backbone, mode: str) -> None:
    with pytest.raises(BadImages, match=mode):
        resnet18.transform(Image.new(mode, (53, 59)))


def test_timm_preprocessing_is_resize_crop_scale_normalise(resnet18: Backbone) -> None:
    config = timm.get_pretrained_cfg("resnet18")
    image = noise(301, 257)
    edge = int(224 / config.crop_pct)
    width = int(edge * 301 / 257)
    enlarged = image.resize((width, edge), Image.Resampling[config.interpolation.upper()])
    left, top = round((width - 224) / 2), round((edge - 224) / 2)
    pixels = np.asarray(enlarged.crop((left, top, left + 224, top + 224)), dtype=np.float32) / 255
    expected = (pixels - np.float32(config.mean)) / np.float32(config.std)
    torch.testing.assert_close(resnet18.transform(image), torch.from_numpy(expected.transpose(2, 0, 1)))
    assert resnet18.facts["resize"] == edge
    assert resnet18.facts["crop"] == [224, 224]


def test_another_image_size_keeps_the_crop_ratio() -> None:
    backbone = load_backbone(timm_spec(image_size=97))
    ratio = timm.get_pretrained_cfg("resnet18").crop_pct
    assert backbone.facts["size"] == [97, 97]
    assert backbone.facts["resize"] == int(97 / ratio)
    assert embed(backbone, batch(backbone, 2)).shape == (2, 512)
