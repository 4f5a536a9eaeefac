"""Step: the manifest of one split: shards, items, labels, class names, what is wrong with them, what was left alone."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jobs import inputs
from jobs.printable import shown
from jobs.spec.images import SplitImages
from jobs.step import Facts, Inputs, Task, Work
from store import arrays
from store.artefacts import write_json
from store.coordinates import storable
from store.layout import MANIFEST

VERSION = 1
LEASE_S = 7200
INPUTS = Inputs()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """What is scanned."""

    images: SplitImages
    listing: str
    """Digest of the names and sizes of the files."""


def prepare(task: Task[Asks]) -> list[str]:
    """One unit: reading the headers of one split is one pass."""
    return ["manifest"]


def open_work(task: Task[Asks]) -> Work:
    """Count items and labels, from headers alone."""

    def scan(unit: str) -> Facts:
        manifest = inputs.images_of(task).scan(on_error="skip" if task.asks.images.skip else "fail")
        write_json(task.output.path / MANIFEST, manifest.to_json())
        keys = np.array([key for shard in manifest.shards for key in shard.item_keys], object)
        arrays.create(task.output.data, "item_key", keys.shape)
        arrays.write(task.output.data, "item_key", storable(keys))
        return {
            "items": manifest.items,
            "shards": len(manifest.shards),
            "left_out": [asdict(problem) for problem in manifest.problems],
            "left_alone": manifest.left_alone,
            "columns": manifest.columns,
        }

    return scan


def finish(task: Task[Asks]) -> Facts:
    """What was found."""
    facts = dict(task.output.marks()["manifest"])
    return {**facts, "notes": [*_notes(facts)]}


def _notes(facts: dict[str, Any]) -> Iterator[str]:
    if columns := facts.get("columns"):
        yield f"images from column {shown(columns['image'])}, labels from column {shown(columns['label'])}"
    if left := facts.get("left_alone"):
        yield f"left alone, as no data: {', '.join(f'{count} {shown(kind)}' for kind, count in left.items())}"
