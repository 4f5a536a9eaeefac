"""Decoding: encoded bytes become an RGB image, with a note of what is lost."""

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

Load = Callable[[bytes, Image.Image], Image.Image]
"""Reads the pixels of an image that Pillow has opened, out of the same bytes: RGBA where it is transparent."""


def by_pillow(_: bytes, image: Image.Image) -> Image.Image:
    """The same image, its pixels read by Pillow."""
    image.load()
    return image


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image, or why there is none; and what is lost of it: "orientation", "alpha", "frames", "depth"."""

    image: Image.Image | None
    problem: str | None = None
    lost: tuple[str, ...] = ()


def decode(pixels: bytes | NDArray[np.uint8] | None, how: Decoding = PLAIN, load: Load = by_pillow) -> Decoded:
    """The RGB image of encoded bytes, or of (h, w) or (h, w, 3) uint8; any number of threads may call it."""
    if pixels is None:
        return Decoded(None, "no image bytes")
    if isinstance(pixels, np.ndarray):
        plain = Image.fromarray(pixels)
        problem = _unfit(plain)
        return Decoded(None, problem) if problem else Decoded(plain.convert("RGB"))
    try:
        with _warnings_set(), Image.open(io.BytesIO(pixels), formats=FORMATS) as image:
            if problem := _unfit(image):
                return Decoded(None, problem)
            return _rgb(image, how, lambda: load(pixels, image))
    except UnidentifiedImageError:
        return Decoded(None, f"not a readable image in {', '.join(FORMATS)} ({len(pixels)} bytes)")
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise anything on damaged bytes
        return Decoded(None, f"image cannot be decoded: {error}")


_decoding = threading.Lock()
_before: "list[warnings.catch_warnings[None]]" = []
"""An entry for each thread that decodes, of which the first holds the filters as they were before."""


@contextmanager
def _warnings_set() -> Iterator[None]:
    """Pillow's remarks on EXIF and palettes, which change no pixel, are silent, and a bomb is an error.

    Filters belong to the process: the first thread to come sets them, and the last to leave puts them back. If each did
    both for itself, one could take them from another in the middle of an image.
    """
    with _decoding:
        _before.append(warnings.catch_warnings())
        if len(_before) == 1:
            _before[0].__enter__()
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        yield
    finally:
        with _decoding:
            last = _before.pop()
            if not _before:
                last.__exit__(None, None, None)


def _unfit(image: Image.Image) -> str | None:
    """Why an image is not to be decoded; None for one that is."""
    if image.mode.startswith(("I", "F")):  # convert() would clip them to white
        return f"image mode {image.mode}: more than 8 bits a channel: convert it to 8"
    if max(image.size) > MOST_STRETCHED * min(image.size):
        return f"{image.width} x {image.height} pixels: one side is more than {MOST_STRETCHED} times the other; crop it"
    return None


def _rgb(image: Image.Image, how: Decoding, load: Callable[[], Image.Image]) -> Decoded:
    lost = ["depth"] if _is_deep(image) else []
    loaded = load()
    if loaded.has_transparency_data:
        seen = loaded.convert("RGBA")
        if seen.getchannel("A").getextrema() == (255, 255):
            rgb = loaded.convert("RGB")
        elif how.alpha == "drop":
            rgb = loaded.convert("RGB")
            lost.append("alpha")
        else:
            rgb = Image.alpha_composite(Image.new("RGBA", loaded.size, how.alpha), seen).convert("RGB")
    else:
        rgb = loaded.convert("RGB")
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
