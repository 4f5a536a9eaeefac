"""Whether Ray is installed: what runs in one process needs none."""

import sys
from importlib.util import find_spec

from cluster.errors import RayMissing

EXTRA = "pip install 'dkvb-unlearning[cluster]'"
"""What installs it."""


def has_ray() -> bool:
    """Whether Ray is installed; it is not imported."""
    return "ray" in sys.modules or find_spec("ray") is not None


def require_ray(what: str) -> None:
    """Check that Ray is installed; what: is said to need it. raises: RayMissing."""
    if not has_ray():
        raise RayMissing(f"{what}: needs Ray, which is not installed; {EXTRA}")
