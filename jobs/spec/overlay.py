"""Changes of a spec by dotted keys, as `--set` makes them: on the table that was read, before any of it is checked."""

import copy
import re
import tomllib
from collections.abc import Sequence
from typing import Any

from jobs.errors import BadSpec

EXPECTED = 'expected KEY=VALUE, such as seed=3, keys.sample=5000 or \'sweep.classes=["cat", "dog"]\''

PLAIN = re.compile(r"[^\s\[\]{}\"',=#+-][^\"'\n]*")
"""A text without quotes, which a shell has taken away or nobody has typed; lists and tables need theirs."""


def overlaid(table: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A copy of a spec's table with some keys set anew.

    table: is left as it is.
    changes: each a dotted key, "=", and a value as in TOML; what is none, but may be a text, is one. Later ones win.
    raises: BadSpec for a change that is none, that leads through what is no table, or that an experiment sets itself.
    """
    made = copy.deepcopy(table)
    for change in changes:
        keys, value = read(change)
        place = made
        for depth, key in enumerate(keys[:-1], start=1):
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise BadSpec(f"--set {change}: {'.'.join(keys[:depth])} is {place!r} in the spec, expected a table")
        place[keys[-1]] = value
        _check_experiments(made, change, keys)
    return made


def read(change: str) -> tuple[list[str], Any]:
    """The keys of a change, from the outermost table inwards, and the value; raises: BadSpec."""
    name, equals, text = change.partition("=")
    if not equals or not text.strip():
        raise BadSpec(f"--set {change}: found no value, {EXPECTED}")
    try:
        nested = tomllib.loads(f"{name.strip()} = 0")
    except ValueError as error:
        raise BadSpec(f"--set {change}: {name.strip()!r} is no key; {EXPECTED}") from error
    keys: list[str] = []
    inner: Any = nested
    while isinstance(inner, dict):
        if len(inner) != 1:
            raise BadSpec(f"--set {change}: found {len(inner)} keys, {EXPECTED}")
        keys += inner
        (inner,) = inner.values()
    return keys, _value(change, text.strip())


def as_options(changes: Sequence[str]) -> str:
    """Changes as a command line has them; empty without any."""
    return " ".join(f"--set {change}" for change in changes)


def _value(change: str, text: str) -> Any:
    """A value as in TOML, or a text without quotes; raises: BadSpec."""
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError) as error:
        if PLAIN.fullmatch(text):
            return text
        raise BadSpec(
            f"--set {change}: the value is not valid TOML ({error}); {EXPECTED}: texts in lists and tables are written "
            "in double quotes, and the whole in single ones, which the shell takes away"
        ) from error
    if [*found] != ["value"]:
        raise BadSpec(f"--set {change}: found more than one value, {EXPECTED}")
    return found["value"]


def _check_experiments(table: dict[str, Any], change: str, keys: Sequence[str]) -> None:
    """No experiment of the spec may take a change back without a word; raises: BadSpec."""
    found = table.get("experiments")
    for one in found if isinstance(found, list) and keys[0] != "name" else ():
        inner = one
        for key in keys:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if inner is not None:
            raise BadSpec(
                f"--set {change}: the experiment {one.get('name')!r} sets {'.'.join(keys)} itself, to {inner!r}; "
                "change it there"
            )
