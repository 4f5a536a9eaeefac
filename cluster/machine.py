"""Memory and CPUs of this machine, or of its container: read without Ray, which a plan does not need."""

import os
from pathlib import Path

_LIMITS = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max")
"""Where the first and the second version of control groups say what a container may use."""

_CFS = ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us")
_CPU_MAX = "/sys/fs/cgroup/cpu.max"
"""Where they say how much of its CPUs: microseconds in a period of so many."""


def machine_memory() -> int:
    """Bytes of memory of this machine, or of its container."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in map(Path, _LIMITS):
        if path.exists():
            limit = path.read_text().strip()
            return min(whole, int(limit)) if limit.isdecimal() else whole  # "max": none is set
    return whole


_USED = (
    ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory/memory.stat", "total_inactive_file"),
    ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file"),
)
"""Where they say what it uses, and how much of that is files that would be dropped."""


def used_memory() -> int | None:
    """Bytes of it that are in use, without files that are kept for speed; None where this system does not say."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if machine_memory() < whole:
        for used, stat, name in _USED:
            if Path(used).exists() and Path(stat).exists():
                return max(0, int(Path(used).read_text()) - _numbers(stat).get(name, 0))
    if not Path("/proc/meminfo").exists():
        return None
    said = _numbers("/proc/meminfo")
    return 1024 * (said["MemTotal"] - said["MemAvailable"])


def _numbers(path: str) -> dict[str, int]:
    """Names and numbers of a file of the kernel's, a line each."""
    rows = [line.replace(":", " ").split() for line in Path(path).read_text().splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def usable_cpus() -> int:
    """CPUs this process may use: its affinity, and a container's quota, which `os.cpu_count` knows nothing of."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = _quota()
    return max(1, min(affinity, quota // period)) if quota > 0 and period > 0 else affinity


def _quota() -> tuple[int, int]:
    """What a container may use of its CPUs, and of how much; (0, 0) where that is not limited."""
    older, newer = [*map(Path, _CFS)], Path(_CPU_MAX)
    if all(path.exists() for path in older):
        said = [path.read_text().strip() for path in older]  # "-1": none is set
    elif newer.exists():
        said = newer.read_text().split()  # "max 100000": none is set
    else:
        return 0, 0
    return (int(said[0]), int(said[1])) if all(number.isdecimal() for number in said) else (0, 0)
