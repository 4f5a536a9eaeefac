"""What the benchmark scripts share: sizes, medians, the machine's limits, and how a result is printed."""

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

SIZES = {
    "quick": {"n": 1000, "c": 32, "m": 1024, "v": 10, "d_z": 256},
    "cifar": {"n": 10000, "c": 256, "m": 4096, "v": 10, "d_z": 1280},
    "imagenet1k": {"n": 50000, "c": 256, "m": 4096, "v": 1000, "d_z": 512},
}


def size(about: str) -> dict[str, int]:
    """The size asked for on the command line."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--size", choices=SIZES, default="quick")
    return dict(SIZES[parser.parse_args().size])


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


def clustered(n: int, d_z: int, v: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Embeddings with class structure: (n, d_z) float32 around one centre a class, and labels (n,) int64."""
    gen = torch.Generator().manual_seed(seed)
    labels = torch.randint(v, (n,), generator=gen)
    centres = torch.randn(v, d_z, generator=gen)
    return centres[labels] + torch.randn(n, d_z, generator=gen), labels


def report(name: str, rows: list[dict[str, Any]], **facts: Any) -> None:
    """A table for people, then JSON."""
    columns = list(rows[0])
    print(f"\n{name}: {facts}")
    cells = [columns, *([f"{value:.4g}" for value in row.values()] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        print("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    machine = {"threads": torch.get_num_threads(), "processor": platform.processor(), "torch": torch.__version__}
    print(json.dumps({"benchmark": name, "rows": rows, "peak_bytes": peak, **facts, **machine}))
