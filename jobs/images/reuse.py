"""Shards embedded before on the same root: taken over where files, labels and all that is asked are the same.

A changed image gives a split another digest, and the step a folder of its own; what has not changed is copied there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs import inputs
from jobs.excluded import forgotten_rows, without_of
from jobs.images import copies
from jobs.step import Facts, Task, Work, to_json
from store import arrays
from store.artefacts import SPEC, Artefact, as_written, read_json
from store.errors import ArtefactDamaged, StoreError
from store.files import names
from store.images import Manifest, Shard
from store.layout import MANIFEST
from store.manifest import FORGOTTEN


@dataclass(frozen=True, slots=True)
class Donor:
    """A unit that is done in another artefact."""

    artefact: Artefact
    unit: str


def donors(task: Task[object], version: int, manifest: Manifest) -> dict[str, Donor]:
    """Unit -> one of another artefact with the same files and labels, embedded as this task asks."""
    root = task.output.root
    units = {_key(shard): (f"{i:05d}", shard) for i, shard in enumerate(manifest.shards) if shard.files}
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
            unit, own = units.get(_key(shard), ("", shard))
            if unit and all(mine in (label, FORGOTTEN) for mine, label in zip(own.labels, shard.labels, strict=True)):
                donors.setdefault(unit, Donor(other, f"{i:05d}"))
    return donors


def all_taken(task: Task[object], version: int, manifest: Manifest) -> Work | None:
    """Copy every unit as it is, by no backbone, where items are left out for good; None where that cannot be done."""
    try:
        with as_written(task.inputs["train"].path / SPEC):
            without = without_of(task.inputs["train"].spec()["spec"])[1]
    except StoreError:
        return None
    sources = donors(task, version, manifest) if without else {}
    whole = len(sources) == len(manifest.shards) and all(one.artefact.is_done(one.unit) for one in sources.values())
    if not sources or not whole:
        return None

    def copy(unit: str) -> Facts:
        return _copied(sources[unit], task, unit, shard=manifest.shards[int(unit)], backbone=None)

    return copy


def take(donor: Donor, task: Task[object], unit: str, *, shard: Shard, backbone: Mapping[str, Any]) -> Facts | None:
    """Copy a unit; None where it is not done, is damaged, or was embedded by other versions or on another device.

    shard: what the unit is here; backbone: its facts here and now.
    """
    if not donor.artefact.is_done(donor.unit):
        return None
    path = donor.artefact.path / "units" / f"{donor.unit}.json"
    try:
        with as_written(path):
            if inputs.differences(read_json(path)["backbone"], backbone):
                return None
        return _copied(donor, task, unit, shard=shard, backbone=backbone)
    except ArtefactDamaged:
        return None


def _copied(donor: Donor, task: Task[object], unit: str, *, shard: Shard, backbone: Mapping[str, Any] | None) -> Facts:
    """Copy a unit, without the items that are left out for good; backbone: None for that of the other one."""
    path, gone = donor.artefact.path / "units" / f"{donor.unit}.json", forgotten_rows(shard)
    with as_written(path):
        mark = dict(read_json(path))
        left_out = [{**item, "shard": shard.name} for item in mark["left_out"]]
        facts = {"items": shard.items, "left_out": left_out, "lost": dict(mark.get("lost", {}))}
    for name, blank in (("embeddings", 0), ("labels", -1)):
        array = arrays.read(donor.artefact.data, f"{name}/{donor.unit}")
        array = np.where(gone.reshape(-1, *[1] * (array.ndim - 1)), np.array(blank, array.dtype), array)
        arrays.write(task.output.data, f"{name}/{unit}", array)
    contents = copies.read(donor.artefact.path, donor.unit)
    if contents is not None:
        copies.write(task.output.path, unit, copies.blank(contents, gone))
    used = mark["backbone"] if backbone is None else backbone
    return {**facts, "backbone": dict(used), "taken_from": f"{donor.artefact.digest}/{donor.unit}"}


def _key(shard: Shard) -> tuple[str, ...]:
    return (shard.files, shard.keys, str(shard.items))


def _manifest(other: Artefact, task: Task[object], version: int) -> Manifest | None:
    """What another artefact embedded, if it was asked the same; None otherwise."""
    with as_written(other.path / SPEC):
        identity = other.spec()
        asked, without = without_of(identity["spec"])
        own, more = without_of(to_json(task.asks))
        if identity["version"] != version or asked != own or not without <= more:
            return None
        step, _, digest = identity["inputs"]["manifest"].partition("/")
    return Manifest.from_json(read_json(Artefact(other.root, step, digest).path / MANIFEST))
