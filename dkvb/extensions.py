"""Extensions of other distributions, found by entry points, loaded when a spec names one: methods, metrics, backbones,
readers.

The name of an entry point is the name in the spec. What distribution and version it is from is part of the digests of
what it computes, and is compared on each worker: no result of another version is taken for its own.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from dkvb.errors import ExtensionFailed, ExtensionMissing
from dkvb.limits import Limit, nearest, shortened

METHODS, METRICS, BACKBONES, READERS = "dkvb.methods", "dkvb.metrics", "dkvb.backbones", "dkvb.readers"
WORDS = {METHODS: "method", METRICS: "metric", BACKBONES: "backbone library", READERS: "reader"}
"""Group of entry points -> what one of them is called."""

LONGEST_TEXT = 300
"""Characters of somebody else's message that are shown."""


@dataclass(frozen=True, slots=True)
class Extension:
    """Where an extension is from."""

    group: str
    name: str
    release: str
    """Distribution and version: "lab-unlearning 1.2.0"."""

    def __str__(self) -> str:
        return f"{WORDS[self.group]} {self.name!r} of {self.release}"

    def failed(self, what: str) -> ExtensionFailed:
        """The error for something that it did wrong."""
        return ExtensionFailed(f"{self}: {what}")

    @contextmanager
    def running(self, passed: Callable[[Exception], bool] = lambda error: False, where: str = "") -> Iterator[None]:
        """While its code runs: raises ExtensionFailed, which names it, for any exception but a lack of memory.

        passed: whether another exception is raised as it is; where: what it was at, for the message.
        """
        try:
            yield
        except (ExtensionFailed, MemoryError):
            raise
        except Exception as error:  # it is not our code: whatever is raised is told as its fault
            if passed(error):
                raise
            last = traceback.extract_tb(error.__traceback__)[-1]
            text = " ".join(str(error).split())
            told = f"{type(error).__name__}: {text[:LONGEST_TEXT]} ({Path(last.filename).name}:{last.lineno})"
            raise self.failed(f"{where}: {told}" if where else told) from error

    def load(self) -> Any:
        """What its entry point names, imported; raises: ExtensionMissing, ExtensionFailed."""
        found = _installed(self.group).get(self.name)
        here = None if found is None else release(found)
        if found is None or here != self.release:
            raise ExtensionMissing(
                f"{self}: {'not installed' if here is None else f'found {here}'} where this step runs; install that "
                "version on every machine of the run, the driver's included"
            )
        with self.running():
            return found.load()


def find(group: str, name: str) -> Extension:
    """Look up an installed extension; nothing of it is imported. raises: ExtensionMissing."""
    there = _installed(group)
    if name not in there:
        raise ExtensionMissing(
            f"found {shortened(name)}, expected the name of {described(group)}{nearest(name, there)}"
        )
    return Extension(group, name, release(there[name]))


def releases(group: str, names: Iterable[str] | None) -> dict[str, str] | None:
    """Name -> distribution and version of extensions of a group; None for none. raises: ExtensionMissing."""
    return {name: find(group, name).release for name in names} if names else None


def described(group: str) -> str:
    """In words, which extensions of a group there are: "an installed method ('ascent' of lab-unlearning 1.2.0)"."""
    there = [f"{name!r} of {release(point)}" for name, point in sorted(_installed(group).items())]
    return f"an installed {WORDS[group]} ({', '.join(there) or f'no distribution here has entry points {group!r}'})"


def release(point: EntryPoint) -> str:
    """Distribution and version of an entry point."""
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown distribution"


def _installed(group: str) -> Mapping[str, EntryPoint]:
    """Entry points by name; raises: ExtensionMissing where two distributions give one name."""
    there: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        if (other := there.setdefault(point.name, point)) is not point:
            raise ExtensionMissing(
                f"{WORDS[group]} {point.name!r} is given by {release(other)} and by {release(point)}; uninstall one"
            )
    return there


@dataclass(frozen=True, slots=True, eq=False)
class Named(Limit):
    """A text that is one of our own choices, or the name of an extension of a group."""

    group: str
    own: tuple[str, ...] = ()

    def refusal(self, value: Any) -> str:
        """What is said of a name that is neither, with the nearest, and with what is installed."""
        try:
            there = [*_installed(self.group)]
        except ExtensionMissing as error:
            return str(error)
        near = nearest(value, [*self.own, *there])
        # Where the name is near to none of ours, an extension may be meant that is not installed.
        *own, last = [f'"{choice}"' for choice in self.own] + [described(self.group)] * bool(there or not near)
        expected = f"{', '.join(own)} or {last}" if own else last
        return f"found {shortened(value)}, expected {expected}{near}"


def named(group: str, *own: str) -> Named:
    """One of a few texts, or the name of an extension of that group, which is looked up and not loaded."""
    words = [*(f'"{choice}"' for choice in own), _name_of(group)]
    expected = f"{', '.join(words[:-1])} or {words[-1]}" if own else words[0]
    any_text: Mapping[str, Any] = {"minLength": 1}
    keywords = {"anyOf": [{"enum": [*own]}, any_text]} if own else any_text  # of these, editors complete our own
    return Named(expected, partial(_is_named, group, own), keywords, group, own)


def _name_of(group: str) -> str:
    return f"the name of an installed {WORDS[group]}"


def _is_named(group: str, own: tuple[str, ...], value: str) -> bool:
    if value in own:
        return True
    try:
        return value in _installed(group)
    except ExtensionMissing:
        return False
