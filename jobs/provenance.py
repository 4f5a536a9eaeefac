"""Where an artefact came from: code, versions, machine, times."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "dkvb-unlearning",
    "torch",
    "torchvision",
    "timm",
    "open_clip_torch",
    "ray",
    "zarr",
    "polars",
    "numpy",
    "pillow",
)


def version_of(package: str) -> str | None:
    """The version of a package; None where it is not installed, as on a cluster that was sent the code alone."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def surroundings() -> dict[str, Any]:
    """Code version, package versions and hardware of this process."""
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in PACKAGES},
        "machine": {"system": platform.platform(), "processor": processor(), "cpus": os.cpu_count()},
    }


def commit() -> str | None:
    """The git commit of the running code, "+dirty" if it was changed; None outside a checkout.

    A submission sends code without its checkout, and the commit in DKVB_COMMIT.
    """
    here = Path(__file__).parents[1]
    if not (here / ".git").exists():
        return os.environ.get("DKVB_COMMIT") or None
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--dirty=+dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def processor() -> str:
    """The name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
