"""The mathematics of the Discrete Key-Value Bottleneck: tensors in, tensors out; no I/O but weights and checkpoints."""

from dkvb_unlearning import __version__ as __version__

OWNER = "dkvb-unlearning"
