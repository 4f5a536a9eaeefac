"""One request: make the trained bottleneck forget classes, now. Reads counts or codes, never a test label.

The mask is on disk before torch is imported: that alone takes longer than the request.
"""

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import save

from dkvb import orders
from dkvb.checkpoint import MASK_FORMAT
from dkvb.errors import DkvbError
from dkvb.statistics import clopper_pearson
from jobs.classes import class_hits, class_indexes
from jobs.errors import BadRequest
from jobs.printable import shown
from jobs.provenance import surroundings
from jobs.results import headline
from jobs.results.experiment import Experiment
from store import arrays
from store.arrays import StoredArray
from store.artefacts import PROVENANCE, Artefact, as_written, digest
from store.checksums import DONE, checked_on_disk, ledger
from store.errors import ArtefactDamaged, NotARoot, StoreError
from store.files import exists, write_atomic
from store.layout import CHECKPOINT, MASK
from store.places import Place
from store.recording import recording

VERSION = 3
"""Raised whenever the same request would give another mask, so that no folder holds a mask and a checkpoint of two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be forgotten, and how far."""

    classes: list[str]
    """Names; several are forgotten together."""
    method: str = "uva"
    """ "uva" or "uve"."""
    budget: int | None = None
    """N: pairs (uva) or examples of each class (uve). Without budget and share N is that of the rule: the smallest
    whose pairs hold `dkvb.orders.TAU` of the classes' training activations (uve: of each class's by itself)."""
    share: float | None = None
    """Instead of N: the smallest N whose pairs hold this share of the classes' training activations (uva), or this
    share of each class's training items (uve). With scope "per-codebook" it is held in every codebook."""
    scope: str = "global"
    """Of uva."""
    seed: int = 0
    """Of the order of the examples."""

    def __post_init__(self) -> None:
        if self.budget is not None and self.share is not None:
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
    raises: BadBudget when N is larger than what there is; BadRequest when the mask would be empty.
    """
    counts = arrays.open_array(experiment.artefact("counts").data, "counts")
    if counts.shape[0] != len(experiment.classes):
        raise NotARoot(f"{experiment.root}: counts of {counts.shape[0]} classes, a model of {len(experiment.classes)}")
    hits = reduce(np.add, (whole_hits(experiment, counts, k, name) for k, name in forget.items()))
    if request.method == "uva":
        order = orders.by_activation(hits, scope=request.scope)
        if request.budget is not None:
            (budget,) = order.budgets([request.budget], shares=False, what="pairs these classes activate")
        elif request.share is None:
            budget = order.smallest(orders.TAU)
        elif request.scope == "global":
            budget = order.smallest(request.share)
        else:  # held in every codebook
            each = (replace(order, position=p[None], hits=h[None]) for p, h in zip(order.position, hits, strict=True))
            budget = max(codebook.smallest(request.share) for codebook in each)
        mask = order.mask(budget)
    else:
        mask, budget = example_mask(experiment, request, forget, hits.shape[1])
    if not mask.any():
        asked = f"share {request.share:g}" if request.share is not None else "this request"
        raise BadRequest(
            f"{asked} is less than one of {int(hits.sum())} activations, or than one item: nothing would be masked and "
            "nothing forgotten; give a larger share, or leave it out for the rule's N"
        )
    facts = {
        "budget": budget,
        "pairs_masked": int(mask.sum()),
        "pairs_masked_share": float(mask.mean()),
        "forget_hit_share": orders.hit_share(hits, mask),
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
    mask, most = np.zeros((codes.shape[1], m), np.bool_), 0
    for k, name in forget.items():
        own = codes.rows(np.flatnonzero(labels == k))  # reads the chunks that hold such items, no others
        if own.size and own.max() >= m:
            raise NotARoot(f"{experiment.root}: codes that name key {own.max()} of {m}")
        order = orders.by_example(own, code_hits(own, m), seed=request.seed)
        budget = class_budget(request, order, f"training items of class {name!r}")
        mask |= order.mask(budget)
        most = max(most, budget)
    return mask, most


def code_hits(codes: NDArray[Any], m: int) -> NDArray[np.int64]:
    """(c, m) hits of some items; codes: (n, c) below m, a negative one hits nothing."""
    c = codes.shape[1]
    places = np.maximum(codes, -1) + (1 + (m + 1) * np.arange(c))  # the first of each codebook is of those without
    return np.bincount(places.ravel(), minlength=c * (m + 1)).reshape(c, m + 1)[:, 1:]


def class_budget(request: Request, order: orders.RemovalOrder, what: str) -> int:
    """N of one class for Unlearning via Examples; what: names its items in the error."""
    if request.budget is None and request.share is None:
        return order.smallest(orders.TAU)
    asked = request.budget if request.share is None else request.share
    (budget,) = order.budgets([asked or 0], shares=request.share is not None, what=what)
    return budget


def measured(experiment: Experiment, asked: dict[str, Any]) -> dict[str, Any] | None:
    """What the sweep saw of this very mask: same class, method, N, seed and scope.

    Only said, never used to choose. None where the sweep is not done or has no such row.
    """
    artefact = Artefact(experiment.root, "sweep", experiment.steps["sweep"])
    if artefact.half_closed:
        raise ArtefactDamaged(
            f"{artefact.path / DONE}: is missing, or was not yet written when a run ended; the same `dkvb run` as "
            f"before finishes the sweep, or `dkvb repair {experiment.root}` drops it"
        )
    with as_written(experiment.root):
        grid = dict(experiment.spec["sweep"][asked["method"]] or {}) if artefact.done else {}
    if len(asked["classes"]) != 1 or not grid or grid.get("scope") != asked["scope"]:
        return None
    rows = headline.swept_rows(artefact).filter(
        pl.col("name") == asked["classes"][0],
        pl.col("method") == asked["method"],
        pl.col("seed") == (asked["seed"] or 0),
        pl.col("budget").is_in([0, asked["budget"]]),
    )
    if set(rows["budget"]) != {0, asked["budget"]}:
        return None
    then, now = rows.sort("budget").to_dicts()
    items = headline.before(experiment).items
    with as_written(artefact.path / PROVENANCE):
        counts = {split: items[split][now["class"]] for split in headline.SPLITS}
    found = {split: share_of(now[f"{split}_forget"], counts[split]) for split in headline.SPLITS}
    return {**found, "test_retain": now["test_retain"], "test_retain_before": then["test_retain"]}


def share_of(accuracy: float | None, items: int) -> dict[str, Any]:
    """An accuracy as a count with its Clopper-Pearson 95 % bounds; nulls over no items."""
    if accuracy is None or not items:
        return {"right": None, "items": items, "accuracy": None, "low": None, "high": None}
    right = round(accuracy * items)
    low, high = (float(bound[0]) for bound in clopper_pearson(np.array([right]), np.array([items])))
    return {"right": right, "items": items, "accuracy": right / items, "low": low, "high": high}


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
        "tau": orders.TAU if request.budget is None and request.share is None else None,
        "scope": request.scope if request.method == "uva" else None,
        "seed": request.seed if request.method == "uve" else None,
        "bottleneck": experiment.steps["values"],
        "counts": experiment.steps["counts"],
    }
    output = Artefact(experiment.root, "unlearned", digest(asked))
    begun, stood = exists(output.path), standing_checkpoint(output) if mask_only else {}
    output.reopen()
    output.prepare(asked)
    about = {"format": MASK_FORMAT, "model": experiment.model, **asked}
    try:
        with recording(output.path) as files:
            write_atomic(output.path / MASK, save({"mask": mask}, {"dkvb": json.dumps(about)}))
            mask_seconds = time.perf_counter() - clock
            if not mask_only:
                write_checkpoint(experiment, mask, {**asked, **facts}, output.path / CHECKPOINT)
        output.finish({"facts": facts, **surroundings()}, {**stood, **files})
        seen = measured(experiment, asked)  # takes longer than the mask, and may find a damaged table
    except (DkvbError, StoreError):
        if not begun:  # a request that is refused leaves nothing
            output.remove()
        raise
    return {
        **asked,
        **facts,
        "measured": seen,
        "mask": str(output.path / MASK),
        "checkpoint": str(output.path / CHECKPOINT) if exists(output.path / CHECKPOINT) else None,
        "mask_only": mask_only,
        "mask_seconds": round(mask_seconds, 4),
        "seconds": round(time.perf_counter() - clock, 4),
    }


def standing_checkpoint(output: Artefact) -> dict[str, str]:
    """The checkpoint that an earlier request for the same left, with its checksum: a mask alone leaves it.

    raises: ArtefactDamaged where nobody can tell what it holds.
    """
    known = ledger(output.path)
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
    if done["tau"] is not None:
        chosen = f", the smallest that holds {100 * done['tau']:g} %"
    else:
        chosen = "" if done["share"] is None else f", by share {done['share']:g}"
    checkpoint = done["checkpoint"] or "none, as asked"
    if done["checkpoint"] and done["mask_only"]:
        checkpoint += " (of an earlier request)"
    return "\n".join(
        [
            f"masked: {', '.join(map(shown, done['classes']))} ({done['method']}, N = {done['budget']}{chosen})",
            f"  masked pairs  {done['pairs_masked']} ({100 * done['pairs_masked_share']:.2f} % of all), holding "
            f"{100 * done['forget_hit_share']:.1f} % of the classes' training activations",
            *told_measured(done),
            f"  mask          {done['mask']} ({1000 * done['mask_seconds']:.0f} ms)",
            f"  checkpoint    {checkpoint} ({1000 * done['seconds']:.0f} ms in all)",
        ]
    )


def told_measured(done: dict[str, Any]) -> list[str]:
    """What the sweep saw of this mask, or how to have it seen."""
    seen = done["measured"]
    if seen is None:
        if len(done["classes"]) > 1:
            return ["  in the sweep  not measured: it forgets each class by itself"]
        name = {"uva": "pairs", "uve": "examples"}[done["method"]]
        how = f"a sweep of the class with {name} = [{done['budget']}] in [sweep.{done['method']}] measures it"
        return [f"  in the sweep  not measured at this N: {how}"]
    lines = [
        f"  still known   {told_share(seen['train'])} training items of the class",
        f"                {told_share(seen['test'])} test items",
    ]
    worst = max((seen[split]["accuracy"] or 0.0 for split in headline.SPLITS), default=0.0)
    if worst > headline.GONE:
        lines.append(
            f"  NOT forgotten: more than {100 * headline.GONE:g} % still known; give a larger N, up to --share 1"
        )
    if seen["test_retain"] is not None:
        then, now = 100 * seen["test_retain_before"], 100 * seen["test_retain"]
        lines.append(f"  the others    test accuracy {now:.2f} %, before {then:.2f} %")
    return lines


def told_share(share: dict[str, Any]) -> str:
    """A count of items and what it says of others like them."""
    if share["right"] is None:
        return "none of 0"
    bounds = f"95 % interval {100 * share['low']:.2f} to {100 * share['high']:.2f}"
    return f"{share['right']} of {share['items']} ({100 * share['accuracy']:.2f} %, {bounds})"
