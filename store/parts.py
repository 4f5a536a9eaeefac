"""Parts of a set of images that comes in one piece: which items are trained on, and which are held out to test on.

An item's place follows from its name alone, by a hash: the same on every machine, in whatever order files are listed,
and one more image moves few others.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from store.errors import ImageSourceError
from store.names import one_form


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One of the two parts of a set."""

    split: str
    """ "train" or "test"."""
    test_share: float
    """Share of the items that are held out, between 0 and 1."""

    def __post_init__(self) -> None:
        if self.split not in ("train", "test") or not 0 < self.test_share < 1:
            raise ImageSourceError(f"found {self}, expected the split 'train' or 'test', and a share between 0 and 1")

    def holds(self, name: str) -> bool:
        """Whether an item is of this part, whatever others there are."""
        return (place(name) < self.test_share) is (self.split == "test")

    def chosen(self, names: Iterable[str]) -> set[str]:
        """Those of this part of all files of class folders, `class/.../file`.

        Of each class the share, rounded, is held out; of two or more images at least one, and never all.
        """
        classes: dict[str, list[str]] = defaultdict(list)
        for name in names:
            classes[one_form(name.partition("/")[0])].append(name)
        chosen: set[str] = set()
        for of_class in classes.values():
            ordered = sorted(of_class, key=lambda name: (place(name), name))
            held = min(max(1, round(self.test_share * len(ordered))), len(ordered) - 1)
            chosen.update(ordered[:held] if self.split == "test" else ordered[held:])
        return chosen


def place(name: str) -> float:
    """A number in [0, 1) that follows from a name, in whichever Unicode form it is written."""
    digest = hashlib.blake2b(one_form(name).encode(errors="surrogateescape"), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
