"""How methods and splits are spoken of, in tables, figures and reports."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Method:
    """A way to choose pairs, in words."""

    title: str
    what: str
    unit: str
    """What N counts."""
    of: str
    """What N is a share of."""


METHODS = {
    "uva": Method("via Activations", "the most activated pairs of the class go first", "pairs", "activated pairs"),
    "uve": Method("via Examples", "the pairs of one example after another go", "examples", "training items"),
}

ITEMS = {"test": "test items", "train": "training items"}
"""By split."""
