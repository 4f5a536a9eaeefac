"""Items that are left out for good: named in a spec by digests of their keys, and blank in manifests and embeddings.

A digest is that of an item's key, or of SHARD#KEY where other items have the same key.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.step import to_json
from store import arrays
from store.artefacts import SPEC, Artefact, as_written, read_json
from store.errors import StoreError
from store.files import names
from store.layout import MANIFEST
from store.manifest import FORGOTTEN, Manifest, Shard


def item_digest(text: str) -> str:
    """16 hex digits that stand for an item."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def item_digests(shards: Sequence[Shard], keys: Sequence[str], rows: Collection[int]) -> list[str]:
    """The digests of some items; shards, keys: of all."""
    times, wanted, found, row = Counter(keys), {*rows}, [], 0
    for shard in shards:
        for key in keys[row : row + shard.items]:
            if row in wanted:
                found.append(item_digest(key if times[key] == 1 else f"{shard.name}#{key}"))
            row += 1
    return found


def left_out(manifest: Manifest, keys: Sequence[str], without: Collection[str]) -> tuple[Manifest, list[str]]:
    """A manifest and the keys of its items, blank where an item is among those of the digests."""
    gone, rest, blank = {*without}, iter(keys), list[str]()
    shards = []
    for shard in manifest.shards:
        labels = []
        for label in shard.labels:
            key = next(rest)
            hit = key != "" and (item_digest(key) in gone or item_digest(f"{shard.name}#{key}") in gone)
            labels.append(FORGOTTEN if hit else label)
            blank.append("" if hit else key)
        shards.append(replace(shard, labels=tuple(labels), item_keys=()))
    return replace(manifest, shards=tuple(shards)), blank


def without_of(asks: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """What a step was asked, as JSON, and the items that it was to leave out."""
    images = dict(asks["images"])
    without = {*(images.pop("without", None) or ())}
    return {**asks, "images": images}, without


def scanned_before(output: Artefact, version: int, asks: object) -> tuple[Manifest, list[str]] | None:
    """A manifest of the same files on the same root that leaves out fewer items, and its keys; None: there is none."""
    wanted, without = without_of(to_json(asks))
    for name in names(output.root / output.step):
        other = Artefact(output.root, output.step, name)
        try:
            with as_written(other.path / SPEC):
                identity = other.spec()
                same, fewer = without_of(identity["spec"])
                if name == output.digest or not other.done or identity["version"] != version or same != wanted:
                    continue
                if fewer <= without:
                    found = Manifest.from_json(read_json(other.path / MANIFEST))
                    return found, arrays.read(other.data, "item_key").tolist()
        except StoreError:
            continue  # damaged, or not finished: the images are read
    return None


def forgotten_rows(shard: Shard) -> NDArray[np.bool_]:
    """(n,) which items of a shard are left out for good."""
    return np.array([label == FORGOTTEN for label in shard.labels], np.bool_)
