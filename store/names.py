"""Class names: one Unicode form for each, and code points to tell apart those that look alike."""

import unicodedata
from collections.abc import Iterable


def one_form(name: str) -> str:
    """The name in Unicode's composed form; file systems and archives use that form or the decomposed one."""
    return unicodedata.normalize("NFC", name)


def alike(name: str, other: str) -> bool:
    """Whether two names can look the same.

    They can if they differ in spaces, accents and invisible characters alone; or if they are equally long, agree in
    some letters, and of every two that differ one is not ASCII, and they are not one letter in two cases.
    """
    if _plain(name) == _plain(other):
        return True
    pairs = [*zip(name, other, strict=False)]
    differ = [(a, b) for a, b in pairs if a != b]
    plain = any((a + b).isascii() or a.casefold() == b.casefold() for a, b in differ)
    return len(name) == len(other) and len(differ) < len(pairs) and not plain


def _plain(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name)
    return "".join(c for c in plain if not c.isspace() and unicodedata.category(c) not in ("Cf", "Cc", "Mn"))


def told_apart(names: Iterable[str]) -> list[str]:
    """The names as a message shows them: those that look like another one with their code points."""
    shown = list(names)
    doubtful = {name for name in shown for other in shown if name != other and alike(name, other)}
    return [f"{name!r} ({points(name)})" if name in doubtful else name for name in shown]


def points(name: str) -> str:
    """The code points of a name."""
    return " ".join(f"U+{ord(char):04X}" for char in name)
