"""One request to forget exactly: items leave the sums, and the values are solved for anew.

What results equals, to the last bit, what values are that never saw the items. Requests follow each other: each begins
with the sums that the one before it left, and names it. Nothing is measured: there is nothing to choose.

A request that commits also destroys what was before it. It counts from the moment that its DONE is there: until then
nothing is destroyed, and afterwards whatever comes next finishes that (`jobs.destroying`).
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dkvb.errors import BadSums
from jobs import certificate, destroying
from jobs.certificate import Asker, private_key
from jobs.certified import certify, prepared
from jobs.chain import METHOD, State, state, wanted_rows
from jobs.classes import class_indexes
from jobs.errors import BadRequest
from jobs.evidence import UNLEARNED, check_signs, entries, purged
from jobs.kept import ELSEWHERE, emptied, folder_text, kept_folders, superseded, test_items, tests_text
from jobs.known import Known
from jobs.learned import left_of
from jobs.printable import shown
from jobs.query.stored import Stored
from jobs.results.experiment import Experiment, texts
from jobs.step import IF_SET, to_json
from jobs.summed_heads import (
    TRAINED,
    Change,
    Changes,
    Done,
    Head,
    head_steps,
    summed,
    summed_heads,
    sums_before,
    trained_heads,
)
from jobs.unlearned import VERSION
from store.artefacts import Artefact, as_written, digest, write_json
from store.files import exists, names, write_atomic
from store.layout import CHECKPOINT, FORGOTTEN, LEARNED, LINEAR, SUMS
from store.recording import recording
from store.tombstones import shred

LIMITS = (
    "Keys were fitted on the items, and stay; the backbone is frozen and still represents them.",
    "The sums before, the checkpoint before, and all that was made of the items stay on this root and where it was "
    "copied to: whoever holds them can undo what was done. The request names them.",
)
LIMITS_OF_COMMIT = (
    LIMITS[0],
    "The sums and checkpoints before, and what requests kept of forgotten items that they learned, are overwritten and "
    "removed on this root as soon as this is written; copies of them, and old blocks where writing does not overwrite "
    "(copy-on-write file systems, snapshots, SSDs, versions of an object store), are not.",
    "What else was made of the items stays on this root and where it was copied to; the request names it.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactRequest:
    """What is to be forgotten: all items of some classes, and single items."""

    classes: Sequence[str] = ()
    items: Sequence[str] = ()
    """What training items are called (`jobs.query.item_keys`); learned ones by their keys."""
    commit: bool = False
    """Whether what was before is destroyed; alone: what earlier requests left, and nothing more is forgotten."""

    def __post_init__(self) -> None:
        if not self.classes and not self.items and not self.commit:
            raise BadRequest("found neither classes nor items, expected one or more to forget")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactSpec:
    """A request, as `spec.json` of its artefact."""

    version: int
    method: str
    classes: list[str]
    """Names of the classes that were asked for."""
    items: int
    """Training items that leave the sums, those of the classes among them."""
    rows: str
    """Digest of their rows."""
    previous: str | None
    """The request before it, by the name of its folder; None: it is the first."""
    bottleneck: str
    """Digest of the values step."""
    sums: str | None
    """Digest of the sums step; None: the values are trained, and not changed."""
    linear: str | None = field(default=None, metadata=IF_SET)
    """Digest of the linear step; None: the linear head is trained, and not changed."""
    commit: bool = field(default=False, metadata=IF_SET)
    """Whether what was before is destroyed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenExactly(Done):
    """What a request to forget did; heads that are trained still know the items."""

    spec: ExactSpec
    still_there: list[str]
    """What on the root still holds the items, or was made of them: folders (`jobs.kept.kept_folders`)."""
    test_items: dict[str, int]
    """Of each class that was asked for, test images: no head is made of them, and their embeddings stay."""
    destroyed: list[str]
    """Folders whose sums, checkpoints and learned items were destroyed."""
    certificate: str
    """Where the certificate of this request is, in the log of the root."""

    def text(self) -> str:
        """For people."""
        of = f" (all of {', '.join(map(shown, self.spec.classes))})" if self.spec.classes else ""
        items = (
            f"{self.spec.items} training item{'s' * (self.spec.items != 1)}{of}" if self.spec.items else "nothing more"
        )
        return "\n".join(
            [
                f"forgotten exactly: {items}; {self.left} are left",
                *self.written_lines(),
                f"  certificate   {self.certificate} ({1000 * self.seconds:.0f} ms in all)",
                *(f"  not changed   {TRAINED[head]}, and made of the items" for head in self.trained),
                *folder_text("destroyed     sums, checkpoints (and learned items) of", self.destroyed),
                *folder_text(
                    "still there   what was made of the items, yours to destroy:", [*map(self._left, self.still_there)]
                ),
                *tests_text(self.test_items),
                f"  elsewhere     yours to destroy: {ELSEWHERE}",
            ]
        )

    def _left(self, folder: str) -> str:
        """A folder that is still there, with what is left of it where some of it was destroyed."""
        what = "whole keys" if folder.startswith("sums/") else "learned items"
        return f"{folder} (its {what})" if folder in self.destroyed else folder


def forget_exactly(
    experiment: Experiment,
    request: ExactRequest,
    *,
    again: bool = False,
    check: Callable[[Collection[int]], None] = lambda rows: None,
    asker: Asker | None = None,
    key_file: Path | None = None,
) -> ForgottenExactly:
    """Write new sums, the heads that they make, and a certificate; destroy what was before if asked.

    Asked again, a request whose destroying was cut off is finished; of one that did not commit what was before goes.
    again: the last request that committed may be asked again at any time, and what it did is returned.
    check: is given the rows that are to be forgotten before anything is written; what it raises refuses the request.
    asker: who asks, as the certificate says it; key_file: an Ed25519 private key (PEM) that signs it.
    raises: BadRequest, BadSums, BadCheckpoint, StoreError.
    """
    clock = time.perf_counter()
    if key_file is not None:
        private_key(key_file)  # one that is none is told before anything is written
    with destroying.one_at_a_time(experiment.root):
        finished = destroying.finish(experiment.root)
        stored = Stored(experiment)
        past = state(experiment, len(stored.labels("train")))
        heads = summed_heads(experiment, past.previous)
        known = Known(stored, past.learned)
        last = past.previous
        committed = last is not None and bool(last.spec().get("commit"))
        if last is not None and is_last(request, past, known):
            if committed and (again or last.digest in finished):
                return read_request(experiment, last, seconds=time.perf_counter() - clock)
            request = request if committed else ExactRequest(commit=True)
        rows = wanted_rows(known, past, request.classes, request.items)
        if not len(rows) and (last is None or committed):
            raise BadRequest(f"{experiment.root}: nothing to destroy: {nothing_left(experiment, committed=committed)}")
        if request.commit:
            check_signs(experiment.root, key_file)
        check(rows.tolist())
        return _forget(known, request, past, rows, heads, asker=asker or Asker(), key_file=key_file, clock=clock)


def nothing_left(experiment: Experiment, *, committed: bool) -> str:
    """Why there is nothing to destroy; committed: whether the last request destroyed what was before."""
    if committed:
        return "nothing is left of what was before the last request"
    log = [one.said for one in entries(experiment.root) if one.said is not None and not one.wrong]
    purges = [said["made"] for said in log if experiment.name in purged(said["request"])]
    return f"nothing was forgotten since the purge of {purges[-1]}" if purges else "nothing was forgotten yet"


def is_last(request: ExactRequest, past: State, known: Known) -> bool:
    """Whether a request that commits is about what the last one that forgot anything forgot, or about nothing more."""
    if not request.commit or (not request.classes and not request.items):
        return request.commit
    last = next(reversed(past.forgotten.values()), None)
    before = State(None, {row: by for row, by in past.forgotten.items() if by != last})
    try:
        rows = wanted_rows(known, before, request.classes, request.items).tolist()
    except BadRequest:
        return False
    return bool(rows == sorted(row for row, by in past.forgotten.items() if by == last))


def read_request(experiment: Experiment, made: Artefact, *, seconds: float) -> ForgottenExactly:
    """What a request did, as it is recorded; raises: StoreError."""
    root = experiment.root

    def at(name: str) -> str | None:
        return str(made.path / name) if exists(made.path / name) else None

    with as_written(made.path):
        spec, facts = ExactSpec(**made.spec()), made.facts()
        log = [name for name in names(root / certificate.LOG, ".json") if f"-{made.digest}-" in name]
        return ForgottenExactly(
            spec=spec,
            left=int(facts["left"]),
            sums=at(SUMS),
            checkpoint=at(CHECKPOINT),
            linear=at(LINEAR),
            trained=trained_heads(experiment),
            seconds=round(seconds, 4),
            still_there=texts(facts.get("still_there", [])),
            test_items={str(name): int(count) for name, count in facts.get("test_items", {}).items()},
            destroyed=texts(facts.get("destroyed", [])),
            certificate=str(root / certificate.LOG / log[-1]),
        )


def _forget(
    known: Known,
    request: ExactRequest,
    past: State,
    rows: NDArray[np.int64],
    heads: Sequence[Head],
    *,
    asker: Asker,
    key_file: Path | None,
    clock: float,
) -> ForgottenExactly:
    """Take rows (k,) out of the sums that the last request left; clock: when the request came."""
    experiment = known.stored.experiment
    root = experiment.root
    rest = known.rest([*past.forgotten, *rows.tolist()])
    if not rest.any():
        raise BadSums("these are the last training items: nothing would be left to make values of")
    before = [sums_before(head, known, past.forgotten) for head in heads]
    each = [
        Change(head, sums, sums - summed(head, known, rows) if len(rows) else sums)
        for head, sums in zip(heads, before, strict=True)
    ]
    changes = Changes(known, rest, each)
    spec = ExactSpec(
        version=VERSION,
        method=METHOD,
        classes=[known.classes[k] for k in class_indexes(known.classes, list(request.classes))],
        items=len(rows),
        rows=digest(rows.tolist()),
        previous=None if past.previous is None else past.previous.digest,
        bottleneck=experiment.steps["values"],
        **head_steps(heads),
        commit=request.commit,
    )
    said = to_json(spec)
    output = Artefact(root, UNLEARNED, digest(said))
    gone = [row - known.training for row in (*past.forgotten, *rows.tolist()) if row >= known.training]
    kept = left_of(past.learned, gone) if request.commit else None
    parts = superseded(experiment, output.digest, learned=kept is not None) if request.commit else {}
    shred(output.path, ())  # what a request left that was cut off
    with prepared(output, said):
        with recording(output.path) as files:
            write_json(output.path / FORGOTTEN, {"rows": rows.tolist()})
            if kept is not None:
                write_atomic(output.path / LEARNED, kept.to_bytes())
            changes.write(output.path, said)
        facts = {
            "left": changes.left,
            **changes.said(files),
            "still_there": kept_folders(experiment, but=[f"{UNLEARNED}/{output.digest}", *emptied(root, parts)]),
            "test_items": test_items(known.stored, class_indexes(known.classes, list(request.classes))),
            "destroyed": [*parts],
        }
        trained = [f"Not changed: {TRAINED[head]}, and made of the items." for head in trained_heads(experiment)]
        if state(experiment, known.training).previous != past.previous:  # on an object store nothing else prevents it
            raise BadRequest(f"{root}: another request was made meanwhile; ask again")
        if parts:
            destroying.order(root, output.digest, parts)
        certify(
            experiment,
            output,
            files,
            request={**said, **facts},
            facts=facts,
            origins=changes.origins(),
            limits=[*(LIMITS_OF_COMMIT if request.commit else LIMITS), *trained],
            asker=asker,
            key_file=key_file,
        )
    destroying.finish(root)
    return read_request(experiment, output, seconds=time.perf_counter() - clock)
