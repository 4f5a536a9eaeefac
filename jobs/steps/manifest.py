"""Step: the manifest of one split: shards, items, labels, class names, what is wrong with them, what was left alone."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from jobs import inputs
from jobs.excluded import left_out, scanned_before
from jobs.kinds.manifest import VERSION, Asks
from jobs.printable import kinds, shown
from jobs.step import Facts, Task, Work
from store import arrays
from store.artefacts import write_json
from store.coordinates import storable
from store.layout import MANIFEST
from store.manifest import Manifest


def prepare(task: Task[Asks]) -> list[str]:
    """One unit: reading the headers of one split is one pass."""
    return ["manifest"]


def open_work(task: Task[Asks]) -> Work:
    """Count items and labels, from headers alone."""
    arrays.group(task.output.data)  # not by the unit: its metadata are written anew when the step is closed

    def scan(unit: str) -> Facts:
        manifest, names = counted(task)
        write_json(task.output.path / MANIFEST, manifest.to_json())
        keys = np.array(names, object)
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


def counted(task: Task[Asks]) -> tuple[Manifest, list[str]]:
    """The manifest, and the key of every item; items that are left out for good are blank."""
    without = task.asks.images.without
    before = scanned_before(task.output, VERSION, task.asks) if without else None
    if before is not None:
        return left_out(*before, without or ())
    manifest = inputs.images_of(task).scan(on_error="skip" if task.asks.images.skip else "fail")
    keys = [key for shard in manifest.shards for key in shard.item_keys]
    return left_out(manifest, keys, without) if without else (manifest, keys)


def finish(task: Task[Asks]) -> Facts:
    """What was found."""
    facts = dict(task.output.marks()["manifest"])
    return {**facts, "notes": [*_notes(facts)]}


def _notes(facts: dict[str, Any]) -> Iterator[str]:
    if columns := facts.get("columns"):
        yield f"images from column {shown(columns['image'])}, labels from column {shown(columns['label'])}"
    if left := facts.get("left_alone"):
        yield f"left alone, as no data: {kinds(left)}"
