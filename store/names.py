"""Class names: one form for each, and what tells apart two that look alike."""

import unicodedata
from collections.abc import Iterable


def one_form(name: str) -> str:
    """The name in Unicode's composed form: file systems and archives change between it and the decomposed one."""
    return unicodedata.normalize("NFC", name)


def look(name: str) -> str:
    """What is left of a name for an eye: compatible characters, case, spaces and invisible characters set aside."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in plain if not c.isspace() and unicodedata.category(c) not in ("Cf", "Cc", "Mn"))


def told_apart(names: Iterable[str]) -> list[str]:
    """The names for a message; where two look alike, with the code points of what is not plain ASCII or not printed."""
    given = list(names)
    looks = [look(name) for name in given]
    return [
        name if looks.count(seen) < 2 else f"{name!r} ({points(name)})" for name, seen in zip(given, looks, strict=True)
    ]


def points(name: str) -> str:
    """The code points of a name."""
    return " ".join(f"U+{ord(char):04X}" for char in name)
