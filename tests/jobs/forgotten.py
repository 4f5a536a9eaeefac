"""What tests of exact requests share: models that never saw items, and searches for what is left of those that did."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from dkvb.bottleneck import Bottleneck
from dkvb.counts import count_codes
from dkvb.lda import LdaSettings, discriminants, lda_values
from dkvb.sums import SelectedKeys, Sums, whole_keys
from jobs.results.experiment import find
from store import arrays
from store.errors import StoreError
from tests.jobs.needles import Needles
from tests.paths import REPOSITORY

LDA = {"values": None, "values.method": "lda", "linear": None, "linear.method": "lda"}
"""Changes of the tiny spec: values and the linear head are solved for."""

SOLVED = {**LDA, "embeddings.batch": 11, "sweep.uve.examples": [1, 5]}
"""Those of the experiment that tests of requests share (`solved`).

Batches of the embeddings step, 11 images and fewer, go by the same kernels as those that `learn` fills up to 11; an
ant fewer is still enough for the sweep."""

LONG = 32
"""Bytes that are looked for: no two files hold so many alike by chance."""


def tensor(experiment, label, name):
    return torch.from_numpy(arrays.read(experiment.artefact(label).data, name))


def embeddings_of(experiment):
    return arrays.read_shards(experiment.artefact("embeddings[train]").data, "embeddings")


def labels_of(experiment):
    return torch.from_numpy(arrays.read_shards(experiment.artefact("embeddings[train]").data, "labels")).long()


def item_keys_of(experiment):
    return arrays.read(experiment.artefact("manifest[train]").data, "item_key").tolist()


def rows_of(experiment, k):
    return (labels_of(experiment) == k).nonzero().flatten().tolist()


def without(experiment, gone):
    """Sums, values and selectable keys of a model that is made of the other training items alone."""
    keys, codes = whole_keys(tensor(experiment, "keys", "keys"))[0], tensor(experiment, "codes[train]", "codes")
    labels = labels_of(experiment)
    rest = labels >= 0
    rest[list(gone)] = False
    sums = Sums.of(SelectedKeys.of(codes[rest], keys), labels[rest], v=3)
    used = count_codes(codes[rest], keys.shape[1]) > 0
    return sums, lda_values(discriminants(sums, LdaSettings()), keys), used


def is_without(experiment, gone, *, sums, checkpoint):
    """Whether files of sums and of a model are those of the other items alone."""
    expected, values, selectable = without(experiment, gone)
    model = Bottleneck.load(checkpoint)
    same = torch.equal(model.values, values) and torch.equal(model.selectable, selectable)
    return same and (sums is None or Path(sums).read_bytes() == expected.to_bytes())


def pieces_of_sums(experiment, gone):
    """Bytes that only sums and checkpoints with the items hold: their files, and their numbers as they are."""
    folder, model = experiment.artefact("sums").path / "data.zarr", experiment.artefact("values").path
    files = [path for name in ("class_sums", "moments") for path in (folder / name / "c").rglob("*") if path.is_file()]
    pieces = [path.read_bytes() for path in files]
    (before, values, _), (after, others, _) = without(experiment, ()), without(experiment, gone)
    for old, new in ((before.moments, after.moments), (before.classes, after.classes), (values, others)):
        at = (old != new).flatten().nonzero()[:: max(1, old.numel() // 50)].flatten().tolist()
        flat = old.contiguous().numpy().tobytes()
        size = old.element_size()
        pieces += [flat[size * i : size * i + LONG] for i in at]
    whole = (model / "bottleneck.safetensors").read_bytes()
    return [*(piece for piece in pieces if len(piece) >= LONG), whole]


def pieces_of_embeddings(z, rows):
    """Some rows (n, d_z) float16 as they are in memory."""
    assert z[rows].any(1).all(), "rows of zeros are everywhere"
    return [z[row].tobytes() for row in rows]


def found(root, pieces):
    """Files of a root that hold any of some bytes, those being written too."""
    needles = Needles(pieces)
    files = [path for path in Path(root).rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(root)) for path in files if needles.any_in(path.read_bytes()))


def decoded(root, rows):
    """Arrays of embeddings on a root, decoded, that hold any of some rows."""
    held = []
    for group in Path(root).glob("embeddings/*/data.zarr"):
        for name in ("z", *(f"embeddings/{part.name}" for part in (group / "embeddings").glob("[0-9]*"))):
            try:
                array = arrays.read(group, name)
            except StoreError:
                continue
            if any((array == row).all(1).any() for row in rows):
                held.append(f"{group.parent.name}/{name}")
    return held


def cut_off(root, at, *words):
    """Run dkvb in a process that is killed at one of its writes to the root; at 0: to its end.

    returns: its exit code, and how many writes there were.
    """
    command = [sys.executable, "-m", "tests.jobs.cut_off", str(root), str(at), *map(str, words)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env={**os.environ}, check=False)
    assert "Traceback" not in ended.stderr, ended.stderr
    writes = [line for line in ended.stderr.splitlines() if line.startswith("writes: ")]
    return ended.returncode, int(writes[-1].split()[1]) if writes else 0


def draws(seed, writes, number):
    """Seeded random moments: numbers of writes."""
    return np.random.default_rng(seed).choice(np.arange(1, writes + 1), min(number, writes), replace=False).tolist()


def of_root(root):
    return find(Path(root), None)
