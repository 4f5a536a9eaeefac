"""The mathematics of the Discrete Key-Value Bottleneck: tensors in, tensors out; no I/O but weights and checkpoints."""

OWNER = "dkvb-unlearning"
