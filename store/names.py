"""Class names: one form for each, and what tells apart two that look alike."""

import unicodedata
from collections.abc import Iterable


def one_form(name: str) -> str:
    """The name in Unicode's composed form: file systems and archives change between it and the decomposed one."""
    return unicodedata.normalize("NFC", name)


def alike(one: str, other: str) -> bool:
    """Whether two names can look the same.

    They do but for case, spaces, accents and invisible characters; or where letters differ, they are of other scripts.
    """
    if _plain(one) == _plain(other):
        return True
    pairs = [*zip(one, other, strict=False)]
    differ = [a + b for a, b in pairs if a != b]
    return len(one) == len(other) and len(differ) < len(pairs) and not any(text.isascii() for text in differ)


def _plain(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).casefold()
    return "".join(c for c in plain if not c.isspace() and unicodedata.category(c) not in ("Cf", "Cc", "Mn"))


def told_apart(names: Iterable[str]) -> list[str]:
    """The names for a message; those that look like another one with their code points."""
    given = list(names)
    doubtful = {name for name in given for other in given if name != other and alike(name, other)}
    return [f"{name!r} ({points(name)})" if name in doubtful else name for name in given]


def points(name: str) -> str:
    """The code points of a name."""
    return " ".join(f"U+{ord(char):04X}" for char in name)
