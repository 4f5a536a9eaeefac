"""Checks of what a spec says, in one form: which key, what was found, what was expected."""

from typing import Any

from jobs.errors import BadSpec

LEAST, MOST = -(2**31), 2**31 - 1
"""Of any whole number in a spec: tables keep seeds in 32 bits."""


def check(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raises: BadSpec with the message unless it holds."""
    if not holds:
        raise BadSpec(message)


def check_range(where: str, found: int, *, least: int, most: int = MOST) -> None:
    """Whether a whole number lies in its range; raises: BadSpec."""
    if not least <= found <= most:
        expected = f"{least} or more" if most == MOST and found < least else f"a whole number from {least} to {most}"
        raise BadSpec(f"{where}: found {whole(found)}, expected {expected}")


def check_choice(where: str, found: Any, choices: tuple[str, ...]) -> None:
    """Whether a text is one of a few; raises: BadSpec."""
    *first, last = (f'"{choice}"' for choice in choices)
    expected = f"{', '.join(first)} or {last}"
    check(found in choices, f"{where}: found {found!r}, expected {expected}")


def whole(number: int) -> str:
    """A whole number for a message; Python prints none of many thousand digits."""
    return str(number) if number.bit_length() < 128 else f"a number of {number.bit_length()} bits"
