"""Mistakes in a spec: all that can be seen are told at once, each with its line, key, what was found and expected.

What a key may be is read off the JSON Schema that comes with the package (`keys`), which is made of the spec's classes.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dkvb.limits import nearest, shortened
from jobs.errors import BadSpec
from jobs.printable import shown
from jobs.spec.bounds import LEAST, MOST, Disagree, in_words
from jobs.spec.lines import DEEPEST, Keys
from store.places import has_password

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SCHEMA = Path(__file__).parent / "spec.schema.json"

WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "object": "a table",
}

Node = dict[str, Any]
"""A part of the JSON Schema."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake."""

    keys: Keys
    """What it is about."""
    text: str
    """All that is said of it, its key included."""


class Mistakes(BadSpec):
    """A table that is no spec; where: what the table is called."""

    def __init__(self, mistakes: Sequence[Mistake], where: str = "") -> None:
        super().__init__("\n".join(f"{where}: {one.text}" if where else one.text for one in mistakes))
        self.mistakes = tuple(mistakes)


@cache
def schema() -> Node:
    """The JSON Schema of a spec."""
    found: Node = json.loads(SCHEMA.read_bytes())
    return found


def keys(node: Node) -> dict[str, Node]:
    """The keys of a table, and what each may be; none for one whose keys are the user's."""
    found: dict[str, Node] = node.get("properties", {})
    inner: Node = node.get("additionalProperties") or {}
    return found or dict.fromkeys(node.get("propertyNames", {}).get("enum", ()), inner)


def words(node: Node) -> str:
    """What a value may be, in words."""
    if "type" not in node:
        return " or ".join(one["$comment"] if "enum" in one else WORDS[one["type"]] for one in node["anyOf"])
    kind, limit = node["type"], node.get("$comment", "")
    word = f"a list, each {words(node['items'])}" if kind == "array" else WORDS[kind]
    if not limit or limit.startswith(word):
        return limit or word
    return f"{word}{ {'array': ';', 'string': ':'}.get(kind, ',') } {limit}"


def sample(node: Node) -> str:
    """A value of this kind, as a spec writes it."""
    if "type" not in node:
        return sample(node["anyOf"][0])
    if node["type"] == "array":
        return f"[{sample(node['items'])}]"
    return {"integer": "1", "number": "0.5", "string": '"a"', "boolean": "true"}.get(node["type"], "{}")


def dotted(way: Keys) -> str:
    """The way to a value, as messages write it: `sweep.uva.shares[1]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{shown(part)}" for part in way).removeprefix(".")


def odd(value: Any, way: Keys = ()) -> Iterator[Mistake]:
    """What no value of a spec may be, wherever it stands."""
    if why := _oddity(value, len(way)):
        yield Mistake(way, f"{dotted(way)}: {why}")
    elif isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from odd(part, (*way, key))


def plain(value: Any, depth: int = 0) -> Any:
    """The same as JSON has it, with null for what is odd."""
    if _oddity(value, depth):
        return None
    if isinstance(value, dict):
        return {key: plain(part, depth + 1) for key, part in value.items()}
    return [plain(part, depth + 1) for part in value] if isinstance(value, list) else value


def _oddity(value: Any, depth: int) -> str:
    if isinstance(value, dict | list):
        return "nested too deeply for a spec" if depth > DEEPEST else ""
    if isinstance(value, str):
        secret = "an address with a password in it; a spec is kept and shown, credentials are neither"
        return secret if has_password(value) else ""
    if isinstance(value, int):
        fits = f"found {in_words(value)}, expected a number from {LEAST} to {MOST}"
        return "" if LEAST <= value <= MOST else fits
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"found {value}, expected a finite number"
    return f"found {value}, a date or time, which no key takes"


def told(errors: Sequence["ErrorDetails"], table: Any) -> list[Mistake]:
    """What pydantic found wrong with a table, and what is odd in it: each place once."""
    unknown = [loc(error) for error in errors if is_unknown(error)]
    oddities = [one for one in odd(table) if not any(begins(one.keys, way) for way in unknown)]
    found = {one.keys: one for one in oddities}
    for error in errors:
        follows = not is_unknown(error) and any(begins(loc(error), way) or _meant(error, way) for way in unknown)
        for mistake in () if follows else translated(error):
            if not any(begins(one.keys, mistake.keys) for one in oddities):
                found.setdefault(mistake.keys, mistake)
    return [*found.values()]


def is_unknown(error: "ErrorDetails") -> bool:
    """Whether it is about a key that is not known."""
    return error["type"] == "unexpected_keyword_argument" or error["loc"][-1:] == ("[key]",)


def loc(error: "ErrorDetails") -> Keys:
    """Where it was found."""
    return error["loc"][:-1] if error["loc"][-1:] == ("[key]",) else error["loc"]


def begins(way: Keys, start: Keys) -> bool:
    """Whether a way leads through another's end."""
    return way[: len(start)] == start


def _meant(error: "ErrorDetails", unknown: Keys) -> bool:
    """Whether a key is missing only because it was misspelt."""
    *table, key = error["loc"] or ("",)
    return error["type"] == "missing" and [*unknown[:-1]] == table and nearest(str(unknown[-1]), [str(key)]) != ""


def known(way: Keys) -> tuple[Keys, Node]:
    """The way as far as the schema knows it, and what may stand there."""
    node, taken = schema(), 0
    for part in way:
        inner = node.get("items") if isinstance(part, int) else keys(node).get(part)
        free = node.get("additionalProperties") if "propertyNames" not in node else None
        if not isinstance(inner := inner or free, dict):
            break
        node, taken = inner, taken + 1
    return way[:taken], node


def translated(error: "ErrorDetails") -> Iterator[Mistake]:
    """One error of pydantic in our words: one mistake, or all of a table whose keys do not go together."""
    kind, (way, node) = error["type"], known(loc(error))
    at = f"{dotted(way)}: " if way else ""
    cause = error.get("ctx", {}).get("error")
    if is_unknown(error):
        key = str(loc(error)[-1])
        yield Mistake((*way, key), f"{at}unknown key {shortened(key)}{_hint(key, way, node)}")
    elif kind == "missing":
        key = str(error["loc"][-1])
        above = f"{dotted(way[:-1])}: " if way[:-1] else ""
        yield Mistake(way, f"{above}key {key!r} is missing, expected {words(node)}")
    elif isinstance(cause, Disagree):
        for wrong in cause.wrong:
            names = " and ".join(dotted((*way, key)) for key in wrong.keys) or dotted(way)
            about = re.findall(r"[^.\[\]]+", wrong.keys[0]) if wrong.keys else ()
            yield Mistake((*way, *about), f"{names}: {wrong.text}")
    elif isinstance(cause, ValueError):  # of a limit, or of settings that check themselves: "key: ...", "key = ..."
        begun = re.match(r"(\w+)(: | = )", str(cause))
        inside = (begun[1],) if begun and begun[1] in keys(node) else ()
        joint = "." if inside and begun and begun[2] == ": " else ": "
        yield Mistake((*way, *inside), f"{dotted(way)}{joint}{cause}")
    elif kind == "json_invalid":
        yield Mistake((), f"not a spec: {error['msg']}")
    else:
        here = ""
        if node.get("type") == "array" and isinstance(error["input"], str):
            here = f" (write the list here, such as {sample(node)}; no file is read)"
        yield Mistake(way, f"{at}found {shortened(error['input'])}, expected {words(node)}{here}")


def _hint(key: str, way: Keys, node: Node) -> str:
    """What may be meant by an unknown key of a table, and where else there is such a key."""
    names = [*keys(node)]
    where = [f"in [{dotted(one)}]" if one else "above the first table" for one in _owners(key, (), schema())]
    also = f"; such a key is known {', '.join(where[:-1])}{' and ' if where[:-1] else ''}{where[-1]}" if where else ""
    return f"{nearest(key, [name for name in names if name != key])} (known: {', '.join(names)}){also}"


def _owners(key: str, way: Keys, node: Node) -> Iterator[Keys]:
    if key in keys(node):
        yield way
    for name, inner in node.get("properties", {}).items():
        if name not in ("experiments", "other"):  # which have the keys of others
            yield from _owners(key, (*way, name), inner)
