"""Tables that lie on a scratch file, where they would not fit beside everything else: tensors of its mapped bytes.

Whoever works on one goes through it part by part, and lets each part go. What was let go stays in the system's cache as
long as there is room, and on the disk otherwise; a process that dies leaves nothing behind.
"""

import mmap
import os
import tempfile
from collections.abc import Iterator
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

PART = 64 << 20
"""Bytes of a part where any size will do."""

_maps: WeakValueDictionary[int, mmap.mmap] = WeakValueDictionary()
"""The mappings in use, by the address at which they begin."""


def spilled_zeros(rows: int, v: int) -> Tensor:
    """Zeros (rows, v) float32 on a scratch file in the folder for temporary files (TMPDIR).

    raises: OSError where there is no room for it.
    """
    size = 4 * rows * v
    with tempfile.TemporaryFile(prefix="dkvb-") as file:
        if hasattr(os, "posix_fallocate"):  # otherwise a disk that fills up later would end the process
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        mapped = mmap.mmap(file.fileno(), size)
    table = torch.from_numpy(np.frombuffer(mapped, np.float32).reshape(rows, v))
    _maps[table.data_ptr()] = mapped
    return table


def is_spilled(table: Tensor) -> bool:
    """Whether a tensor, or that which it is a part of, lies on a scratch file."""
    return table.device.type == "cpu" and table.untyped_storage().data_ptr() in _maps


def let_go(part: Tensor) -> None:
    """Take the bytes of a contiguous part of a spilled table out of this process's memory; others are left alone."""
    base = part.untyped_storage().data_ptr() if part.device.type == "cpu" else 0
    mapped = _maps.get(base)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        begin = (part.data_ptr() - base) // mmap.PAGESIZE * mmap.PAGESIZE
        mapped.madvise(mmap.MADV_DONTNEED, begin, part.data_ptr() - base + part.nbytes - begin)


def parts(table: Tensor) -> Iterator[Tensor]:
    """A contiguous tensor as one-dimensional parts in order; each is let go when the next one is asked for."""
    for part in table.view(-1).split(PART // table.itemsize):
        yield part
        let_go(part)
