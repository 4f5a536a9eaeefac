"""Requests to forget and to learn exactly, replayed: sums made again of embeddings and keys, compared with the records.

One pass over the items that are left gives the sums after the last request; what each request forgot is then added
again, and what it learned taken away, the last first. A record says which bytes each state had, though the states
themselves may be destroyed. Of learned items that were destroyed nothing can be added again: while they were there,
sums cannot be found.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dkvb.codes import encode
from dkvb.sums import SelectedKeys, Sums, whole_keys
from jobs.chain import State, is_learning, learned_items, state
from jobs.evidence import entries, purged
from jobs.known import Known
from jobs.printable import shown
from jobs.query.stored import Stored
from jobs.results.experiment import Experiment
from store import arrays
from store.artefacts import as_written, read_json
from store.checksums import ledger
from store.layout import BLOCK, FORGOTTEN, SUMS
from store.recording import stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One request, as it is recorded and as it is found again."""

    request: str
    """Name of its folder."""
    items: int
    """Items that it forgot, or learned."""
    left: int | None = None
    """Items that are left after it."""
    before: str | None = None
    """SHA-256 and size of the sums before it, as recorded; None: it did not record them."""
    before_found: str | None = None
    """None: they were of learned items of which nothing is left."""
    after: str | None = None
    """Likewise after it."""
    after_found: str | None = None
    learned: bool = False
    """Whether it learned them."""
    purged: str | None = None
    """When the sums were destroyed that it and those before it left, and the experiment was made anew."""

    @property
    def same(self) -> bool | None:
        """Whether both are as recorded, as far as they can be found; None: nothing is left to compare."""
        if self.purged is not None:
            return None
        return self.before in (None, self.before_found or self.before) and self.after_found in (None, self.after)

    def to_json(self) -> dict[str, Any]:
        """All of it in one JSON object."""
        return {**asdict(self), "same": self.same}

    def text(self) -> str:
        """For people, a line."""
        if self.purged is not None:
            items = f"{self.items} training item{'s' * (self.items != 1)}"
            return (
                f"purged   request {shown(self.request)}, and those before it: the purge of {shown(self.purged)} "
                f"destroyed what they left and made the experiment anew without {items}, so nothing of them can be "
                "replayed"
            )
        items = f"{self.items} items {'learned' if self.learned else 'forgotten'}, {self.left} left"
        sums = {"before": (self.before, self.before_found), "after": (self.after, self.after_found)}
        lost = [when for when, (_, found) in sums.items() if found is None]
        if self.same and lost:
            what = f"sums {' and '.join(lost)} it are of learned items that were destroyed"
            return f"same     {self.request}  {items}, as far as can be found: {what}"
        if self.same:
            return f"same     {self.request}  {items}: sums before and after it are those recorded, byte for byte"
        wrong = [
            f"{when} it found {found[:16]}, recorded {said[:16]}"
            for when, (said, found) in sums.items()
            if said is not None and found not in (None, said)
        ]
        return f"DIFFERS  {self.request}  {items}: SHA-256 of the sums {'; '.join(wrong)}"


def replay(experiment: Experiment) -> list[Replayed]:
    """Replay the requests of an experiment, the oldest first; purges of it stand before those that can be replayed.

    None of an experiment whose values are trained, but its purges.
    raises: ArtefactDamaged, NotARoot, BadRequest where embeddings or keys are not there.
    cost: as of the `codes` and `sums` steps together.
    """
    gone = [*purges(experiment)]
    if "sums" not in experiment.steps:
        return gone
    stored = Stored(experiment)
    past = state(experiment, len(stored.labels("train")))
    return [*gone, *reversed([*_backwards(Known(stored, past.learned), past)])] if past.requests else gone


def purges(experiment: Experiment) -> Iterator[Replayed]:
    """The purges that made an experiment anew, as the log of the root has them."""
    for one in entries(experiment.root):
        if one.said is not None and experiment.name in purged(one.said["request"]):
            items = one.said["request"].get("items")
            yield Replayed(
                request=one.folder, items=items if isinstance(items, int) else 0, purged=str(one.said["made"])
            )


def _backwards(known: Known, past: State) -> Iterator[Replayed]:
    """The requests, the last one first: each is taken back, as far as its items are there."""
    experiment, labels = known.stored.experiment, known.labels
    fitted = experiment.artefact("keys").data
    projection, keys = (torch.from_numpy(arrays.read(fitted, name)) for name in ("projection", "keys"))
    whole, v = whole_keys(keys)[0], len(known.classes)

    def summed(rows: NDArray[np.int64]) -> Sums:
        """The sums over some items, their codes looked up anew."""
        codes = [torch.empty(0, len(keys), dtype=torch.int16)]
        for start in range(0, len(labels), BLOCK):
            some = rows[(start <= rows) & (rows < start + BLOCK)]
            if len(some):
                codes.append(encode(known.embeddings(some), projection, keys))
        return Sums.of(SelectedKeys.of(torch.cat(codes), whole), torch.from_numpy(labels[rows]), v=v)

    def found() -> str | None:
        """What the sums of the classes that there were is written as; None where items of theirs are lost."""
        return None if lost else stamp(replace(sums, items=sums.items[:there], classes=sums.classes[:there]).to_bytes())

    blank = np.array([*known.blank_rows], np.int64)
    sums = summed(np.flatnonzero(known.rest(past.forgotten).numpy()))
    lost, there, first = 0, v, len(labels)
    after_found = found()
    for made in reversed(past.requests):
        learned = is_learning(made)
        with as_written(made.path):
            facts, listed = made.facts(), ledger(made.path)
            recorded = facts.get("after") if listed is None else listed.files[SUMS]
        left = sums.n + lost
        if learned:
            rows = np.arange(first - learned_items(made), first)
            first -= len(rows)
            with as_written(made.path):
                there -= len(made.spec()["new"])
        else:
            with as_written(made.path / FORGOTTEN):
                rows = np.sort(np.array(read_json(made.path / FORGOTTEN)["rows"], np.int64))
        gone = np.isin(rows, blank)
        some = summed(rows[~gone])
        sums = sums - some if learned else sums + some
        lost += int(gone.sum()) * (-1 if learned else 1)
        before_found = found()
        yield Replayed(
            request=made.digest,
            items=len(rows),
            left=left,
            before=facts.get("before"),
            before_found=before_found,
            after=str(recorded),
            after_found=after_found,
            learned=learned,
        )
        after_found = before_found


def as_text(experiment: Experiment, replayed: list[Replayed]) -> str:
    """For people."""
    name, made = shown(experiment.name), [one for one in replayed if one.purged is None]
    gone = [one.text() for one in replayed if one.purged is not None]
    if not made:
        return "\n".join(f"{name}: {line}" for line in gone or [_nothing(experiment)])
    differ = sum(not one.same for one in made)
    how = "all as recorded" if not differ else f"{differ} of them DIFFER from what is recorded"
    head = f"{name}: {len(made)} requests replayed from embeddings and keys, {how}"
    return "\n".join([head, *(f"  {line}" for line in [*gone, *(one.text() for one in made)])])


def _nothing(experiment: Experiment) -> str:
    """Why nothing is replayed."""
    made = state(experiment, len(Stored(experiment).labels("train"))).requests
    if not made:
        return "no request to forget exactly was made yet"
    them = f"request{'s' * (len(made) != 1)} {', '.join(one.digest for one in made)}"
    return f"{them} changed the linear head alone, of which nothing is replayed: the values are trained"
