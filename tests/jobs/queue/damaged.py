"""Queues and roots damaged at random, a case a seed; `tests/faults/fuzz.py` has them by the thousand.

One file, or one value in it, is changed; the commands that only read, and the reconciler, must neither raise what is
not for users nor wait for ever, and a job that is whole must stay in the list. A seed names a case for good.
"""

import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from jobs.errors import JobsError
from jobs.queue import reconcile as passes
from jobs.queue.commands import prioritise
from jobs.queue.files import (
    add,
    add_command,
    decide,
    end,
    find_job,
    log_of,
    read_queue,
    start,
    write_heartbeat,
    write_outputs,
)
from jobs.queue.job import Job
from jobs.queue.look import Seen, look
from jobs.queue.records import Assignment, Command, CommandKind, End, EndState, Heartbeat, Outputs
from jobs.queue.show import as_text, log_lines, log_text, rows, show, show_text
from jobs.results.experiment import status
from jobs.run.progress import Tally
from store.errors import StoreError

FOR_USERS = (ClusterError, JobsError, StoreError, OSError)

LONGEST_S = 20
"""Seconds after which a command counts as hanging."""

ODD: list[Any] = [
    *(None, True, -1, 0, 7, 10**30, -(10**9), 0.5, 1e300, -1e300, float("nan"), float("inf")),
    *("", "x", "now", "../..", "\ud800", "\x1b[2J", "a/b/c", "s3://", "0" * 5000),
    *([], [[]], [None], {}, {"time": 1}, [{"a": []}]),
]


@contextmanager
def in_time() -> Iterator[None]:
    """Whatever takes too long, raises."""

    def ring(*_: object) -> None:
        raise AssertionError(f"took more than {LONGEST_S} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(LONGEST_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def quietly(command: Callable[[], object]) -> bool:
    """Run a command; whether it succeeded. What is not for users, is raised."""
    try:
        with in_time():
            command()
    except FOR_USERS as error:
        if not str(error):
            raise AssertionError(f"{error!r} says nothing") from error
        return False
    return True


def change(path: Path, chance: random.Random) -> str:
    """Damage one file; returns what was done."""
    data = path.read_bytes()
    kinds = ["empty", "cut", "noise", "flip", "gone", "pipe", "link", "device", "folder", "other"]
    if path.suffix == ".json":
        kinds += ["value"] * 20 + ["key"] * 4
    kind = chance.choice(kinds)
    if kind in ("gone", "pipe", "link", "device", "folder"):
        path.unlink()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(data[: chance.randrange(len(data) + 1)])
    elif kind == "noise":
        path.write_bytes(chance.randbytes(chance.randrange(200)))
    elif kind == "flip" and data:
        at = chance.randrange(len(data))
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/etc/hostname")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "other":
        path.write_text(json.dumps(chance.choice(ODD)))
    elif kind in ("value", "key"):
        content = json.loads(data)
        if isinstance(content, dict) and content:
            key = chance.choice(sorted(content))
            odd = chance.choice(ODD)
            kind = f"{kind} {key}" + (f" = {str(odd)[:20]!r}" if kind == "value" else "")
            content = (
                {**content, key: odd} if kind.startswith("value") else {k: v for k, v in content.items() if k != key}
            )
        path.write_text(json.dumps(content))
    return f"{path.name}: {kind}"


def attempted(job: Job, root: Path, *, ended: bool) -> None:
    """One attempt with all of its files."""
    attempt = decide(job, "http://127.0.0.1:1")
    assert attempt is not None
    start(attempt)
    write_outputs(attempt, Outputs(root=str(root), steps=["keys/0123456789abcdef"]))
    write_heartbeat(attempt, Heartbeat(time=1.0, tally=Tally(step="keys", units=7, ended=3, failed=0)))
    with log_of(attempt) as log:
        log.write({"time": 1.0, "job": job.id, "attempt": 1, "event": "unit", "unit": "00001"})
    if ended:
        end(attempt, End(state=EndState.LOST, why="so it was"))


def damaged_queue(folder: Path, chance: random.Random) -> None:
    """One case."""
    queue, root = folder / "queue", str(folder / "root")
    where: dict[str, Any] = {"root": root, "images": None, "address": "http://127.0.0.1:1"}
    whole, victim = (
        add(queue, Assignment(name="tiny", specs=[{"name": "tiny"}], **where, priority=0, attempts=3)) for _ in range(2)
    )
    attempted(whole, folder / "root", ended=False)
    attempted(victim, folder / "root", ended=True)
    add_command(find_job(queue, victim.id), Command(kind=CommandKind.RETRY, attempts=1))
    prioritise(find_job(queue, victim.id), 3)
    attempted(find_job(queue, victim.id), folder / "root", ended=chance.random() < 0.5)
    there = sorted(path for path in (queue / victim.id).rglob("*") if path.is_file())
    done = change(chance.choice(there), chance)
    told: list[str] = []
    with in_time():
        found = read_queue(queue, told.append)
        assert whole.id in as_text(rows(look(found, told.append))), done
        assert (
            victim.id in [job.id for job in found] or any(victim.id in line for line in told) or "job.json" in done
        ), done
        json.dumps([row.to_json() for row in rows(Seen(job=job) for job in found)])
        passes.reconcile(queue, max_running=2, tell=told.append)
    assert not any("Error:" in line for line in told), (done, told)

    def show_all() -> None:
        job = find_job(queue, victim.id)
        show_text(Seen(job=job))
        json.dumps(show(Seen(job=job)))
        for line in log_lines(job):
            log_text(line)

    quietly(show_all)


def damaged_root(folder: Path, chance: random.Random, whole: Path) -> None:
    """One case."""
    left_out = shutil.ignore_patterns("data.zarr", "*.safetensors", "*.png")  # status reads none of it
    root = Path(shutil.copytree(whole, folder / "root", ignore=left_out))
    there = sorted(path for path in root.rglob("*") if path.is_file())
    done = [change(chance.choice(there), chance)]
    if chance.random() < 0.1:
        units = chance.choice(sorted(root.glob("*/*/units")))
        shutil.rmtree(units)
        units.symlink_to("/etc")
        done.append("units: link")
    if quietly(lambda: status(root)):
        with in_time():
            json.dumps([row.to_json() for row in status(root)])
