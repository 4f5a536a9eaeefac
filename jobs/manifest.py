"""Step: the manifest of one split: shards, items, labels, class names, what is wrong with them."""

from dataclasses import asdict

from jobs import data
from jobs.classes import class_indexes
from jobs.step import Facts, Task, Work
from store.artefacts import write_json
from store.errors import ImageDataError
from store.layout import MANIFEST

VERSION = 1
LEASE_S = 7200


def prepare(task: Task) -> list[str]:
    """One unit: reading the headers of one split is one pass."""
    return ["manifest"]


def open_work(task: Task) -> Work:
    """Count items and labels, from headers alone."""

    def scan(unit: str) -> Facts:
        images = data.images_of(task)
        manifest = images.scan(on_error=task.spec["images"]["on_error"])
        expect = task.where["expect"]
        for what, found in (("items", manifest.items), ("classes", len(manifest.classes))):
            if expect[what] not in (None, found):
                raise ImageDataError(
                    f"{images}: found {found} {what}, the spec's images.expect says {expect[what]}; "
                    "check the location, or correct the spec"
                )
        class_indexes(manifest.classes, task.where["forget"] or [])
        write_json(task.output.path / MANIFEST, manifest.to_json())
        left_out = [asdict(problem) for problem in manifest.problems]
        return {"items": manifest.items, "shards": len(manifest.shards), "left_out": left_out}

    return scan


def finish(task: Task) -> Facts:
    """What was found."""
    return dict(task.output.marks()["manifest"])
