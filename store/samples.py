"""Samples: what a reader of an image data set yields, and what every kind of reader offers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from store.locations import ShardFile


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where; `item` is empty when the shard as a whole is meant."""

    shard: str
    item: str
    reason: str


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A file or a member that is no data, by the kind under which it is counted."""

    kind: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample before its label is judged and its image decoded.

    key: its name in the shard, which it keeps for good: requests, and items held out, go by it.
    label: the class, from 0; None when missing or not usable; then `fault` says why.
    pixels: encoded bytes, or (h, w) or (h, w, 3) uint8; None when not asked for or not there.
    """

    key: str
    label: int | None
    pixels: bytes | NDArray[np.uint8] | None
    fault: str | None = None


Entry = Sample | Problem | LeftAlone
"""What a shard holds in one place: a sample, or why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What is known before any shard is opened."""

    shards: Sequence[str]
    """Names, in order."""
    problems: Sequence[Problem] = ()
    """Problems that belong to no shard."""
    left_alone: Mapping[str, int] = field(default_factory=dict)
    """Files and folders that are no data, by kind."""


class Reader(Protocol):
    """What every kind offers; `store.shards.ShardReader` is the base of those that read files, a shard each."""

    def listing(self) -> "list[ShardFile]":
        """Every file that decides what the data set is, in order; only those with an unknown ending are opened."""

    def paths(self) -> list[str]:
        """The full path of every file that holds items, links followed, by which two splits are compared."""

    def files(self, shard: str) -> "list[ShardFile]":
        """The files of one shard."""

    def classes(self) -> tuple[str, ...] | None:
        """The class names by label, or None where labels are plain numbers."""

    def columns(self) -> dict[str, str]:
        """Which columns hold "image" and "label", where there are columns."""

    def survey(self) -> Survey:
        """The names of the shards, and what belongs to no shard."""

    def samples(self, shard: str, *, pixels: bool) -> Iterator[Entry]:
        """The samples of a shard in order, with a Problem in place of each that is left out."""
