"""What a mask did to all training and test items, from stored codes: the mask of one class at the rule's N.

The reference is two forward passes, whole and masked, over the same embeddings by the same kernels: `ratio` is how many
times faster the stored codes are. `limit` is what has to be done whatever the program: the files of codes, lists and
embeddings read, hashed and unpacked on all cores, and the searches of entries whose whole list is masked at the rate of
a matrix product; `searched` is their share. `without` is a mask of a tenth of the class's pairs, under which few lists
end. Warm: files lie in the page cache. At most 50,000 training items.
"""

import hashlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numcodecs import blosc, zstd
from synthetic import D_K, Scene, items, scene
from timing import matmul_rate, median, report, size

from dkvb.checkpoint import identity
from dkvb.codes import encode
from dkvb.neighbours import neighbours
from dkvb.orders import TAU, by_activation
from dkvb.redirection import BEYOND
from dkvb.remaining import redirected
from jobs.query.measure import measure
from jobs.query.stored import Stored
from jobs.results.experiment import find
from jobs.step import SPLITS
from store import arrays
from store.artefacts import Artefact, open_root, write_json
from store.files import write_atomic
from store.layout import BLOCK, CHECKPOINT, Codec, layout_of

K = 1
KINDS = {"embeddings": "z", "codes": "codes", "neighbours": "neighbours"}
LABELS = (*(f"{kind}[{split}]" for kind in KINDS for split in SPLITS), "values", "counts")
STEPS = {label: f"{i:016d}" for i, label in enumerate(LABELS)}


def build(root: Path, built: Scene, splits: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    """A root with what a measurement reads; splits: embeddings and labels."""
    write_json(open_root(root, create=True) / "experiments" / "x.json", {"name": "x", "spec": {}, "steps": STEPS})
    made = {label: Artefact(root, label.partition("[")[0], digest) for label, digest in STEPS.items()}
    model = built.model
    parts = model.projection, model.keys
    for split, (z, labels) in splits.items():
        data = {kind: made[f"{kind}[{split}]"].data for kind in KINDS}
        content = {
            "embeddings": z,
            "codes": encode(z, *parts, selectable=model.selectable),
            "neighbours": neighbours(z, *parts, selectable=model.selectable),
        }
        arrays.create(data["embeddings"], "label", (len(z),), dims=("item",))
        arrays.write(data["embeddings"], "label", labels.int().numpy())
        for kind, name in KINDS.items():
            arrays.create(data[kind], name, tuple(content[kind].shape))
            for start in range(0, len(z), BLOCK):
                arrays.write(data[kind], name, content[kind][start : start + BLOCK].numpy(), start=start)
    for name in ("counts", "counts_by_codebook"):
        arrays.create(made["counts"].data, name, built.counts.shape, dtype="uint16")
        arrays.write(made["counts"].data, name, built.counts)
    header = {"classes": [f"class-{k}" for k in range(len(built.counts))]}
    write_atomic(made["values"].path / CHECKPOINT, model.parts())
    for artefact in made.values():
        artefact.finish({"facts": {**header, "model": identity(model.header)}})


def files(root: Path) -> list[tuple[str, Path]]:
    """The chunks that a measurement reads, and of which array each is."""
    return [
        (name, path)
        for label, digest in STEPS.items()
        if (name := KINDS.get(kind := label.partition("[")[0])) is not None
        for path in sorted((root / kind / digest / "data.zarr" / name / "c").rglob("*"))
        if path.is_file()
    ]


def read_all(chunks: list[tuple[str, Path]]) -> None:
    """Read, hash and unpack files on all cores."""

    def one(at: tuple[str, Path]) -> None:
        data = at[1].read_bytes()
        hashlib.sha256(data).digest()
        {Codec.ZSTD: zstd, Codec.BLOSC: blosc}[layout_of(at[0]).codec].decompress(data)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(one, chunks))


def main() -> None:
    """Measure two masks of one class."""
    s = size(__doc__ or "")
    v = s["v"]
    built = scene(s)
    model = built.model
    labels = torch.arange(v).repeat_interleave(min(s["per_class"], 50_000 // v))
    splits = {"train": (items(labels, s, seed=5), labels), "test": (built.z, built.labels)}
    z = torch.cat([each[0] for each in splits.values()])
    order = by_activation(built.counts[K].astype(np.int64))
    rule = order.smallest(TAU)
    rate = matmul_rate()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        build(root, built, splits)
        stored, chunks = Stored(find(root, None)), files(root)
        for what, n in (("rule", rule), ("without", max(1, rule // 10))):
            mask = order.mask(n)
            taken = median(lambda mask=mask: measure(stored, mask, [K]))  # type: ignore[misc]
            masked = model.masked(torch.from_numpy(mask))
            passes = median(lambda masked=masked: [each.logits(z) for each in (model, masked)], runs=1)  # type: ignore[misc]
            searches = 0
            for split in SPLITS:
                after = redirected(stored.codes(split)[...], stored.neighbours(split)[...], mask)
                searches += int((after == BEYOND).sum())
            left = float((model.selectable.numpy() & ~mask).sum(1).mean())
            flops = 2 * searches * (s["d_z"] * 16 * -(-D_K // 16) + left * D_K)
            limit = median(lambda: read_all(chunks)) + flops / rate
            share = searches / (len(z) * s["c"])
            rows.append(
                {
                    "what": what,
                    "s": taken,
                    "two passes s": passes,
                    "ratio": passes / taken,
                    "limit s": limit,
                    "of limit": limit / taken,
                    "searched": share,
                }
            )
    report("measure", rows, items=len(z), **s)


if __name__ == "__main__":
    main()
