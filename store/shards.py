"""Shards: what readers of tars, of Parquet and of other distributions' files derive from: each file is a shard."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from store.locations import Location, ShardFile
from store.samples import Entry, Survey


class ShardReader(ABC):
    """A reader of files that match a pattern, `images.train` or `images.test`: each is a shard.

    place: where the images lie. Of it a reader may use `place.fs`, the fsspec file system; `place.path(name)`, a full
        path there; `place.named_classes`, the names in the class file; and `place.source`, what the spec says.
    """

    def __init__(self, place: Location) -> None:
        self.place = place

    @abstractmethod
    def samples(self, shard: str, *, pixels: bool) -> Iterator[Entry]:
        """The samples of a shard, always the same in the same order, each under a key that the shard has once.

        shard: the name of the file, for `open`; pixels: whether images are wanted too, or labels alone.
        yields: a Sample; in place of one that cannot be had a Problem; for what is no data a LeftAlone.
        raises: OSError, ImageDataError where the shard as a whole cannot be read.
        """

    def classes(self) -> tuple[str, ...] | None:
        """The class names by label: those of the class file (`images.classes`), or None: labels are their names."""
        return self.place.named_classes

    def open(self, shard: str) -> Any:
        """A shard as a binary file, to be closed after use; raises: OSError."""
        return self.place.fs.open(self.place.path(shard), "rb")

    def listing(self) -> list[ShardFile]:
        """The shards, and the file of class names: digests are made of their names and sizes."""
        shards = [ShardFile(name=name, bytes=size) for name, size in self.place.matches().items()]
        return shards + self.place.class_file()

    def paths(self) -> list[str]:
        """The shards' full paths, of which no two splits may share one."""
        return [self.place.real(name, link=True) for name in self.place.matches()]

    def files(self, shard: str) -> list[ShardFile]:
        """The shard itself."""
        return [ShardFile(name=shard, bytes=int(self.place.fs.size(self.place.path(shard))))]

    def columns(self) -> dict[str, str]:
        """No columns; a kind that has them says which."""
        return {}

    def survey(self) -> Survey:
        """The files that match the pattern."""
        return Survey(shards=list(self.place.matches()))
