"""Decoding: encoded bytes become an RGB image, with a note of what is lost."""

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "AVIF", "PPM")
ORIENTATIONS = ("ignore", "apply")
ALPHAS = ("drop", "white", "black")

MOST_STRETCHED = 100
"""How many times longer than the other a side may be: a backbone's preprocessing first scales the shorter side to some
hundred pixels, so a single image of 4000 x 1 would take most of a GiB."""

_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How to treat what RGB pixels cannot hold."""

    orientation: str = "ignore"
    """ "ignore" leaves pixels as they are stored, "apply" turns and mirrors them as EXIF says."""
    alpha: str = "drop"
    """ "drop" takes colours as they are stored, seen or not; "white" and "black" lay the image on that ground."""


PLAIN = Decoding()


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image, or why there is none; and what is lost of it: "orientation", "alpha", "frames", "depth"."""

    image: Image.Image | None
    problem: str | None = None
    lost: tuple[str, ...] = ()


def decode(pixels: bytes | NDArray[np.uint8] | None, how: Decoding = PLAIN) -> Decoded:
    """The RGB image of encoded bytes, or of (h, w) or (h, w, 3) uint8."""
    if pixels is None:
        return Decoded(None, "no image bytes")
    if isinstance(pixels, np.ndarray):
        return Decoded(Image.fromarray(pixels).convert("RGB"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on EXIF and palettes change no pixel
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(pixels), formats=FORMATS) as image:
                if problem := _unfit(image):
                    return Decoded(None, problem)
                return _rgb(image, how)
    except UnidentifiedImageError:
        return Decoded(None, f"not a readable image in {', '.join(FORMATS)} ({len(pixels)} bytes)")
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise anything on damaged bytes
        return Decoded(None, f"image cannot be decoded: {error}")


def _unfit(image: Image.Image) -> str | None:
    """Why an image is not to be decoded; None for one that is."""
    if image.mode.startswith(("I", "F")):  # convert() would clip them to white
        return f"image mode {image.mode}: more than 8 bits a channel"
    if max(image.size) > MOST_STRETCHED * min(image.size):
        return f"{image.width} x {image.height} pixels: one side is more than {MOST_STRETCHED} times the other; crop it"
    return None


def _rgb(image: Image.Image, how: Decoding) -> Decoded:
    lost = ["depth"] if _is_deep(image) else []
    image.load()
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        if seen.getchannel("A").getextrema() == (255, 255):
            rgb = image.convert("RGB")
        elif how.alpha == "drop":
            rgb = image.convert("RGB")
            lost.append("alpha")
        else:
            rgb = Image.alpha_composite(Image.new("RGBA", image.size, how.alpha), seen).convert("RGB")
    else:
        rgb = image.convert("RGB")
    turned = _orientation(image)
    if turned is not None and how.orientation == "apply":
        rgb = rgb.transpose(turned)
    elif turned is not None:
        lost.append("orientation")
    if _has_frames(image):
        lost.append("frames")
    return Decoded(rgb, None, tuple(lost))


def _is_deep(image: Image.Image) -> bool:
    """Whether channels have 16 bits, of which 8 are kept."""
    tiles = [str(tile[3]) for tile in getattr(image, "tile", [])]
    return any(";16" in tile for tile in tiles) or (image.format == "PPM" and _maxval(image) > 255)


def _maxval(image: Image.Image) -> int:
    tiles: Any = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else None
    return int(args[1]) if isinstance(args, tuple) and len(args) > 1 and isinstance(args[1], int) else 0


def _orientation(image: Image.Image) -> Image.Transpose | None:
    """How the image must be turned to be as EXIF says; None where it is so already, or EXIF is not readable."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged EXIF says nothing of the pixels
        return None
    return _TRANSPOSED.get(orientation) if isinstance(orientation, int) else None


_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _has_frames(image: Image.Image) -> bool:
    """Whether there are further frames or pages; to be called after the pixels are read, as it may read on."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a further frame is damaged, the first is not
        return True
