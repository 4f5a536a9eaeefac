"""Kernels of a GPU: how they are made and started."""

from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function with Triton when it is first started; with TRITON_INTERPRET=1 NumPy does what it says."""
    return triton.jit(function)


def launch(made: Any, grid: tuple[int, ...], first: Tensor, *arguments: Any, **constants: Any) -> None:
    """Start a kernel for every place of a grid, on the device of its first argument.

    Multiplications and additions are not fused unless the kernel says so (`tl.fma`): sums round as on the CPU.
    """
    if 0 not in grid:
        with torch.cuda.device_of(first):
            made[grid](first, *arguments, **constants, enable_fp_fusion=False)


def places(length: int, size: int) -> int:
    """How many blocks of a size hold a length."""
    return -(-length // size)


def power_of_two(number: int) -> int:
    """The smallest power of two that is not smaller."""
    return 1 << (number - 1).bit_length()
