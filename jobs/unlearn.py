"""One request: make the trained bottleneck forget classes, now. The mask is made of counts or codes, never of a label.

It is on disk before torch and polars are imported: that alone takes longer than the request. What it did is measured
then, on training and on test items, which have no part in what is masked.
"""

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from dkvb import orders
from dkvb.checkpoint import MASK_FORMAT, mapped
from dkvb.errors import DkvbError
from jobs import certificate
from jobs.certificate import Asker, private_key
from jobs.classes import class_hits, class_indexes, ranked_order, votes_of
from jobs.errors import BadRequest
from jobs.evidence import UNLEARNED
from jobs.kept import kept_folders
from jobs.provenance import surroundings
from jobs.results.experiment import Experiment
from jobs.unlearned import VERSION, Effect, MaskSpec, Unlearned
from store import arrays
from store.arrays import StoredArray
from store.artefacts import Artefact, as_written, digest
from store.checksums import DONE, checked_on_disk, ledger
from store.errors import ArtefactDamaged, NotARoot, StoreError
from store.files import exists, write_atomic
from store.layout import CHECKPOINT, MASK
from store.places import Place
from store.recording import recording

if TYPE_CHECKING:
    from jobs.query.measure import Measured

METHODS = ("uva", "uve")


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
    """Instead of N: the smallest N whose pairs hold this share of the classes' training activations (uve: of each
    class's by itself). With scope "per-codebook" it is held in every codebook."""
    scope: str = "global"
    """Of uva."""
    rank: str | None = None
    """Of uva, what pairs are ranked by, of `dkvb.orders.RANKS`; None: what the sweep ranks them by. A share is one of
    what is ranked."""
    seed: int = 0
    """Of the order of the examples."""

    def __post_init__(self) -> None:
        if not self.classes or not all(isinstance(name, str) for name in self.classes):
            raise BadRequest(f"classes: found {self.classes!r}, expected names, one or more")
        if self.method not in METHODS:
            raise BadRequest(f"method: found {self.method!r}, expected one of {', '.join(METHODS)}")
        if self.scope not in orders.SCOPES:
            raise BadRequest(f"scope: found {self.scope!r}, expected one of {', '.join(orders.SCOPES)}")
        if self.scope != "global" and self.method == "uve":
            raise BadRequest(f"scope: found {self.scope!r}, but uve ranks examples, not pairs: leave it out")
        if self.rank not in (None, *orders.RANKS):
            raise BadRequest(f"rank: found {self.rank!r}, expected one of {', '.join(orders.RANKS)}")
        if self.rank is not None and self.method == "uve":
            raise BadRequest(f"rank: found {self.rank!r}, but uve ranks examples, not pairs: leave it out")
        for name, number in (("budget", self.budget), ("seed", self.seed)):
            if number is not None and not is_whole(number):
                raise BadRequest(f"{name}: found {number!r}, expected a whole number")
        if self.seed < 0:
            raise BadRequest(f"seed: found {self.seed}, expected 0 or more")
        if self.share is not None and (isinstance(self.share, bool) or not isinstance(self.share, int | float)):
            raise BadRequest(f"share: found {self.share!r}, expected a number")
        if self.budget is not None and self.share is not None:
            raise BadRequest("give either a budget N or a share")
        if self.share is not None and not 0 < self.share <= 1:
            raise BadRequest(f"share: found {self.share}, expected more than 0 and at most 1")
        if self.budget is not None and self.budget < 1:
            raise BadRequest(f"budget: found {self.budget}, expected 1 or more")


def is_whole(number: object) -> bool:
    """Whether this is a whole number; True and False are none."""
    return isinstance(number, int) and not isinstance(number, bool)


def make_mask(experiment: Experiment, request: Request, forget: Mapping[int, str]) -> tuple[NDArray[np.bool_], Effect]:
    """The mask of a request, and what it takes away.

    forget: indexes of the classes, and their names.
    returns: (c, m) bool, and its effect.
    raises: BadBudget when N is larger than what there is; BadRequest when the mask would be empty.
    """
    counts = arrays.open_array(experiment.artefact("counts").data, "counts")
    if counts.shape[0] != len(experiment.classes):
        raise NotARoot(f"{experiment.root}: counts of {counts.shape[0]} classes, a model of {len(experiment.classes)}")
    hits = reduce(np.add, (whole_hits(experiment, counts, k, name) for k, name in forget.items()))
    if request.method == "uva":
        rank = request.rank or experiment.rank
        order = ranked_order(
            rank, counts, hits, scope=request.scope, votes=lambda: all_votes(experiment, counts, list(forget))
        )
        if not order.available:
            why = "by which no pair that these classes activate would go; use another rank"
            raise BadRequest(f"rank: found {rank!r}, {why}")
        budget = chosen_budget(request, order, "pairs these classes activate")
        mask = order.mask(budget)
    else:
        mask, budget = example_mask(experiment, request, forget, hits.shape[1])
    if not mask.any():
        what = f"share {request.share:g}" if request.share is not None else "this request"
        raise BadRequest(
            f"{what} is less than one of {int(hits.sum())} activations: nothing would be masked and "
            "nothing forgotten; give a larger share, or leave it out for the rule's N"
        )
    effect = Effect(
        budget=budget,
        pairs_masked=int(mask.sum()),
        pairs_masked_share=float(mask.mean()),
        forget_hit_share=orders.hit_share(hits, mask),
    )
    return mask, effect


def whole_hits(experiment: Experiment, counts: StoredArray, k: int, name: str) -> NDArray[np.int64]:
    """(c, m) hits of one class; each of its training items hits one pair in every codebook.

    raises: ArtefactDamaged where the counts say something else, or no hit at all.
    """
    hits = class_hits(counts, k)
    items, total = np.unique(hits.sum(1)), int(hits.sum())
    with as_written(counts.path):
        recorded = experiment.facts("counts").get("hits", [total] * counts.shape[0])[k]  # none by older versions
    if total == recorded == 0:
        raise BadRequest(f"class {name!r} hits no pair: it has no training items to forget")
    if len(items) != 1 or total != recorded:
        raise ArtefactDamaged(
            f"{counts.path}: class {name!r}: its hits add up to {hits.sum()}, between {items[0]} and {items[-1]} in a "
            "codebook, expected one for each training item in every codebook: the counts were damaged; delete the "
            "folder above data.zarr, and `dkvb run` makes it again"
        )
    return hits


def all_votes(experiment: Experiment, counts: StoredArray, forget: list[int]) -> NDArray[np.float64]:
    """(c, m) the votes of all pairs for some classes (`dkvb.orders.by_vote`); of the checkpoint few rows are read.

    raises: ArtefactDamaged; NotARoot.
    """
    with checked_on_disk(experiment.artefact("values").path / CHECKPOINT) as file:
        values = mapped(file, "values")
        if values.shape != (*counts.shape[1:], counts.shape[0]):
            raise NotARoot(f"{experiment.root}: values {values.shape} (c, m, v), counts {counts.shape} (v, c, m)")
        return votes_of(counts, forget, values)


def example_mask(
    experiment: Experiment, request: Request, forget: Mapping[int, str], m: int
) -> tuple[NDArray[np.bool_], int]:
    """The union of the masks of each class's first N examples, (c, m) bool, and the largest N."""
    codes = arrays.open_array(experiment.artefact("codes[train]").data, "codes")
    labels = arrays.read_shards(experiment.artefact("embeddings[train]").data, "labels")
    if codes.shape[0] != len(labels):
        raise NotARoot(f"{experiment.root}: codes of {codes.shape[0]} training items, labels of {len(labels)}")
    mask, most = np.zeros((codes.shape[1], m), np.bool_), 0
    for k, name in forget.items():
        examples = codes.rows(np.flatnonzero(labels == k))  # reads the chunks that hold such items, no others
        if examples.size and examples.max() >= m:
            raise NotARoot(f"{experiment.root}: codes that name key {examples.max()} of {m}")
        order = orders.by_example(examples, code_hits(examples, m), seed=request.seed)
        budget = chosen_budget(request, order, f"training items of class {name!r}")
        mask |= order.mask(budget)
        most = max(most, budget)
    return mask, most


def code_hits(codes: NDArray[Any], m: int) -> NDArray[np.int64]:
    """(c, m) hits of some items; codes: (n, c) below m, a negative one hits nothing."""
    c = codes.shape[1]
    places = np.maximum(codes, -1) + (1 + (m + 1) * np.arange(c))  # the first of each codebook is of those without
    return np.bincount(places.ravel(), minlength=c * (m + 1)).reshape(c, m + 1)[:, 1:]


def chosen_budget(request: Request, order: orders.RemovalOrder, what: str) -> int:
    """N as asked, or the smallest that holds the share asked, or the rule's; what: names what N counts in the error."""
    if request.budget is not None:
        (budget,) = order.budgets([request.budget], shares=False, what=what)
        return budget
    if request.share is None or request.scope == "global":
        return order.smallest(orders.TAU if request.share is None else request.share)
    rows = zip(order.position[:, None], order.ranked[:, None], strict=True)  # the share is held in every codebook
    return max(orders.RemovalOrder(position, mass, order.available).smallest(request.share) for position, mass in rows)


def unlearn(
    experiment: Experiment,
    request: Request,
    *,
    mask_only: bool = False,
    measured: bool = True,
    asker: Asker | None = None,
    key_file: Path | None = None,
) -> Unlearned:
    """Write mask, unlearned checkpoint and certificate; returns what was done, for people and for an audit file.

    mask_only: no checkpoint; what another request wrote stays.
    measured: what the mask did is measured, once it is on disk.
    asker: who asks, as the certificate says it.
    key_file: an Ed25519 private key (PEM) that signs the certificate.
    raises: BadRequest, BadBudget, BadCheckpoint, StoreError.
    """
    clock = time.perf_counter()
    if key_file is not None:
        private_key(key_file)  # one that is none is told before anything is written
    classes = experiment.classes
    forget = {k: classes[k] for k in class_indexes(classes, request.classes)}
    if "sums" in experiment.steps:
        raise BadRequest(
            f"masks ({request.method}) do not forget on values that are solved for, as those of {experiment.name}: "
            "under a mask the next-nearest key says nearly the same; use `dkvb unlearn --method exact`"
        )
    mask, effect = make_mask(experiment, request, forget)
    spec = MaskSpec(
        version=VERSION,
        classes=list(forget.values()),
        method=request.method if request.method == "uve" else orders.uva_method(request.rank or experiment.rank),
        budget=effect.budget,
        share=request.share,
        tau=orders.TAU if request.budget is None and request.share is None else None,
        scope=request.scope if request.method == "uva" else None,
        seed=request.seed if request.method == "uve" else None,
        bottleneck=experiment.steps["values"],
        counts=experiment.steps["counts"],
    )
    output = Artefact(experiment.root, UNLEARNED, digest(asdict(spec)))
    begun, kept = exists(output.path), earlier_checkpoint(output) if mask_only else {}
    output.reopen()
    output.prepare(asdict(spec))
    header = {"format": MASK_FORMAT, "model": experiment.model, **asdict(spec)}
    try:
        with recording(output.path) as files:
            write_atomic(output.path / MASK, save({"mask": mask}, {"dkvb": json.dumps(header)}))
            mask_seconds = time.perf_counter() - clock
            if not mask_only:
                write_checkpoint(experiment, mask, asdict(spec) | asdict(effect), output.path / CHECKPOINT)
        output.finish({"facts": asdict(effect), **surroundings()}, {**kept, **files})
        seconds = time.perf_counter() - clock
        still_there = kept_folders(experiment, but=[f"{UNLEARNED}/{output.digest}"])
        seen, why_not = measure_mask(experiment, mask, list(forget)) if measured else (None, "as asked")
        body = certificate.body(
            request=asdict(spec) | asdict(effect) | {"still_there": still_there},
            asker=asker or Asker(),
            model=experiment.model,
            files=certified_files(experiment, output),
            measured=None if seen is None else seen.to_json(),
            previous=certificate.last_entry(experiment.root),
        )
        log = certificate.write(certificate.signed(body, key_file), experiment.root, output.path)
    except (DkvbError, StoreError):
        if not begun:  # a request that is refused leaves nothing
            output.remove()
        raise
    return Unlearned(
        spec=spec,
        effect=effect,
        measured=seen,
        not_measured=why_not,
        mask=str(output.path / MASK),
        checkpoint=str(output.path / CHECKPOINT) if exists(output.path / CHECKPOINT) else None,
        mask_only=mask_only,
        mask_seconds=round(mask_seconds, 4),
        seconds=round(seconds, 4),
        still_there=still_there,
        certificate=str(log),
    )


def measure_mask(experiment: Experiment, mask: NDArray[np.bool_], forget: list[int]) -> tuple["Measured | None", str]:
    """What a mask (c, m) did, from stored codes; or None and why it cannot be measured.

    raises: ArtefactDamaged, NotARoot.
    """
    from jobs.query.measure import measure  # takes longer to load than the mask to make
    from jobs.query.stored import Stored

    try:
        return measure(Stored(experiment), mask, forget), ""
    except BadRequest as error:  # a step that it needs is not finished
        return None, str(error)


def certified_files(experiment: Experiment, output: Artefact) -> dict[str, str]:
    """SHA-256 and size of what a certificate speaks of, by path below the root: model before, counts, mask, model."""
    parent, counts = (experiment.artefact(label).path for label in ("values", "counts"))
    files = [parent / CHECKPOINT, counts / DONE, output.path / MASK, output.path / CHECKPOINT]
    return certificate.stamps(experiment.root, files)


def earlier_checkpoint(output: Artefact) -> dict[str, str]:
    """The checkpoint that an earlier request for the same left, with its checksum: a mask alone leaves it.

    raises: ArtefactDamaged where nobody can tell what it holds.
    """
    known = ledger(output.path)
    return {CHECKPOINT: known.files[CHECKPOINT]} if known is not None and CHECKPOINT in known.files else {}


def load_torch() -> Any:
    """Import torch, which takes a second."""
    import torch

    return torch


def write_checkpoint(experiment: Experiment, mask: NDArray[np.bool_], header: Mapping[str, Any], path: Place) -> None:
    """Write the unlearned model; mask: (c, m); header: what its own says of the request."""
    with ThreadPoolExecutor(1) as thread:
        torch_at_hand = thread.submit(load_torch)  # takes longer than checking the file meanwhile
        with checked_on_disk(experiment.artefact("values").path / CHECKPOINT) as file:
            torch = torch_at_hand.result()
            from dkvb.bottleneck import Bottleneck

            bottleneck = Bottleneck.load(file)
    bottleneck.header["unlearned"] = dict(header)
    write_atomic(path, bottleneck.masked(torch.from_numpy(mask)).parts())
