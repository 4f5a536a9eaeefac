"""Sizes that decide how much memory work takes: a plan adds them up without torch."""

NEIGHBOURS = 16
"""Keys of a list. A class of CIFAR-10 masks all 16 of them in 7.6 % of the lists, one of a thousand hardly ever."""

PROJECTED = 1 << 26
"""Numbers of projected items that a GPU holds at a time (`dkvb.gpu.scores`): 256 MiB."""

GROUP = 1 << 29
"""Bytes of values that are fetched for all items before the next ones are: each group reads and writes all logits."""

LARGE = 2 << 30
"""Bytes of tables that are held in memory together; larger ones are spilled (`dkvb.spilled`)."""


def are_large(size: int) -> bool:
    """Whether tables of so many bytes together are not to be held in memory."""
    return size > LARGE
