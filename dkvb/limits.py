"""Limits of settings: what a value may be beyond its type, written beside the type, for Python and readers of files."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from dkvb.errors import DkvbError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

LONGEST = 120
"""Characters of a value that a message shows."""


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """What a value may be: `Annotated[int, whole(1)]`. `check_limits` reads it, and so does pydantic."""

    expected: str
    """In words, behind "expected"."""
    holds: Callable[[Any], bool]
    keywords: Mapping[str, Any]
    """The same in JSON Schema, as far as that can say it."""

    def check(self, value: Any) -> Any:
        """The value, which has the right type; raises: ValueError saying what was found and what was expected."""
        if not self.holds(value):
            raise ValueError(self.refusal(value))
        return value

    def refusal(self, value: Any) -> str:
        """What is said of a value that is not allowed, with the nearest choice if one is near."""
        hint = nearest(value, self.keywords["enum"]) if "enum" in self.keywords else ""
        return f"found {shortened(value)}, expected {self.expected}{hint}"

    def __get_pydantic_core_schema__(self, source: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        from pydantic_core.core_schema import no_info_after_validator_function

        return no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, made: "CoreSchema", handler: "GetJsonSchemaHandler") -> dict[str, Any]:
        return {**handler(made), **self.keywords, "$comment": self.expected}


def whole(least: int, most: int | None = None) -> Limit:
    """A whole number from the least on, up to the most where there is one."""
    if most is None:
        return Limit(f"{least} or more", lambda found: bool(found >= least), {"minimum": least})
    words = f"a whole number from {least} to {most}"
    return Limit(words, lambda found: bool(least <= found <= most), {"minimum": least, "maximum": most})


def above(low: float, most: float | None = None) -> Limit:
    """A finite number above the low one, and at most the other where there is one."""
    words = f"a number above {low:g}" + ("" if most is None else f", at most {most:g}")
    keywords = {"exclusiveMinimum": low} | ({} if most is None else {"maximum": most})
    high = math.inf if most is None else most
    return Limit(words, lambda found: math.isfinite(found) and low < found <= high, keywords)


def at_least(least: float) -> Limit:
    """A finite number from the least on."""
    return Limit(f"{least:g} or more", lambda found: math.isfinite(found) and found >= least, {"minimum": least})


def from_to(least: float, most: float) -> Limit:
    """A number in [least, most]."""
    words = f"a number in [{least:g}, {most:g}]"
    return Limit(words, lambda found: bool(least <= found <= most), {"minimum": least, "maximum": most})


def from_below(least: float, high: float) -> Limit:
    """A number in [least, high)."""
    words = f"a number in [{least:g}, {high:g})"
    return Limit(words, lambda found: bool(least <= found < high), {"minimum": least, "exclusiveMaximum": high})


def one_of(*choices: str) -> Limit:
    """One of a few texts."""
    *first, last = (f'"{choice}"' for choice in choices)
    words = f"{', '.join(first)} or {last}" if first else last
    return Limit(words, lambda found: found in choices, {"enum": list(choices)})


def different(what: str) -> Limit:
    """A list of one or more, all different; what: "one or more different names"."""
    return Limit(what, all_different, {"minItems": 1, "uniqueItems": True})


def all_different(found: Collection[Any]) -> bool:
    """Whether there are some, and no two are equal."""
    return 0 < len(found) == len(set(found))


def nearest(word: str, known: Collection[str]) -> str:
    """A hint at the nearest of the known words, to be put behind a message; empty where none is near."""
    same = [one for one in known if one.casefold() == word.casefold()]
    near = same or get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def shortened(value: object) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def check_limits(settings: object, error: type[DkvbError]) -> None:
    """Whether all fields of a dataclass but None keep their limits; raises: the error for the first that does not."""
    made: Any = type(settings)
    for name, limit in _limits(made):
        value = getattr(settings, name)
        if value is not None and not limit.holds(value):
            raise error(f"{name}: {limit.refusal(value)}")


@cache
def _limits(settings: type) -> tuple[tuple[str, Limit], ...]:
    """Name of the field, and a limit of it."""
    hints = get_type_hints(settings, include_extras=True)
    return tuple((name, limit) for name, hint in hints.items() for limit in _of(hint))


def _of(hint: Any) -> Iterator[Limit]:
    yield from (part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Limit))
    if get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from _of(part)


def check_known(error: Callable[[str], Exception], field: str, value: str, known: Sequence[str]) -> None:
    """Check that a value is one of those known; raises: the error, naming the nearest."""
    if value not in known:
        near = ", ".join(get_close_matches(value, known, n=3, cutoff=0.3) or known[:3])
        raise error(f"{field} = {value!r} is unknown; the nearest known: {near}")
