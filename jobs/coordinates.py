"""Names along the axes of what steps store: classes, items and pairs, written beside the arrays when a step is closed.

They follow from what the step and those before it wrote, so `dkvb root upgrade` adds them to artefacts of older
versions in the same way.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from jobs.step import SPLITS
from store import arrays
from store.artefacts import Artefact, as_written, read_json
from store.coordinates import Coordinate, consolidate, join_columns, join_rows, label, rename_axes
from store.images import Manifest
from store.layout import ARRAYS, MANIFEST


def add(output: Artefact) -> list[Coordinate]:
    """Write the coordinates of an artefact's arrays, and in one piece what its units wrote in parts.

    returns: the coordinates; none of a step without arrays.
    raises: NotARoot, ArtefactMissing, ArtefactDamaged where what they follow from cannot be read.
    """
    if output.step == "embeddings":
        join_rows(output.data, "embeddings")
    if output.step == "lira":
        join_columns(output.data, "margins")
    along = STEPS_WITH_ARRAYS[output.step](output) if output.step in STEPS_WITH_ARRAYS else []
    label(output.data, along)
    return along


def seal(output: Artefact, along: Sequence[Coordinate]) -> None:
    """Write the metadata of the group anew, by which readers find all that is in it; nothing for a step without arrays.

    Files that the checksums of a finished artefact list already change here, and not in `add`.

    along: what `add` returned.
    """
    if output.step not in STEPS_WITH_ARRAYS:
        return
    rename_axes(output.data, older_axes(output.step))
    about = {"step": output.step, "version": output.spec()["version"], "digest": output.digest}
    consolidate(output.data, along, about)


def older_axes(step: str) -> list[str]:
    """Arrays of a step whose axes had other names in older versions."""
    return [name for name, layout in ARRAYS.items() if layout.step == step and layout.also]


def item_keys(manifest: Artefact, counted: Manifest) -> NDArray[np.object_]:
    """(n,) keys of a split's items; SHARD#ROW where the version that counted them recorded none."""
    if arrays.promised(manifest.data, "item_key"):
        return arrays.read(manifest.data, "item_key").astype(object)
    return np.array([f"{shard.name}#{row}" for shard in counted.shards for row in range(shard.items)], object)


def _manifest(output: Artefact) -> list[Coordinate]:
    counted = _counted(output)
    labels = np.array([max(k, -1) for shard in counted.shards for k in shard.labels], np.int32)
    return _items(output, counted.classes, labels)


def _embeddings(output: Artefact) -> list[Coordinate]:
    names = _counted(_input(output, "train")).classes
    return _items(_input(output, "manifest"), names, arrays.read_shards(output.data, "labels"))


def _keys(output: Artefact) -> list[Coordinate]:
    c, m = arrays.open_array(output.data, "keys").shape[:2]
    return [_numbers("codebook", c), _numbers("key", m)]


def _codes(output: Artefact) -> list[Coordinate]:
    c = arrays.open_array(output.data, output.step).shape[1]
    return [*_embeddings(_input(output, "embeddings")), _numbers("codebook", c)]


def _counts(output: Artefact) -> list[Coordinate]:
    _, c, m = arrays.open_array(output.data, "counts").shape
    names = _counted(_input(output, "manifest")).classes
    return [Coordinate("class", "class", _texts(names)), _numbers("codebook", c), _numbers("key", m)]


def _sums(output: Artefact) -> list[Coordinate]:
    c, m = arrays.open_array(output.data, "whole_keys").shape[:2]
    names = _counted(_input(output, "manifest")).classes
    return [_numbers("codebook", c), _numbers("key", m), Coordinate("class", "class", _texts(names))]


def _oracles(output: Artefact) -> list[Coordinate]:
    names = _texts(_counted(_input(output, "manifest")).classes)
    without = [mark["class"] for _, mark in sorted(output.marks().items())]
    along = [Coordinate("class", "class", names), Coordinate("forget class", "forget class", names[without])]
    for split in SPLITS:
        items = _embeddings(_input(output, split))
        kept = next(each for each in items if each.name == "label").values >= 0
        along += [
            Coordinate(f"{each.name}_{split}", f"item_{split}", each.values[kept])  # skipped items have no logits
            for each in items
        ]
    return along


def _lira(output: Artefact) -> list[Coordinate]:
    import torch

    from jobs.comparison.halves import members
    from jobs.steps.lira import methods_of

    items = {each.name: each.values for each in _embeddings(_input(output, "train"))}
    kept = np.flatnonzero(items["label"] >= 0)
    labels = torch.from_numpy(items["label"][kept]).long()
    classes = sorted({mark["class"] for mark in output.marks().values()})
    drawn_by = {name: output.spec()["spec"][name] for name in ("items", "seed")}
    rows = kept[np.concatenate([members(labels, k, **drawn_by)[0].numpy() for k in classes])]
    along = [Coordinate(name, "item", values[rows]) for name, values in items.items()]
    names = methods_of(every=output.spec()["spec"].get("every", False))
    return [Coordinate("method", "method", _texts(names)), *along]


STEPS_WITH_ARRAYS: Mapping[str, Callable[[Artefact], list[Coordinate]]] = {
    "manifest": _manifest,
    "embeddings": _embeddings,
    "keys": _keys,
    "codes": _codes,
    "neighbours": _codes,
    "counts": _counts,
    "sums": _sums,
    "oracles": _oracles,
    "lira": _lira,
}
"""Kind of step -> what stands along the axes of its arrays; an input comes before what is made of it."""


def _items(manifest: Artefact, names: Sequence[str], labels: NDArray[np.int32]) -> list[Coordinate]:
    """What stands along the items of a split, skipped ones included; labels: (n,), -1 for a skipped one."""
    counted = _counted(manifest)
    named = np.append(_texts(names), "")  # of -1, a skipped item
    shards = np.repeat(_texts([shard.name for shard in counted.shards]), [shard.items for shard in counted.shards])
    values = {"item_key": item_keys(manifest, counted), "label": labels, "class": named[labels], "shard": shards}
    return [Coordinate(name, "item", along) for name, along in values.items()]


def _input(output: Artefact, name: str) -> Artefact:
    """An artefact of which another was made."""
    with as_written(output.path):
        step, _, digest = output.spec()["inputs"][name].partition("/")
    return Artefact(output.root, step, digest)


def _counted(manifest: Artefact) -> Manifest:
    return Manifest.from_json(read_json(manifest.path / MANIFEST))


def _numbers(axis: str, size: int) -> Coordinate:
    return Coordinate(axis, axis, np.arange(size, dtype=np.int32))


def _texts(texts: Sequence[str]) -> NDArray[np.object_]:
    return np.array([*texts], object)
