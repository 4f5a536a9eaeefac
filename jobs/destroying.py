"""What requests destroy: ordered before the request counts, done after it, and finished by the next command if cut off.

An order lies in ``destroying/`` of the root, written before that by which it counts: the DONE of its request, or, where
experiments were made anew, their records. It goes when all of it is destroyed; of one that does not count nothing is.
"""

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import BadRequest
from jobs.evidence import UNLEARNED
from jobs.results.experiment import Experiment, experiments
from store.artefacts import ROOT_FILE, SPEC, Artefact, as_written, digest, read_json, read_record, write_record
from store.checksums import forget_ledger
from store.errors import ArtefactDamaged, StoreError
from store.files import exists, names, remove
from store.layout import LEARNED, MASK
from store.places import Place, quoted
from store.tombstones import Tombstone, left, read_tombstone, shred, write_tombstone

FOLDER = "destroying"

WHAT = {"sums": "its sums", "values": "its checkpoint", "linear": "its linear head"}
"""What of a step's artefact requests destroy, for people."""

Parts = Mapping[str, Sequence[str]]
"""Folder of an artefact below the root -> files and folders in it; none: all of it, and no tombstone stays."""


@contextmanager
def one_at_a_time(root: Place) -> Iterator[None]:
    """Hold a root for one request, on a disk; raises: BadRequest where another is at work."""
    if not isinstance(root, Path):
        yield
        return
    with (root / ROOT_FILE).open("r+b") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadRequest(f"{root}: another request is at work there; wait for its end, then ask again") from None
        yield


def order(root: Place, by: str, parts: Parts, *, anew: Mapping[str, str] | None = None) -> None:
    """Write down what is destroyed once a request is done, or once experiments are recorded anew.

    by: the name of the request's folder; anew: experiment -> digest of its steps from then on.
    """
    content = {"by": by, "parts": {name: [*some] for name, some in parts.items()}, "anew": anew and dict(anew)}
    write_record(order_path(root, by, purge=anew is not None), content)


def order_path(root: Place, by: str, *, purge: bool = False) -> Place:
    """The file of an order."""
    return root / FOLDER / f"{by}{'-purge' * purge}.json"


def withdraw(root: Place, by: str) -> None:
    """Take back what was ordered for a request that is refused."""
    remove(order_path(root, by))


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be destroyed for a request, now."""

    path: Place
    by: str
    parts: dict[Artefact, tuple[str, ...]]

    @property
    def purges(self) -> bool:
        """Whether it is of experiments that were made anew."""
        return self.path.name.endswith("-purge.json")


def pending(root: Place) -> list[Order]:
    """The orders that count, and are not all carried out; raises: ArtefactDamaged."""
    orders = []
    for name in names(root / FOLDER, ".json"):
        path = root / FOLDER / name
        try:
            with as_written(path):
                content = read_record(path)
                parts = {Artefact(root, *folder.split("/")): checked(some) for folder, some in content["parts"].items()}
                request, anew = Artefact(root, UNLEARNED, content["by"]), content.get("anew")
                counts = request.done if anew is None else are_recorded(root, anew)
        except StoreError as error:
            if not exists(path):  # another process has carried it out
                continue
            raise ArtefactDamaged(
                f"{path}: does not hold what a request ordered to be destroyed; delete it, and order it anew with "
                f"{finishing(root, name[:16])}"
            ) from error
        if counts:
            orders.append(Order(path, request.digest, parts))
    return orders


def finishing(root: Place, by: str) -> str:
    """The command that finishes what a request ordered; it names the experiment, where the root holds several."""
    known, own = list[Experiment](), list[Experiment]()
    with suppress(StoreError), as_written(root):
        known = experiments(root)
        values = Artefact(root, UNLEARNED, by).spec()["bottleneck"]
        own = [one for one in known if one.steps["values"] == values]
    own = own or [one for one in known if "sums" in one.steps] or known  # a purge made the model anew
    if len(known) > 1:
        return f"`dkvb unlearn {quoted(root)} --experiment {quoted(own[0].name)} --method exact --commit`"
    return f"`dkvb unlearn {quoted(root)} --method exact --commit`"


def are_recorded(root: Place, anew: Mapping[str, str]) -> bool:
    """Whether experiments are recorded with the steps of those digests; raises: StoreError."""
    there = {one.name: digest(one.steps) for one in experiments(root)}
    return all(there.get(name) == steps for name, steps in anew.items())


def checked(parts: object) -> tuple[str, ...]:
    """Paths in the folder of an artefact; raises: TypeError, ValueError for others."""
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise TypeError("expected a list of texts")
    if odd := [part for part in parts if not part or part.startswith("/") or ".." in part.split("/")]:
        raise ValueError(f"names {odd[0]!r}")
    return tuple(parts)


def finish(root: Place) -> list[str]:
    """Destroy what was ordered and is not destroyed yet; returns the requests that ordered it.

    raises: ArtefactDamaged; OSError where a file cannot be overwritten: the next command tries again.
    """
    orders = pending(root)
    for one in orders:
        there = {artefact: parts for artefact, parts in one.parts.items() if exists(artefact.path)}
        for artefact in there:
            artefact.check_own()
        for artefact, parts in there.items():
            if parts:
                write_tombstone(artefact.path, Tombstone(one.by, parts))
                forget_ledger(artefact.path)
        for artefact, parts in there.items():
            shred(artefact.path, parts)
        remove(one.path)
    return [one.by for one in orders]


def still_whole(artefact: Artefact, parts: Sequence[str]) -> tuple[str, ...]:
    """Those of an artefact's parts that are there and were not destroyed before; raises: ArtefactDamaged."""
    stone = read_tombstone(artefact.path)
    return tuple(part for part in parts if (stone is None or not stone.covers(part)) and left(artefact.path, [part]))


def destroyed(artefact: Artefact) -> str:
    """What of a step's artefact was destroyed, and by what; empty: nothing."""
    if artefact.step not in (*WHAT, UNLEARNED) or (stone := read_tombstone(artefact.path)) is None:
        return ""
    what = WHAT.get(artefact.step, of_request(stone.parts))
    verb = "was" if artefact.step in ("values", "linear") else "were"
    if stone.by == artefact.digest:
        return f"{what} {verb} destroyed when experiments were made anew without its items"
    heir = stone.heir(artefact.path)
    if heir is None:
        return f"{what} {verb} destroyed by request {stone.by}; experiments were made anew without its items since"
    whose = "that one's" if heir.name == stone.by else f"those of request {heir.name}"
    return f"{what} {verb} destroyed by request {stone.by}; later requests begin with {whose}"


def of_request(parts: Sequence[str]) -> str:
    """What of a request's folder was destroyed, for people."""
    if MASK in parts:
        return "its mask and checkpoint"
    return "its sums, checkpoint and learned items" if LEARNED in parts else "its sums and checkpoint"


def requests(root: Place) -> Iterator[tuple[Artefact, dict[str, Any]]]:
    """Every request on a root that is done, and its spec; raises: ArtefactDamaged, NotARoot."""
    for name in names(root / UNLEARNED):
        request = Artefact(root, UNLEARNED, name)
        if request.done:
            with as_written(request.path / SPEC):
                spec = dict(read_json(request.path / SPEC))
            yield request, spec


def check_not_destroyed(artefact: Artefact) -> None:
    """Check, before a step is done again, that no request destroyed what it makes: the forgotten items would be back.

    raises: BadRequest.
    """
    if artefact.step not in WHAT:
        return
    for request, spec in requests(artefact.root):
        if spec.get("commit") and artefact.digest in map(spec.get, ("sums", "bottleneck", "linear")):
            raise BadRequest(
                f"{artefact.path}: {WHAT[artefact.step]} would be made again, and with it the items that request "
                f"{request.digest} forgot; restore the folder from a backup made after that request, or run on a new "
                "root without the images of these items"
            )
