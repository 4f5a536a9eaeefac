"""Decoders: by what the pixels of an image are read, as a spec chooses."""

import io
import re

import torch
from PIL import Image

from jobs.errors import BadRequest
from store.decoding import Load, by_pillow

BY_TORCHVISION = ("JPEG", "MPO", "PNG", "WEBP")
"""Pillow's names of what torchvision's decoder gives as one RGB image; an MPO file begins with a JPEG."""


def load_by(decode: str) -> Load:
    """What reads pixels, by `images.decode` of a spec; raises: BadRequest where this torchvision cannot."""
    if decode == "pil":
        return by_pillow
    for form in ("JPEG", "PNG"):
        Image.new("RGB", (8, 8)).save(file := io.BytesIO(), form)
        file.seek(0)
        with Image.open(file) as image:
            try:
                by_torchvision(file.getvalue(), image)
            except (ValueError, AttributeError, ImportError) as error:
                raise BadRequest(
                    f"the torchvision that is installed here cannot decode {form} ({error}): "
                    'install one with image support, or set images.decode = "pil" in the spec'
                ) from error
    return by_torchvision


def by_torchvision(encoded: bytes, image: Image.Image) -> Image.Image:
    """The pixels of an image by torchvision's decoder.

    raises: ValueError for one that is damaged, or that it does not read as 8 bits a channel.
    """
    from torchvision.io import ImageReadMode, decode_image  # takes seconds

    if image.format not in BY_TORCHVISION:
        raise ValueError(
            f"torchvision's decoder reads JPEG, PNG and WEBP, and this is {image.format}; convert it, or set "
            'images.decode = "pil"'
        )
    mode = ImageReadMode.RGB_ALPHA if image.has_transparency_data else ImageReadMode.RGB
    data = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
    try:
        pixels = decode_image(data, mode=mode)
    except RuntimeError as error:
        # "decode_jpeg, /path/of/its/build/decode_jpeg.cpp:171, Image is incomplete", and where it was raised
        raise ValueError(re.sub(r"^.*\.cpp:\d+, ", "torchvision: ", str(error).partition("\n")[0])) from error
    if pixels.dtype != torch.uint8:
        raise ValueError(
            "torchvision's decoder gives 16 bits a channel, where 8 are expected; convert it, or set "
            'images.decode = "pil"'
        )
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
