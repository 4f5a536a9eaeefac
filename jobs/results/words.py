"""How methods and splits are spoken of, in tables, figures and reports."""

from dataclasses import dataclass

from dkvb.orders import CONTRAST


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
    "uva-values": Method(
        "via Activations, by votes",
        "the pairs that vote most for the class go first",
        "pairs",
        "pairs that vote for it",
    ),
    "uva-contrast": Method(
        "via Activations, by contrast",
        f"the most activated pairs go first, each hit of another class counted as -{CONTRAST:g}",
        "pairs",
        "pairs of positive contrast",
    ),
    "uve": Method("via Examples", "the pairs of one example after another go", "examples", "training items"),
}

ITEMS = {"test": "test items", "train": "training items"}
"""By split."""
