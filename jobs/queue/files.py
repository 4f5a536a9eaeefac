"""The queue: a folder of small files, most of them created once and never changed (a job's state: `jobs.queue.job`).

    <queue>/dkvb-queue.json                  says that this is a queue
    <queue>/reconciler.json                  when somebody last looked after it (`jobs.queue.passes`)
    <queue>/<job>/job.json                   what it is to do
    <queue>/<job>/orders/<n>.json            what people asked of it since: stop, retry, priority
    <queue>/<job>/attempts/<n>/attempt.json  one of many reconcilers decided on the n-th attempt
    <queue>/<job>/attempts/<n>/started.json  one of many drivers took it up
    <queue>/<job>/attempts/<n>/plan.json     the artefacts it is to make
    <queue>/<job>/attempts/<n>/heartbeat.json   written again every few seconds
    <queue>/<job>/attempts/<n>/end.json      how it ended, said by its driver, or by a reconciler that found it dead
    <queue>/<job>/attempts/<n>/log.jsonl     its log

The queue is a place as every root is: a shared disk, or an object store. What each file holds: `jobs.queue.records`.
"""

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path

from dkvb.limits import nearest
from jobs.errors import BadRequest
from jobs.queue.job import Attempt, Job
from jobs.queue.records import (
    FORMAT,
    REQUIRED,
    Assignment,
    Command,
    CommandKind,
    Decision,
    End,
    Heartbeat,
    Json,
    Outputs,
    Signed,
)
from store.artefacts import as_json, write_json
from store.errors import NotARoot, StoreError
from store.files import create, exists, names, read_tree
from store.journal import Journal, read_journal
from store.json import from_json
from store.links import check_own
from store.places import Place

QUEUE_FILE = "dkvb-queue.json"
QUEUE_FORMAT = "dkvb-queue/1"

JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What a job's folder is named; it leads nowhere else."""


def add(queue: Place, assignment: Assignment) -> Job:
    """Put a job into the queue; raises: BadRequest for a folder that holds something else."""
    if names(queue) and not exists(queue / QUEUE_FILE):
        raise BadRequest(f"{queue}: holds other files and no {QUEUE_FILE}; give an empty or a new folder as queue")
    create(queue / QUEUE_FILE, as_json({"format": QUEUE_FORMAT, **Signed().to_json()}))
    while True:
        job = queue / f"{assignment.name}-{secrets.token_hex(3)}"
        if create(job / "job.json", as_json(assignment.to_json())):
            return find_job(queue, job.name)


def add_command(job: Job, command: Command) -> None:
    """Add to what people asked of a job."""
    number = len(job.commands) + 1
    while not create(job.place / "orders" / f"{number:04d}.json", as_json(command.to_json())):
        number += 1


def decide(job: Job, address: str) -> Attempt | None:
    """Decide on the job's next attempt; None where another was quicker."""
    number, decision = len(job.attempts) + 1, Decision(address=address)
    place = job.place / "attempts" / f"{number:04d}"
    if not create(place / "attempt.json", as_json(decision.to_json())):
        return None
    return Attempt(number=number, place=place, decision=decision)


def start(attempt: Attempt) -> bool:
    """Say that this process drives an attempt; False where another does."""
    return create(attempt.place / "started.json", as_json(Signed().to_json()))


def write_outputs(attempt: Attempt, outputs: Outputs) -> None:
    """Say what an attempt is to make."""
    write_json(attempt.place / "plan.json", outputs.to_json())


def write_heartbeat(attempt: Attempt, heartbeat: Heartbeat) -> None:
    """Say that the driver of an attempt lives."""
    write_json(attempt.place / "heartbeat.json", heartbeat.to_json())


def end(attempt: Attempt, ending: End) -> bool:
    """Say how an attempt ended; False where it was said already, and stays."""
    return create(attempt.place / "end.json", as_json(ending.to_json()))


def has_ended(attempt: Attempt) -> bool:
    """Whether somebody has said by now that an attempt ended."""
    return exists(attempt.place / "end.json")


def log_of(attempt: Attempt) -> Journal:
    """The log of an attempt, to be written by its driver."""
    return Journal(attempt.place / "log.jsonl")


def read_log(attempt: Attempt) -> Iterator[Json]:
    """The lines of the log of an attempt, oldest first."""
    return read_journal(attempt.place / "log.jsonl")


def read_queue(queue: Place, tell: Callable[[str], None] = lambda _: None) -> list[Job]:
    """All jobs, in the order in which they are started; what else lies there is passed over.

    tell: is given a line for each job whose files are not as dkvb writes them; it does not hide the others.
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
    for folder, contents in files.items():
        yield folder, partial(dict, contents)


def _files(folder: Place) -> dict[str, bytes]:
    """The files of one job; raises: NotARoot where something in it leads elsewhere or has no end."""
    if isinstance(folder, Path):
        if folder.is_symlink():
            raise NotARoot(f"{folder}: is a link, which dkvb never writes; a queue holds its own files")
        check_own(folder)
    return read_tree(folder, ".json")


def find_job(queue: Place, name: str) -> Job:
    """One job by its id; raises: BadRequest naming the nearest."""
    if JOB_ID.fullmatch(name) and exists(queue / name / "job.json"):
        job = _job(queue / name, _files(queue / name))
        if job is not None:
            return job
    ids = [job.id for job in read_queue(queue)]
    known = f"there: {', '.join(ids)}" if len(ids) <= 20 else f"{len(ids)} jobs there"
    raise BadRequest(f"{queue}: no job {name!r}{nearest(name, ids)} ({known if ids else 'the queue is empty'})")


def _json(data: bytes) -> Json:
    """The content of a file of the queue; empty for one that is torn, or somebody else's."""
    try:
        content = from_json(data)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _job(place: Place, files: Mapping[str, bytes]) -> Job | None:
    """A job of its files by their paths; None where they are none of ours; raises: NotARoot for changed ones."""
    contents = {name: content for name, data in files.items() if (content := _json(data))}
    content = contents.get("job.json", {})
    if content.get("format") != FORMAT or not content.keys() >= set(REQUIRED):
        return None
    orders = [name for name in sorted(contents) if name.startswith("orders/")]
    attempts: list[Attempt] = []
    for number in count(1):
        folder = f"attempts/{number:04d}"
        if f"{folder}/attempt.json" not in contents:
            break
        attempts.append(_attempt(number, place / folder, contents))
    return Job(
        id=place.name,
        place=place,
        assignment=Assignment.read(f"{place}/job.json", content),
        commands=[
            Command.read(f"{place}/{name}", contents[name])
            for name in orders
            if contents[name].get("order") in [*CommandKind]
        ],
        attempts=attempts,
    )


def _attempt(number: int, place: Place, contents: Mapping[str, Json]) -> Attempt:
    """One attempt of the contents of its job's files by their paths; that of its decision is there."""
    decision, start, outputs, heartbeat, end = (
        contents.get(f"attempts/{place.name}/{name}.json")
        for name in ("attempt", "started", "plan", "heartbeat", "end")
    )
    return Attempt(
        number=number,
        place=place,
        decision=Decision.read(f"{place}/attempt.json", decision or {}),
        start=Signed.read(f"{place}/started.json", start) if start else None,
        outputs=Outputs.read(outputs) if outputs else None,
        heartbeat=Heartbeat.read(heartbeat) if heartbeat else None,
        end=End.read(f"{place}/end.json", end) if end else None,
    )
