"""The mathematics of the Discrete Key-Value Bottleneck: tensors in, tensors out; no I/O but weights and checkpoints.

`dkvb.open` belongs to `dkvb_unlearning`, which is above all packages; it has this name here for those who use dkvb from
Python (docs/python.md).
"""

import dkvb_unlearning
from dkvb_unlearning import open_root as open

TYPE_CHECKING = False  # as in `dkvb_unlearning`
if TYPE_CHECKING:
    from dkvb_unlearning import __version__

__all__ = ["OWNER", "__version__", "open"]

OWNER = "dkvb-unlearning"

if not TYPE_CHECKING:  # a type checker would take every name for one that is there

    def __getattr__(name: str) -> str:
        """`__version__`, as `dkvb_unlearning` has it."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return dkvb_unlearning.__version__
