"""Manifests: what a data set of images holds, counted once by `store.images`; here without all that reads images."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

from store.errors import ImageDataError
from store.samples import Problem

FORGOTTEN = -2
"""Label of an item that a request forgot for good: it is not read, and its key is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The items of one shard.

    name: unique in the data set: the file's name below the location, or "folder-00003" where files are cut into shards.
    labels: one for each item in order; -1 where the label is missing or outside the classes, or FORGOTTEN.
    keys: BLAKE2 digest of the items' keys in order, by which `read` recognises the shard.
    files: BLAKE2 digest of the names and sizes of its files; "" where an older version wrote the manifest.
    item_keys: one for each item in order, fresh from a scan; none in a manifest that was read from its JSON.
    """

    name: str
    labels: tuple[int, ...]
    keys: str
    files: str = ""
    item_keys: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def items(self) -> int:
        """How many items the shard holds, those with label -1 included."""
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a data set holds: class names by label, shards in order, and what is wrong with it."""

    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    problems: tuple[Problem, ...]
    left_alone: dict[str, int] | None = field(default_factory=dict)
    """How many files and members are no data, by kind; None in a manifest of an older version, which counted none."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which columns hold "image" and "label", where there are columns."""

    @property
    def items(self) -> int:
        """How many items all shards hold, those with label -1 included."""
        return sum(shard.items for shard in self.shards)

    @property
    def histogram(self) -> list[int]:
        """How many items each class has; items with label -1 belong to none."""
        count = Counter(label for shard in self.shards for label in shard.labels)
        return [count[label] for label in range(len(self.classes))]

    @property
    def unlabelled(self) -> int:
        """How many items have no label that can be used: -1."""
        return sum(shard.labels.count(-1) for shard in self.shards)

    def to_json(self) -> dict[str, Any]:
        """The manifest as plain dicts, lists, strings and integers."""
        return {
            "classes": list(self.classes),
            "problems": [{"shard": p.shard, "item": p.item, "reason": p.reason} for p in self.problems],
            "left_alone": self.left_alone,
            "columns": self.columns,
            "shards": [
                {"name": s.name, "labels": list(s.labels), "keys": s.keys, "files": s.files} for s in self.shards
            ],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The manifest that `to_json` wrote. raises: ImageDataError when `data` is not one."""
        try:
            made = cls(
                classes=tuple(data["classes"]),
                shards=tuple(
                    Shard(name=s["name"], labels=tuple(s["labels"]), keys=s["keys"], files=s.get("files", ""))
                    for s in data["shards"]
                ),
                problems=tuple(Problem(p["shard"], p["item"], p["reason"]) for p in data["problems"]),
                left_alone=None if data.get("left_alone") is None else dict(data["left_alone"]),
                columns=dict(data.get("columns", {})),
            )
            texts = [*made.classes, *(text for s in made.shards for text in (s.name, s.keys, s.files))]
            texts += [*(made.left_alone or {}), *made.columns, *made.columns.values()]
            if not set(map(type, (made.left_alone or {}).values())) <= {int}:
                raise TypeError("a count is not an integer")
            if not set(map(type, texts)) <= {str}:
                raise TypeError("a name is not a string")
            if any(
                {*map(type, s.labels)} - {int} or not FORGOTTEN <= min(s.labels) <= max(s.labels) < len(made.classes)
                for s in made.shards
            ):
                raise ValueError("a label is not the number of a class")
            return made
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ImageDataError(f"not an image manifest ({error!r}); write it again with Images.scan") from error
