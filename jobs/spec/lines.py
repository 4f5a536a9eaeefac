"""Lines of a TOML text: on which each key is set, which Python's own reader does not tell."""

import tomllib
from collections.abc import Iterator
from typing import Any

Keys = tuple[str | int, ...]
"""The way to a value: keys of tables, places in lists."""

DEEPEST = 20
"""Tables and lists within each other; more are no spec."""

MOST = 2000
"""Lines beyond which no line is told: a long value is read again with each of its lines."""


def lines_of(text: str) -> dict[Keys, int]:
    """The way to each key and list of a TOML text that can be read -> its line; empty for a very long text.

    A line, or some together, are read by themselves as soon as they are whole: a head, or keys of the table begun last.
    """
    found: dict[Keys, int] = {}
    tables: dict[Keys, int] = {}  # how many there are so far of [[these]]
    head: Keys = ()
    begun, statement = 1, ""
    lines = text.replace("\r\n", "\n").split("\n")
    for number, line in enumerate(lines if len(lines) <= MOST else (), start=1):
        begun, statement = (begun, f"{statement}\n{line}") if statement else (number, line)
        try:
            part = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if statement.lstrip().startswith("["):
            head = _head(part, tables)
            found.setdefault(head, begun)
        else:
            for way in _ways(part):
                found.setdefault((*head, *way), begun)
        statement = ""
    return found


def line_of(lines: dict[Keys, int], keys: Keys, experiment: int) -> int | None:
    """The line of what comes nearest above a value of one of the experiments: its own, or that of all of them."""
    for length in range(len(keys), 0, -1):
        for way in (("experiments", experiment, *keys[:length]), keys[:length]):
            if way in lines:
                return lines[way]
    return None


def _head(part: Any, tables: dict[Keys, int]) -> Keys:
    """The way to the table that a head begins; counts the tables of lists."""
    way: Keys = ()
    while part:
        ((name, part),) = part.items()
        way = (*way, name)
        if isinstance(part, list):
            tables[way] = tables.get(way, 0) + 1
            part = part[0]
        if way in tables:
            way = (*way, tables[way] - 1)
    return way


def _ways(part: Any, above: Keys = ()) -> Iterator[Keys]:
    """The way to every value and table below a table or list, down to where no spec goes."""
    for key, inner in part.items() if isinstance(part, dict) else enumerate(part):
        yield (*above, key)
        if isinstance(inner, dict | list) and len(above) < DEEPEST:
            yield from _ways(inner, (*above, key))
