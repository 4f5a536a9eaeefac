"""One request: make the trained bottleneck forget classes, now. Reads counts or codes, never a test label.

The mask is on disk before torch is imported: that alone takes longer than the request.
"""

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import save

from dkvb import masks
from dkvb.errors import DkvbError
from jobs.classes import class_hits, class_indexes
from jobs.errors import BadRequest
from jobs.experiment import Experiment
from jobs.provenance import surroundings
from jobs.shown import shown
from store import arrays
from store.arrays import StoredArray
from store.artefacts import Artefact, as_written, digest
from store.checksums import checked_on_disk, ledger
from store.errors import ArtefactDamaged, NotARoot, StoreError
from store.layout import CHECKPOINT, MASK, SWEEP, SWEEP_TABLE
from store.places import Place, exists, remove, write_atomic
from store.recording import recording
from store.tables import read_table

VERSION = 2
"""Raised whenever the same request would give another mask, so that no folder holds a mask and a checkpoint of two."""

DEFAULT_SHARE = 0.95
"""Enough to forget every class of the digits and of CIFAR-10; a share, so that no test label is needed to choose N."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be forgotten, and how far."""

    classes: list[str]
    """Names; several are forgotten together."""
    method: str = "uva"
    """ "uva" or "uve"."""
    budget: int | None = None
    """N: pairs (uva) or examples of each class (uve)."""
    share: float | None = None
    """Instead of N: the smallest N whose pairs hold this share of the classes' training activations (uva), or this
    share of each class's training items (uve). With scope "per-codebook" it is held in every codebook."""
    scope: str = "global"
    """Of uva."""
    seed: int = 0
    """Of the order of the examples."""

    def __post_init__(self) -> None:
        if (self.budget is None) == (self.share is None):
            raise BadRequest("give either a budget N or a share")
        if self.share is not None and not 0 < self.share <= 1:
            raise BadRequest(f"share: found {self.share}, expected more than 0 and at most 1")
        if self.budget is not None and self.budget < 1:
            raise BadRequest(f"budget: found {self.budget}, expected 1 or more")


def make_mask(
    experiment: Experiment, request: Request, forget: Mapping[int, str]
) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    """The mask of a request, and what it does to the training activations.

    forget: indexes of the classes, and their names.
    returns: (c, m) bool, and JSON facts.
    raises: BadBudget when N is larger than what there is.
    """
    counts = arrays.open_array(experiment.artefact("counts").data, "counts")
    if counts.shape[0] != len(experiment.classes):
        raise NotARoot(f"{experiment.root}: counts of {counts.shape[0]} classes, a model of {len(experiment.classes)}")
    hits = reduce(np.add, (whole_hits(experiment, counts, k, name) for k, name in forget.items()))
    if request.method == "uva":
        available = masks.activated_pairs(hits, scope=request.scope)
        if request.share is None:
            (budget,) = masks.budgets(
                [request.budget or 0], available, shares=False, what="pairs these classes activate"
            )
        elif request.scope == "global":
            budget = masks.smallest_budget(hits, request.share)
        else:
            budget = max(masks.smallest_budget(row[None], request.share) for row in hits)
        mask = masks.activation_positions(hits, scope=request.scope) < budget
    else:
        mask, budget = example_mask(experiment, request, forget, hits.shape[1])
    facts = {
        "budget": budget,
        "pairs_masked": int(mask.sum()),
        "pairs_masked_share": float(mask.mean()),
        "forget_hit_share": masks.hit_share(hits, mask),
    }
    return mask, facts


def whole_hits(experiment: Experiment, counts: StoredArray, k: int, name: str) -> NDArray[np.int64]:
    """(c, m) hits of one class; each of its training items hits one pair in every codebook.

    raises: ArtefactDamaged where the counts say something else, or no hit at all.
    """
    hits = class_hits(counts, k)
    items, total = np.unique(hits.sum(1)), int(hits.sum())
    with as_written(counts.path):
        said = experiment.facts("counts").get("hits", [total] * counts.shape[0])[k]  # none by older versions
    if total == said == 0:
        raise BadRequest(f"class {name!r} hits no pair: it has no training items to forget")
    if len(items) != 1 or total != said:
        raise ArtefactDamaged(
            f"{counts.path}: class {name!r}: its hits add up to {hits.sum()}, between {items[0]} and {items[-1]} in a "
            "codebook, expected one for each training item in every codebook: the counts were damaged; delete the "
            "folder above data.zarr, and `dkvb run` makes it again"
        )
    return hits


def example_mask(
    experiment: Experiment, request: Request, forget: Mapping[int, str], m: int
) -> tuple[NDArray[np.bool_], int]:
    """The union of the masks of each class's first N examples."""
    codes = arrays.open_array(experiment.artefact("codes[train]").data, "codes")
    labels = arrays.read_shards(experiment.artefact("embeddings[train]").data, "labels")
    if codes.shape[0] != len(labels):
        raise NotARoot(f"{experiment.root}: codes of {codes.shape[0]} training items, labels of {len(labels)}")
    grid, shares = ([request.share], True) if request.share is not None else ([float(request.budget or 0)], False)
    mask, most = np.zeros((codes.shape[1], m), np.bool_), 0
    for k, name in forget.items():
        own = codes.rows(np.flatnonzero(labels == k))  # reads the chunks that hold such items, no others
        if own.size and own.max() >= m:
            raise NotARoot(f"{experiment.root}: codes that name key {own.max()} of {m}")
        what = f"training items of class {name!r}"
        (budget,) = masks.budgets(grid, len(own), shares=shares, what=what)
        mask |= masks.example_positions(own, m, seed=request.seed) < budget
        most = max(most, budget)
    return mask, most


def swept(experiment: Experiment, asked: dict[str, Any]) -> dict[str, Any] | None:
    """What the sweep saw for such a request: its largest budget that is not above the one asked for.

    Only said, never used to choose. None where the sweep does not stand or holds no such case.
    """
    artefact = Artefact(experiment.root, "sweep", experiment.steps["sweep"])
    with as_written(experiment.root):
        grid = dict(experiment.spec["sweep"][asked["method"]] or {}) if artefact.done else {}
    if len(asked["classes"]) != 1 or not grid or grid.get("scope") != asked["scope"]:
        return None
    rows = read_table(artefact.path / SWEEP_TABLE, SWEEP).filter(
        pl.col("name") == asked["classes"][0],
        pl.col("method") == asked["method"],
        pl.col("seed") == (asked["seed"] or 0),
        pl.col("budget").is_between(1, asked["budget"]),
    )
    seen = rows.sort("budget").tail(1).select("budget", "test_forget", "test_retain").to_dicts()
    return seen[0] if seen else None


def unlearn(experiment: Experiment, request: Request, *, mask_only: bool = False) -> dict[str, Any]:
    """Write mask and unlearned checkpoint; returns what was done, for people and for an audit file.

    mask_only: no checkpoint; what another request wrote stays.
    raises: BadRequest, BadBudget, BadCheckpoint, StoreError.
    """
    clock = time.perf_counter()
    classes = experiment.classes
    forget = {k: classes[k] for k in class_indexes(classes, request.classes)}
    mask, facts = make_mask(experiment, request, forget)
    asked = {
        "version": VERSION,
        "classes": list(forget.values()),
        "method": request.method,
        "budget": facts["budget"],
        "share": request.share,
        "scope": request.scope if request.method == "uva" else None,
        "seed": request.seed if request.method == "uve" else None,
        "bottleneck": experiment.steps["values"],
        "counts": experiment.steps["counts"],
    }
    output = Artefact(experiment.root, "unlearned", digest(asked))
    begun, stood = exists(output.path), standing_checkpoint(output)
    output.reopen()
    output.prepare(asked)
    with recording(output.path) as files:
        write_atomic(output.path / MASK, save({"mask": mask}, {"dkvb": json.dumps({"format": "dkvb-mask/1", **asked})}))
        mask_seconds = time.perf_counter() - clock
        if not mask_only:
            try:
                write_checkpoint(experiment, mask, {**asked, **facts}, output.path / CHECKPOINT)
            except (DkvbError, StoreError):
                if not begun:  # a request that is refused leaves nothing
                    remove(output.path)
                raise
    output.finish({"facts": facts, **surroundings()}, {**stood, **files})
    return {
        **asked,
        **facts,
        "swept": swept(experiment, asked),
        "mask": str(output.path / MASK),
        "checkpoint": None if mask_only else str(output.path / CHECKPOINT),
        "mask_seconds": round(mask_seconds, 4),
        "seconds": round(time.perf_counter() - clock, 4),
    }


def standing_checkpoint(output: Artefact) -> dict[str, str]:
    """The checkpoint that an earlier request for the same left, with its checksum: a mask alone leaves it."""
    try:
        known = ledger(output.path)
    except ArtefactDamaged:  # nobody can tell what it holds
        remove(output.path / CHECKPOINT)
        return {}
    return {name: known.files[name] for name in (CHECKPOINT,) if known is not None and name in known.files}


def load_torch() -> Any:
    """The library, which takes a second to load."""
    import torch

    return torch


def write_checkpoint(experiment: Experiment, mask: NDArray[np.bool_], said: dict[str, Any], path: Place) -> None:
    """Write the unlearned model; said: what its header tells of the request."""
    with ThreadPoolExecutor(1) as thread:
        torch_at_hand = thread.submit(load_torch)  # takes longer than checking the file meanwhile
        with checked_on_disk(experiment.artefact("values").path / CHECKPOINT) as file:
            torch = torch_at_hand.result()
            from dkvb.bottleneck import Bottleneck

            bottleneck = Bottleneck.load(file)
    bottleneck.header["unlearned"] = said
    write_atomic(path, bottleneck.masked(torch.from_numpy(mask)).parts())


def told(done: dict[str, Any]) -> str:
    """What was done, for people."""
    seen = done["swept"]
    tested = (
        f"N = {seen['budget']}: test accuracy {100 * seen['test_forget']:.1f} % on the class, "
        f"{100 * seen['test_retain']:.1f} % on the others"
        if seen
        else "not swept: measure before you rely on it"
    )
    return "\n".join(
        [
            f"masked: {', '.join(map(shown, done['classes']))} ({done['method']}, N = {done['budget']})",
            f"  masked pairs  {done['pairs_masked']} ({100 * done['pairs_masked_share']:.2f} % of all), holding "
            f"{100 * done['forget_hit_share']:.1f} % of the classes' training activations",
            f"  in the sweep  {tested}",
            f"  mask          {done['mask']} ({1000 * done['mask_seconds']:.0f} ms)",
            f"  checkpoint    {done['checkpoint'] or 'none, as asked'} ({1000 * done['seconds']:.0f} ms in all)",
        ]
    )
