"""The mathematics of the Discrete Key-Value Bottleneck: tensors in, tensors out; no I/O but weights and checkpoints.

`dkvb.open` belongs to `dkvb_unlearning`, which is above all packages; it has this name here for those who use dkvb from
Python (docs/python.md).
"""

from dkvb_unlearning import __version__
from dkvb_unlearning import open_root as open

__all__ = ["OWNER", "__version__", "open"]

OWNER = "dkvb-unlearning"
