"""Bounds of what a spec says: whole numbers that tables can hold, and keys of a table that do not go together."""

from collections.abc import Iterable
from typing import NamedTuple

from jobs.errors import BadSpec

LEAST, MOST = -(2**31), 2**31 - 1
"""Of any whole number in a spec: tables keep seeds in 32 bits."""


def check(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raises: BadSpec with the message unless it holds."""
    if not holds:
        raise BadSpec(message)


class Wrong(NamedTuple):
    """Something wrong with a table whose keys are right each by itself."""

    text: str
    """What was found, what was expected, and what to do."""
    keys: tuple[str, ...] = ()
    """Those that it is about, dotted from the table on; none: the table as a whole."""


class Disagree(BadSpec):
    """Keys of a table that do not go together."""

    def __init__(self, wrong: list[Wrong]) -> None:
        super().__init__("; ".join(f"{' and '.join(one.keys)}: {one.text}" for one in wrong))
        self.wrong = wrong


def refuse(wrong: Iterable[Wrong]) -> None:
    """Raise: Disagree with all that is wrong, if anything is."""
    if found := [*wrong]:
        raise Disagree(found)


def in_words(number: int) -> str:
    """A whole number for a message; Python prints none of many thousand digits."""
    return str(number) if number.bit_length() < 128 else f"a number of {number.bit_length()} bits"
