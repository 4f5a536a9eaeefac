"""A spec as TOML, to be copied out of a page: it reads back as the same spec."""

import re
from typing import Any


def toml(table: dict[str, Any], where: str = "") -> str:
    """A nested table without nulls as TOML; lists hold texts, numbers and booleans."""
    plain = [f"{key(name)} = {value(one)}" for name, one in table.items() if not isinstance(one, dict)]
    parts = ["".join(f"{line}\n" for line in plain)]
    for name, one in table.items():
        if isinstance(one, dict):
            path = f"{where}{key(name)}"
            parts.append(f"\n[{path}]\n{toml(one, f'{path}.')}")
    return "".join(parts)


def key(name: str) -> str:
    """A key, quoted where it must be."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else text(name)


def value(one: Any) -> str:
    """One value."""
    if isinstance(one, bool):
        return "true" if one else "false"
    if isinstance(one, list):
        return f"[{', '.join(map(value, one))}]"
    return text(one) if isinstance(one, str) else repr(one)


def text(one: str) -> str:
    """A text between quotes, whatever is not printable as its code: nothing in a spec is to be obeyed by a reader."""
    return f'"{"".join(map(character, one))}"'


def character(one: str) -> str:
    """One character of a text."""
    if one in '"\\':
        return f"\\{one}"
    if one.isprintable():
        return one
    return f"\\u{ord(one):04x}" if ord(one) < 0x10000 else f"\\U{ord(one):08x}"
