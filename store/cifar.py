"""CIFAR as published: Python pickles, read without letting them name anything but NumPy's arrays."""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.errors import ImageDataError

ARRAYS = {
    **dict.fromkeys(
        [("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")],
        np.empty(0).__reduce__()[0],
    ),
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
"""Everything that a pickled array of numbers names: what builds it (`__reduce__`), and its types."""


class ArraysOnly(pickle.Unpickler):
    """Unpickles dicts, lists, texts, numbers and arrays; nothing that is named in the file is imported or called."""

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for, if it is one of ARRAYS; raises: UnpicklingError."""
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return ARRAYS[module, name]


def published(path: Path, checksum: str) -> dict[str, Any]:
    """The content of one published file; raises: ImageDataError for another file, or other content."""
    data = path.read_bytes()
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != checksum:
        raise ImageDataError(f"{path} does not have its published checksum; fetch the archive again")
    try:
        content = ArraysOnly(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # damaged pickles raise anything
        raise ImageDataError(f"{path}: not a pickle of arrays and strings alone ({error})") from error
    if not isinstance(content, dict):
        raise ImageDataError(f"{path}: found {type(content).__name__}, expected a dict")
    return content


def batch(path: Path, checksum: str) -> tuple[NDArray[np.uint8], list[int]]:
    """The images (n, 32, 32, 3) uint8 and the labels of one published batch; raises: ImageDataError."""
    content = published(path, checksum)
    pixels: Any = content.get("data")
    labels: Any = content.get("labels", content.get("fine_labels"))
    fits = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and isinstance(labels, list)
    if not fits or pixels.shape != (len(labels), 3072) or {*map(type, labels)} - {int}:
        raise ImageDataError(f"{path}: does not hold (n, 3072) bytes of images with n labels")
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels
