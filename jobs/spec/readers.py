"""Readers of extensions (`dkvb.readers` entry points), and a check of all that they give.

An entry point names what makes a reader of a place: a class that derives from `store.shards.ShardReader`, or anything
that, given a `store.locations.Location`, returns a `store.samples.Reader`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, TypeVar

import numpy as np

from dkvb.extensions import Extension
from dkvb.limits import shortened
from store.errors import StoreError
from store.locations import Location, ShardFile
from store.names import one_form
from store.places import of_a_store
from store.samples import Entry, LeftAlone, Problem, Reader, Sample, Survey

OFFERS = ("listing", "paths", "files", "classes", "columns", "survey", "samples")
"""What a `Reader` has."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ExtendedReader:
    """Makes the reader of an extension; it is pickled as where the extension is from."""

    extension: Extension

    def load(self) -> Callable[[Location], Reader]:
        """What the entry point names; raises: ExtensionMissing unless that version is here; ExtensionFailed."""
        made: Any = self.extension.load()
        if not callable(made):
            expected = "expected a class that derives from store.shards.ShardReader"
            raise self.extension.failed(f"found {made!r}, {expected}")
        return made  # type: ignore[no-any-return]

    def __call__(self, place: Location) -> Reader:
        """The reader of a place, checked whatever it is asked; raises: as `load`, and what a reader may raise."""
        make = self.load()
        with self.extension.running(passed):
            made: Any = make(place)
        if lacks := [name for name in OFFERS if not callable(getattr(made, name, None))]:
            expected = "expected a store.samples.Reader; derive it from store.shards.ShardReader"
            raise self.extension.failed(f"found a {type(made).__name__} without {', '.join(lacks)}, {expected}")
        return CheckedReader(made, self.extension)


def passed(error: Exception) -> bool:
    """Whether what a reader raises says something of the images, not of the reader."""
    return isinstance(error, (OSError, StoreError)) or of_a_store(error)


@dataclass(frozen=True, slots=True)
class CheckedReader:
    """A reader of an extension; raises ExtensionFailed for what it does wrong, and lets errors of images pass."""

    reader: Reader
    extension: Extension

    def listing(self) -> list[ShardFile]:
        """Every file, as `Reader.listing`."""
        return self._listed("listing", self.reader.listing, ShardFile)

    def paths(self) -> list[str]:
        """Full paths, as `Reader.paths`."""
        return self._listed("paths", self.reader.paths, str)

    def files(self, shard: str) -> list[ShardFile]:
        """The files of one shard, as `Reader.files`."""
        return self._listed(f"files({shard!r})", lambda: self.reader.files(shard), ShardFile)

    def classes(self) -> tuple[str, ...] | None:
        """The class names by label in Unicode's composed form, or None."""
        with self.extension.running(passed):
            found: Any = self.reader.classes()
        if found is None:
            return None
        fits = isinstance(found, (tuple, list)) and len(found) > 0 and all(map(is_text, found))
        names = tuple(one_form(name) for name in found) if fits else ()
        if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
            raise self.extension.failed(f"classes: found {twice!r} twice, expected a name for each class")
        if not names:
            raise self.extension.failed(f"classes: found {shortened(found)}, expected a tuple of texts, or None")
        return names

    def columns(self) -> dict[str, str]:
        """Which columns hold what, as `Reader.columns`."""
        with self.extension.running(passed):
            found: Any = self.reader.columns()
        fits = isinstance(found, Mapping) and all(map(is_text, [*found, *found.values()]))
        if not fits:
            raise self.extension.failed(f"columns: found {shortened(found)}, expected a dict of texts")
        return dict(found)

    def survey(self) -> Survey:
        """The shards, as `Reader.survey`."""
        with self.extension.running(passed):
            found: Any = self.reader.survey()
        shards = found.shards if isinstance(found, Survey) else ()
        if not isinstance(found, Survey) or not all(map(is_text, shards)) or len({*shards}) < len(shards):
            raise self.extension.failed(
                f"survey: found {shortened(found)}, expected a Survey of differently named shards"
            )
        return found

    def samples(self, shard: str, *, pixels: bool) -> Iterator[Entry]:
        """The samples of a shard, as `Reader.samples`."""
        keys, where = set[str](), f"shard {shard!r}"
        with self.extension.running(passed, where):
            for entry in self.reader.samples(shard, pixels=pixels):
                if isinstance(entry, Sample):
                    yield self._sample(entry, where, keys)
                elif isinstance(entry, Problem) and all(isinstance(each, str) for each in (entry.item, entry.reason)):
                    yield Problem(shard, entry.item, entry.reason)
                elif isinstance(entry, LeftAlone) and is_text(entry.kind):
                    yield entry
                else:
                    expected = "a Sample, a Problem or a LeftAlone of store.samples"
                    raise self.extension.failed(f"{where}: found {shortened(entry)}, expected {expected}")

    def _sample(self, sample: Sample, where: str, keys: set[str]) -> Sample:
        """The same sample; raises: ExtensionFailed. keys: those before it, to which its own is added."""
        key, pixels = sample.key, sample.pixels
        if not is_text(key) or key in keys:
            what = f"found key {key!r} twice" if is_text(key) else f"found key {shortened(key)}"
            raise self.extension.failed(f"{where}: {what}, expected a text that no other item of the shard has")
        keys.add(key)
        label = _whole(sample.label)
        if label is None and not (sample.label is None and is_text(sample.fault)):
            what = f"label {shortened(sample.label)} with fault {shortened(sample.fault)}"
            expected = "a whole number, or None with a fault that says why"
            raise self.extension.failed(f"{where}: item {key!r}: found {what}, expected {expected}")
        if isinstance(pixels, np.ndarray):
            fits = pixels.dtype == np.uint8 and pixels.size and pixels.shape[2:] in ((), (3,)) and pixels.ndim > 1
            # Its own, as it is decoded by another thread while the reader goes on.
            pixels = pixels.copy() if fits else pixels
            found = f"{pixels.shape} {pixels.dtype}"
        else:
            fits, found = pixels is None or isinstance(pixels, bytes), shortened(pixels)
        if not fits:
            expected = "encoded bytes, or (h, w) or (h, w, 3) uint8"
            raise self.extension.failed(f"{where}: item {key!r}: found pixels {found}, expected {expected}")
        return Sample(key, label, pixels, sample.fault if label is None else None)

    def _listed(self, name: str, listed: Callable[[], Sequence[T]], each: type[T]) -> list[T]:
        """A list, each of a type; raises: ExtensionFailed."""
        with self.extension.running(passed):
            found: Any = listed()
        if not isinstance(found, (list, tuple)) or not all(isinstance(one, each) for one in found):
            raise self.extension.failed(f"{name}: found {shortened(found)}, expected a list of {each.__name__}")
        return list(found)


def is_text(value: object) -> bool:
    """Whether a value is a text of at least one character, which can be written to a file."""
    if not isinstance(value, str):
        return False
    try:
        return b"\0" not in (written := value.encode(errors="surrogateescape")) and bool(written)
    except UnicodeEncodeError:
        return False


def _whole(label: Any) -> int | None:
    """A label as an int, also of NumPy; None for what is no whole number."""
    try:
        return None if isinstance(label, (bool, np.bool_)) else index(label)
    except TypeError:
        return None
