"""What a card can do, measured where everything else is: multiply-adds and bytes a second; and clocks."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
import triton.language as tl
from torch import Tensor

from dkvb.gpu.launch import kernel, launch

WIDTH = 4096
"""Numbers of a program: 32 for each of its 128 threads, so that none waits for its last sum."""


Made = TypeVar("Made")


def timed(work: Callable[[], Made], device: torch.device) -> tuple[Made, float]:
    """What a call gives, and its seconds."""
    finish(device)
    begin = time.perf_counter()
    made = work()
    finish(device)
    return made, time.perf_counter() - begin


def seconds(work: Callable[[], object], device: torch.device, *, repeats: int = 3) -> float:
    """Least time of some calls, after one that compiles and warms up."""
    work()
    return min(timed(work, device)[1] for _ in range(repeats))


def finish(device: torch.device) -> None:
    """Wait until the device has done all it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak(device: torch.device, *, reset: bool = False) -> float | None:
    """GiB that tensors held at most since the last reset; None on a CPU."""
    if device.type != "cuda":
        return None
    if reset:
        torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.max_memory_allocated(device) / 2**30


@kernel
def _multiply_add(out: tl.tensor, times: tl.tensor, WIDTH: tl.constexpr) -> None:
    """Multiply and add so many times in registers."""
    number = tl.arange(0, WIDTH).to(tl.float32)
    total = number
    for _ in range(times):
        for _ in tl.static_range(16):
            total = tl.fma(total, number, number)
    tl.store(out + tl.program_id(0) * WIDTH + tl.arange(0, WIDTH), total)


@dataclass(frozen=True, slots=True)
class Limits:
    """Rates of a card."""

    flops: float
    """Floating-point operations a second of fused multiply-adds in single precision, two each."""
    matrix: float
    """The same of a matrix product in single precision by the vendor's library."""
    copied: float
    """Bytes a second that a copy reads and writes, both counted."""

    @classmethod
    def of(cls, device: torch.device, *, tiny: bool) -> Self:
        """Measure a device."""
        programs, times, width, size = (2, 2, 64, 1 << 10) if tiny else (132 * 64, 512, 8192, 1 << 30)
        out = torch.empty(programs * WIDTH, device=device)
        each = seconds(lambda: launch(_multiply_add, (programs,), out, times, WIDTH=WIDTH), device)
        a, b = torch.randn(2, width, width, device=device)
        product = seconds(lambda: a @ b, device)
        source = torch.zeros(size, device=device)
        target: Tensor = torch.empty_like(source)
        copy = seconds(lambda: target.copy_(source), device)
        return cls(2 * 16 * times * programs * WIDTH / each, 2 * width**3 / product, 2 * source.nbytes / copy)
