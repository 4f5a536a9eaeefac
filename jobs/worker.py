"""What a worker does its units on: blocks of items, cores, a device."""

import os

import torch


def blocks(total: int, size: int) -> list[str]:
    """Names of the blocks of a length, "00000" and so on."""
    return [f"{i:05d}" for i in range(-(-total // size))]


def cores() -> int:
    """How many cores this worker holds.

    A Ray worker is told by OMP_NUM_THREADS; elsewhere all that the process may use are its own.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(os.environ.get("OMP_NUM_THREADS") or usable)


def use_cores() -> None:
    """Let torch use the cores of this worker; for steps whose bits do not depend on the number of threads."""
    torch.set_num_threads(cores())


def use_one_core() -> None:
    """For steps whose sums are split among threads: a unit's bits must not depend on the worker it runs on."""
    torch.set_num_threads(1)


def device() -> torch.device:
    """Where a worker computes."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
