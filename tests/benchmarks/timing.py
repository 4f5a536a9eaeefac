"""What the benchmark scripts share: sizes, medians, the machine's limits, and how a result is printed."""

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SIZES = {
    "quick": {"n": 1000, "c": 32, "m": 1024, "v": 10, "d_z": 256, "per_class": 500, "strength": 0.4},
    "cifar": {"n": 10000, "c": 256, "m": 4096, "v": 10, "d_z": 1280, "per_class": 5000, "strength": 0.4},
    "imagenet1k": {"n": 50000, "c": 256, "m": 4096, "v": 1000, "d_z": 512, "per_class": 1281, "strength": 1.0},
}
"""n: items watched; per_class: training items of a class; strength: how far apart the classes lie (`synthetic.items`),
chosen so that a class activates about as large a share of the pairs as on real images of that size."""


def size(about: str, *, flag: str = "", number: str = "") -> dict[str, Any]:
    """The size asked for on the command line; and a flag and a number of the benchmark's own, by their names."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--size", choices=SIZES, default="quick", dest="name")
    if flag:
        parser.add_argument(f"--{flag}", action="store_true")
    if number:
        parser.add_argument(f"--{number}", type=int)
    asked = vars(parser.parse_args())
    return {**asked, **SIZES[asked["name"]]}


def median(work: Callable[[], Any], *, runs: int = 3) -> float:
    """Median seconds of some runs after one warm-up."""
    work()
    taken = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def matmul_rate() -> float:
    """FLOP/s of a large float32 matrix product: what arithmetic can reach on this machine."""
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / median(lambda: a @ a)


def copy_rate() -> float:
    """Bytes/s read and written by copying a buffer larger than the caches."""
    a = torch.zeros(1 << 26)
    b = torch.empty_like(a)
    return 2 * a.nbytes / median(lambda: b.copy_(a))


def once(work: Callable[[], Any]) -> float:
    """Seconds of one run, without a warm-up."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def peak_bytes() -> int:
    """The most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak_over(work: Callable[[], Any]) -> int:
    """Bytes that the work takes at most over what is held before it, as Linux counts; 0 elsewhere."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not status.exists():
        return 0
    clear.write_text("5")  # the kernel's high-water mark begins anew

    def read(field: str) -> int:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(field)) * 1024

    before = read("VmRSS")
    work()
    return read("VmHWM") - before


def report(benchmark: str, rows: list[dict[str, Any]], **facts: Any) -> None:
    """A table for people, then JSON."""
    columns = list(rows[0])
    print(f"\n{benchmark}: {facts}")
    cells = [
        columns,
        *([value if isinstance(value, str) else f"{value:.4g}" for value in row.values()] for row in rows),
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        print("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))
    machine = {"threads": torch.get_num_threads(), "processor": platform.processor(), "torch": torch.__version__}
    print(json.dumps({"benchmark": benchmark, "rows": rows, "peak_bytes": peak_bytes(), **facts, **machine}))
