"""Shards embedded before on the same root: taken over where files, labels and all that is asked are the same.

A changed image gives a split another digest, and the step a folder of its own; what has not changed is copied there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs import inputs
from jobs.images import copies
from jobs.step import Facts, Task, to_json
from store import arrays
from store.artefacts import SPEC, Artefact, as_written, read_json
from store.errors import ArtefactDamaged, StoreError
from store.files import names
from store.images import Manifest, Shard
from store.layout import MANIFEST


@dataclass(frozen=True, slots=True)
class Donor:
    """A unit that is done in another artefact."""

    artefact: Artefact
    unit: str


def donors(task: Task[object], version: int, manifest: Manifest) -> dict[str, Donor]:
    """Unit -> one of another artefact with the same files and labels, embedded as this task asks."""
    root, units = task.output.root, {_key(shard): f"{i:05d}" for i, shard in enumerate(manifest.shards) if shard.files}
    donors: dict[str, Donor] = {}
    for digest in names(root / task.output.step):
        if digest == task.output.digest or len(donors) == len(units):
            continue
        try:
            other = Artefact(root, task.output.step, digest)
            embedded = _manifest(other, task, version)
        except (StoreError, OSError):
            continue  # unfinished, damaged, or none of ours: nothing to take
        for i, shard in enumerate(embedded.shards if embedded else ()):
            if (unit := units.get(_key(shard))) is not None:
                donors.setdefault(unit, Donor(other, f"{i:05d}"))
    return donors


def take(donor: Donor, task: Task[object], unit: str, *, shard: Shard, backbone: Mapping[str, Any]) -> Facts | None:
    """Copy a unit; None where it is not done, is damaged, or was embedded by other versions or on another device.

    shard: what the unit is here; backbone: its facts here and now.
    """
    if not donor.artefact.is_done(donor.unit):
        return None
    try:
        return _copied(donor, task, unit, shard=shard, backbone=backbone)
    except ArtefactDamaged:
        return None


def _copied(donor: Donor, task: Task[object], unit: str, *, shard: Shard, backbone: Mapping[str, Any]) -> Facts | None:
    path = donor.artefact.path / "units" / f"{donor.unit}.json"
    with as_written(path):
        mark = dict(read_json(path))
        if inputs.differences(mark["backbone"], backbone):
            return None
        left_out = [{**item, "shard": shard.name} for item in mark["left_out"]]
        facts = {"items": shard.items, "left_out": left_out, "lost": dict(mark.get("lost", {}))}
    for name in ("embeddings", "labels"):
        arrays.write(task.output.data, f"{name}/{unit}", arrays.read(donor.artefact.data, f"{name}/{donor.unit}"))
    contents = copies.read(donor.artefact.path, donor.unit)
    if contents is not None:
        copies.write(task.output.path, unit, contents)
    return {**facts, "backbone": dict(backbone), "taken_from": f"{donor.artefact.digest}/{donor.unit}"}


def _key(shard: Shard) -> tuple[str, ...]:
    return (shard.files, shard.keys, ",".join(map(str, shard.labels)))


def _manifest(other: Artefact, task: Task[object], version: int) -> Manifest | None:
    """What another artefact embedded, if it was asked the same; None otherwise."""
    with as_written(other.path / SPEC):
        identity = other.spec()
        if identity["version"] != version or identity["spec"] != to_json(task.asks):
            return None
        step, _, digest = identity["inputs"]["manifest"].partition("/")
    return Manifest.from_json(read_json(Artefact(other.root, step, digest).path / MANIFEST))
