"""Exact float32: torch's settings that trade bits for speed, turned off while embeddings and codes are computed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_setting = threading.Lock()
_before: list[tuple[list[str], bool, bool]] = []
"""An entry for each thread that computes exactly, of which the first holds the settings as they were before."""


@contextmanager
def exact_float32() -> Iterator[None]:
    """Turn off TF32 and the search for the fastest convolution: either changes embeddings, and with them codes.

    The settings belong to the process: of several threads the first makes them, and the last puts them back.
    """
    cudnn = torch.backends.cudnn
    backends = (torch.backends.cuda.matmul, cudnn.conv)  # type: ignore[attr-defined]
    with _setting:
        _before.append(([backend.fp32_precision for backend in backends], cudnn.deterministic, cudnn.benchmark))
        for backend in backends:
            backend.fp32_precision = "ieee"
        cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        with _setting:
            precisions, *cudnn_settings = _before.pop()
            if not _before:
                for backend, precision in zip(backends, precisions, strict=True):
                    backend.fp32_precision = precision
                cudnn.deterministic, cudnn.benchmark = cudnn_settings
