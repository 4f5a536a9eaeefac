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
    left: int
    """Items that are left after it."""
    before: str | None
    """SHA-256 and size of the sums before it, as recorded; None: it did not record them."""
    before_found: str | None
    """None: they were of learned items of which nothing is left."""
    after: str
    """Likewise after it."""
    after_found: str | None
    learned: bool = False
    """Whether it learned them."""

    @property
    def same(self) -> bool:
        """Whether both are as recorded, as far as they can be found."""
        return self.before in (None, self.before_found or self.before) and self.after_found in (None, self.after)

    def to_json(self) -> dict[str, Any]:
        """All of it in one JSON object."""
        return {**asdict(self), "same": self.same}

    def text(self) -> str:
        """For people, a line."""
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
    """Replay the requests of an experiment, the oldest first; none where there were none, or its values are trained.

    raises: ArtefactDamaged, NotARoot, BadRequest where embeddings or keys are not there.
    cost: as of the `codes` and `sums` steps together.
    """
    if "sums" not in experiment.steps:
        return []
    stored = Stored(experiment)
    past = state(experiment, len(stored.labels("train")))
    return [*reversed([*_backwards(Known(stored, past.learned), past)])] if past.requests else []


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
    if not replayed:
        return f"{shown(experiment.name)}: no request to forget exactly was made yet"
    differ = sum(not one.same for one in replayed)
    how = "all as recorded" if not differ else f"{differ} of them DIFFER from what is recorded"
    return "\n".join(
        [
            f"{shown(experiment.name)}: {len(replayed)} requests replayed from embeddings and keys, {how}",
            *(f"  {one.text()}" for one in replayed),
        ]
    )
