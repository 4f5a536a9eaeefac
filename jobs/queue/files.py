"""The queue: a folder of small files, most of them created once and never changed; a job's state is read off them.

    <queue>/dkvb-queue.json                  says that this is a queue
    <queue>/<job>/job.json                   what was asked
    <queue>/<job>/orders/<n>.json            what people said since: stop, retry, priority
    <queue>/<job>/attempts/<n>/attempt.json  somebody decided on the n-th attempt: of many reconcilers, one
    <queue>/<job>/attempts/<n>/started.json  its driver lives: of many drivers, one
    <queue>/<job>/attempts/<n>/plan.json     the artefacts it is to make
    <queue>/<job>/attempts/<n>/heartbeat.json   written again every few seconds
    <queue>/<job>/attempts/<n>/end.json      how it ended, said by its driver, or by a reconciler that found it dead
    <queue>/<job>/attempts/<n>/log.jsonl     its log

The queue is a place as every root is: a shared disk, or an object store.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, get_args

from cluster.units import here
from jobs.errors import BadRequest, nearest
from jobs.queue import records
from jobs.queue.job import Attempt, Job
from jobs.queue.records import Json, Order
from store.artefacts import as_json
from store.errors import NotARoot, StoreError
from store.files import create, exists, names, read_tree
from store.json import from_json
from store.links import check_own
from store.places import Place

QUEUE_FILE = "dkvb-queue.json"
QUEUE_FORMAT = "dkvb-queue/1"
FORMAT = "dkvb-job/1"

JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What a job's folder is named; it leads nowhere else."""

ASKED = {"name", "specs", "root", "images", "address", "priority", "attempts", "commit", "time", "by"}
"""Without these a job's file is none."""


def said(**content: Any) -> bytes:
    """The content of a file that is created once: who, when, and a word by which a writer knows its own."""
    return as_json({**content, "time": time.time(), "by": here(), "token": secrets.token_hex(8)})


def add(queue: Place, asked: Json) -> Job:
    """Put a job into the queue.

    asked: name, specs, root, images, address, priority, attempts, workers, gpus, commit.
    raises: BadRequest for a folder that holds something else.
    """
    if names(queue) and not exists(queue / QUEUE_FILE):
        raise BadRequest(f"{queue}: holds other files and no {QUEUE_FILE}; give an empty or a new folder as queue")
    create(queue / QUEUE_FILE, said(format=QUEUE_FORMAT))
    while True:
        job = queue / f"{asked['name']}-{secrets.token_hex(3)}"
        if create(job / "job.json", said(**{"format": FORMAT, **asked})):
            return find_job(queue, job.name)


def order(job: Job, what: Order, **more: Any) -> None:
    """Add to what people said of a job."""
    number = len(job.orders) + 1
    while not create(job.place / "orders" / f"{number:04d}.json", said(order=what, **more)):
        number += 1


def decide(job: Job, address: str) -> Attempt | None:
    """Decide on the job's next attempt; None where another was quicker."""
    number = len(job.attempts) + 1
    place = job.place / "attempts" / f"{number:04d}"
    content = said(address=address)
    if not create(place / "attempt.json", content):
        return None
    return Attempt(number=number, place=place, decided=json.loads(content))


def end(attempt: Attempt, state: records.End, *, why: str, **more: Any) -> bool:
    """Say how an attempt ended; False where it was said already, and stays."""
    return create(attempt.place / "end.json", said(state=state, why=why, **more))


def read_queue(queue: Place, tell: Callable[[str], None] = lambda _: None) -> list[Job]:
    """All jobs, in the order in which they are started; what else lies there is passed over.

    tell: is given a line for each job that is there and not as dkvb writes it; it must not hide the others.
    raises: BadRequest for a folder that is no queue.
    """
    if not exists(queue / QUEUE_FILE):
        raise BadRequest(f"{queue}: no {QUEUE_FILE} there, so it is not a queue; `dkvb submit` makes and names one")
    jobs = []
    for folder, read in _folders(queue):
        try:
            jobs += [job] if (job := _job(queue / folder, read())) is not None else []
        except (OSError, StoreError) as error:
            tell(f"{folder}: left out: {error}")
    return sorted(jobs, key=lambda job: job.rank)


def _folders(queue: Place) -> Iterator[tuple[str, Callable[[], Mapping[str, bytes]]]]:
    """The folders that may be jobs, and how their files are read: a disk's one by one, a store's all at once."""
    if isinstance(queue, Path):
        for name in names(queue):
            if JOB_ID.fullmatch(name) and (queue / name).is_dir():
                yield name, partial(_files, queue / name)
        return
    files: dict[str, dict[str, bytes]] = {}
    for path, data in read_tree(queue, ".json").items():
        folder, _, name = path.partition("/")
        if JOB_ID.fullmatch(folder):
            files.setdefault(folder, {})[name] = data
    for folder, found in files.items():
        yield folder, partial(dict, found)


def _files(folder: Place) -> dict[str, bytes]:
    """The files of one job; raises: NotARoot where something in it leads elsewhere or has no end."""
    if isinstance(folder, Path):
        if folder.is_symlink():
            raise NotARoot(f"{folder}: is a link, which dkvb never writes; what a queue holds lies in it itself")
        check_own(folder)
    return read_tree(folder, ".json")


def find_job(queue: Place, name: str) -> Job:
    """One job by its id; raises: BadRequest naming the nearest."""
    if JOB_ID.fullmatch(name) and exists(queue / name / "job.json"):
        job = _job(queue / name, _files(queue / name))
        if job is not None:
            return job
    there = [job.id for job in read_queue(queue)]
    known = f"there: {', '.join(there)}" if len(there) <= 20 else f"{len(there)} jobs there"
    raise BadRequest(f"{queue}: no job {name!r}{nearest(name, there)} ({known if there else 'the queue is empty'})")


def _json(data: bytes) -> Json:
    """Content of a file of the queue; nothing for one that is torn, or another's."""
    try:
        content = from_json(data)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _job(place: Place, files: Mapping[str, bytes]) -> Job | None:
    """A job of its files by their paths; None where they are none of ours; raises: NotARoot for changed ones."""
    content = {name: found for name, data in files.items() if (found := _json(data))}
    asked = content.get("job.json", {})
    if asked.get("format") != FORMAT or not asked.keys() >= ASKED:
        return None
    in_order = [(name, content[name]) for name in sorted(content) if name.startswith("orders/")]
    attempts: list[Attempt] = []
    for number in count(1):
        folder = f"attempts/{number:04d}"
        if (decided := content.get(f"{folder}/attempt.json")) is None:
            break
        attempts.append(_attempt(number, place / folder, decided, content))
    return Job(
        id=place.name,
        place=place,
        asked=records.job(f"{place}/job.json", asked),
        orders=[records.order(f"{place}/{name}", one) for name, one in in_order if one.get("order") in get_args(Order)],
        attempts=attempts,
    )


def _attempt(number: int, place: Place, decided: Json, content: Mapping[str, Json]) -> Attempt:
    """One attempt of the content of its job's files."""

    def part(name: str) -> Json | None:
        return content.get(f"attempts/{place.name}/{name}.json")

    return Attempt(
        number=number,
        place=place,
        decided=records.decided(f"{place}/attempt.json", decided),
        started=records.started(f"{place}/started.json", found) if (found := part("started")) else None,
        plan=records.plan(found) if (found := part("plan")) else None,
        heartbeat=records.heartbeat(found) if (found := part("heartbeat")) else None,
        end=records.end(f"{place}/end.json", found) if (found := part("end")) else None,
    )
