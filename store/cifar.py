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
"""All that a pickled array of numbers names."""


class ArraysOnly(pickle.Unpickler):
    """Unpickles dicts, lists, texts, numbers and arrays; nothing that is named in the file is imported or called."""

    def find_class(self, module: str, name: str) -> Any:
        """One of ARRAYS."""
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return ARRAYS[module, name]


def published(path: Path, checksum: str) -> dict[str, Any]:
    """The content of one published file. raises: ImageDataError when it is another file, or holds something else."""
    data = path.read_bytes()
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != checksum:
        raise ImageDataError(f"{path} does not have its published checksum; fetch the archive again")
    try:
        found = ArraysOnly(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # damaged pickles raise anything
        raise ImageDataError(f"{path}: not a pickle of arrays and texts alone ({error})") from error
    if not isinstance(found, dict):
        raise ImageDataError(f"{path}: found {type(found).__name__}, expected a dict")
    return found


def batch(path: Path, checksum: str) -> tuple[NDArray[np.uint8], list[int]]:
    """(n, 32, 32, 3) uint8 and labels of one published batch. raises: ImageDataError."""
    found = published(path, checksum)
    pixels: Any = found.get("data")
    labels: Any = found.get("labels", found.get("fine_labels"))
    fits = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and isinstance(labels, list)
    if not fits or pixels.shape != (len(labels), 3072) or {*map(type, labels)} - {int}:
        raise ImageDataError(f"{path}: holds no (n, 3072) bytes of images with n labels")
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels
