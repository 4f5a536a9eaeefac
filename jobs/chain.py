"""The exact requests of a model, one after the other: where they have come to, and what is theirs to know of items."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.classes import class_indexes
from jobs.errors import BadRequest
from jobs.excluded import item_digest
from jobs.item_files import some
from jobs.known import Known
from jobs.learned import METHOD as LEARN
from jobs.learned import Learned, read_learned
from jobs.printable import shown
from jobs.results.experiment import Experiment
from store.artefacts import Artefact, as_written, read_json
from store.errors import ArtefactDamaged
from store.files import exists, names
from store.layout import FORGOTTEN, LEARNED

METHOD = "exact"
"""Of requests that forget, in their specs."""


@dataclass(frozen=True, slots=True)
class State:
    """Where requests have come to."""

    previous: Artefact | None
    """The last request; None: there was none."""
    forgotten: dict[int, str]
    """Row of an item (`jobs.known`) -> the request that took it out."""
    learned: tuple[Learned, ...] = ()
    """What requests learned, the first one first; what one that committed keeps of it stands for all before it."""
    requests: tuple[Artefact, ...] = ()
    """All of them, the first one first."""


def state(experiment: Experiment, items: int) -> State:
    """Follow the requests of a model to the last.

    items: of the training split, skipped ones too.
    raises: ArtefactDamaged where they do not follow each other; NotARoot.
    """
    folder = experiment.root / "unlearned"
    following: dict[str | None, Artefact] = {}
    for name in names(folder):
        made = Artefact(experiment.root, "unlearned", name)
        if not made.done:
            continue
        with as_written(made.path):
            spec = made.spec()
            if spec["method"] not in (METHOD, LEARN) or spec["bottleneck"] != experiment.steps["values"]:
                continue
            before = spec["previous"]
            if before in following:
                raise ArtefactDamaged(f"{folder}: {name} and {following[before].digest} follow the same request")
            following[before] = made
    requests: list[Artefact] = []
    while (before := requests[-1].digest if requests else None) in following:
        requests.append(following.pop(before))
    if following:
        name = next(iter(following.values())).digest
        raise ArtefactDamaged(f"{folder / name}: the request before it is missing; restore it from a backup")
    forgotten: dict[int, str] = {}
    number = items
    for made in requests:
        if is_learning(made):
            number += learned_items(made)
            continue
        path = made.path / FORGOTTEN
        with as_written(path):
            rows = [int(row) for row in read_json(path)["rows"]]
            if rows and not 0 <= min(rows) <= max(rows) < number:
                raise ValueError(f"rows that are none of {number} items")
            forgotten |= dict.fromkeys(rows, made.digest)
    learned = tuple(read_all_learned(requests))
    if items + sum(len(part.keys) for part in learned) != number:
        raise ArtefactDamaged(f"{folder}: requests keep other items than were learned; restore it from a backup")
    return State(requests[-1] if requests else None, forgotten, learned, tuple(requests))


def is_learning(request: Artefact) -> bool:
    """Whether a request learned; raises: StoreError."""
    with as_written(request.path):
        return bool(request.spec()["method"] == LEARN)


def learned_items(request: Artefact) -> int:
    """How many items a request learned; raises: StoreError."""
    with as_written(request.path):
        return int(request.spec()["items"])


def read_all_learned(requests: Sequence[Artefact]) -> Iterator[Learned]:
    """What requests learned, the first one first; of those before the last that keeps what is left, its one file.

    raises: ArtefactDamaged, NotARoot.
    """
    keeps = [place for place, one in enumerate(requests) if not is_learning(one) and exists(one.path / LEARNED)]
    first = keeps[-1] if keeps else 0
    yield from (read_learned(one) for one in requests[first:] if exists(one.path / LEARNED) or is_learning(one))


def wanted_rows(known: Known, past: State, classes: Sequence[str], items: Sequence[str]) -> NDArray[np.int64]:
    """Rows (k,) of all items of some classes, and of single items, in order.

    raises: BadRequest where there is nothing to forget, or something that was forgotten before or never learned.
    """
    purged = {*((known.stored.experiment.spec.get("images") or {}).get("without") or ())}
    if purged and (blank := [name for name in items if item_digest(name) in purged]):
        raise BadRequest(f"{some(blank)} forgotten already, and what was made of them is purged")
    labels = known.labels
    rows = known.rows(items) if items else np.empty(0, np.int64)
    if gone := {row: name for name, row in zip(items, rows.tolist(), strict=True) if row in past.forgotten}:
        raise BadRequest(f"{some([*gone.values()])} forgotten already, by request {past.forgotten[next(iter(gone))]}")
    if skipped := [name for name, row in zip(items, rows.tolist(), strict=True) if labels[row] < 0]:
        raise BadRequest(f"{some(skipped)} among those that were skipped, and was never learned")
    for k in class_indexes(known.classes, list(classes)):
        own = np.flatnonzero(labels == k)
        left = own[~np.isin(own, [*past.forgotten])]
        if not len(left):
            name = shown(known.classes[k])
            none = "none are left on this root" if purged else "it never had any"
            why = f"all {len(own)} were forgotten already" if len(own) else none
            raise BadRequest(f"class {name!r} has no training items to forget: {why}")
        rows = np.concatenate([rows, left])
    return np.unique(rows)
