"""Roots and queues somebody tampered with: bytes, JSON, links, pipes, folders in place of files."""

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.answers import has
from tests.faults.children import Call, dkvb
from tests.faults.finished import Copy, tiny
from tests.faults.fuzz_specs import ODD, TEXTS, change

STRANGE: list[Any] = [odd for odd in ODD if not hasattr(odd, "isoformat")] + [
    None,
    time.time() + 1e6,
    -1e30,
    253402300800,
]
"""Values that JSON has."""


def json_changed(path: Path, rng: random.Random) -> None:
    """Some places of a JSON file changed; another's bytes, where it is none."""
    try:
        held = {"whole": json.loads(path.read_bytes())}
    except ValueError:
        bytes_changed(path, rng)
        return
    for _ in range(rng.choice((1, 1, 3))):
        change(held, rng, STRANGE)
    path.write_text(json.dumps(held.get("whole", held), default=str), encoding="utf-8", errors="surrogatepass")


def bytes_changed(path: Path, rng: random.Random) -> None:
    """The bytes of a file damaged."""
    path.write_bytes(TEXTS[rng.choice(list(TEXTS))](path.read_bytes() or b"\n", rng))


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    """Something else in place of a file."""
    path.unlink()
    make(path)


def file_for(folder: Path) -> None:
    """A file in place of a folder."""
    move_away(folder)
    folder.write_bytes(b"")


CHANGES: dict[str, Callable[[Path, random.Random], object]] = {
    "bytes": bytes_changed,
    "gone": lambda path, rng: path.unlink(),
    "zeroed": lambda path, rng: path.write_bytes(bytes(path.stat().st_size)),
    "noise": lambda path, rng: path.write_bytes(rng.randbytes(rng.choice((1, 100, 10_000)))),
    "grown": lambda path, rng: path.write_bytes(path.read_bytes() * rng.choice((2, 50))),
    "deep": lambda path, rng: path.write_bytes(b"[" * 100_000),
    "huge": lambda path, rng: os.truncate(path, 2**40),
    "a folder": lambda path, rng: replaced(path, Path.mkdir),
    "a pipe": lambda path, rng: replaced(path, os.mkfifo),
    "a link to itself": lambda path, rng: replaced(path, lambda one: one.symlink_to(one.name)),
    "a link to nothing": lambda path, rng: replaced(path, lambda one: one.symlink_to("nothing")),
    "a link away": lambda path, rng: replaced(
        path, lambda one: one.symlink_to(rng.choice(("/etc/passwd", "/dev/zero", "/")))
    ),
    "not to be read": lambda path, rng: path.chmod(0),
    "its folder gone": lambda path, rng: move_away(path.parent),
    "its folder a link": lambda path, rng: linked(path.parent),
    "its folder a file": lambda path, rng: file_for(path.parent),
    "odd neighbours": lambda path, rng: [
        (path.parent / name).write_bytes(b"{}") for name in ("\udcff.json", "é.json", "\x1b[31m.json", ".json")
    ],
}
"""What becomes of a file."""


def move_away(folder: Path) -> None:
    """Put a folder where nobody looks for it."""
    folder.rename(folder.with_name(f".gone-{folder.name}"))


def linked(folder: Path) -> None:
    """A link to a folder in its place."""
    move_away(folder)
    folder.symlink_to(f".gone-{folder.name}")


class Trees:
    """Each case is a folder of ours of which a few files are changed."""

    def __init__(self, source: Path, copy: Path) -> None:
        self.copy = Copy(source, copy)

    def changed(self, rng: random.Random) -> str:
        """Put the folder back, and change some of it; returns what was done."""
        self.copy.put_back()
        about = []
        for file in rng.sample(self.copy.files(), rng.choice((1, 1, 2, 5))):
            path = self.copy.path / file
            if not path.is_file() or path.is_symlink():
                continue  # a change before this one took it
            known = file.endswith("json") and rng.random() < 0.6
            what = "JSON" if known else rng.choice(list(CHANGES))
            if what.startswith("its folder") and (path.parent == self.copy.path or path.parent.is_symlink()):
                what = "gone"
            (json_changed if known else CHANGES[what])(path, rng)
            about.append(f"{file} {what}")
        return ", ".join(about)


class Roots(Trees):
    """The root of the tiny experiment: its state, tables, and a mask."""

    def __init__(self, folder: Path) -> None:
        self.source = tiny(folder)
        super().__init__(self.source.root, folder / "copy")

    def case(self, rng: random.Random) -> tuple[str, dict[str, Call]]:
        """One root; returns what it is, and what is done with it."""
        about, root = self.changed(rng), self.copy.path
        cat = ("unlearn", root, "--class", "cat", "--mask-only")
        return about, {
            "status": dkvb("status", root),
            "table": dkvb("table", root, "--table", rng.choice(("summary", "classes", "sweep"))),
            "mask": dkvb(*cat),
            "mask by examples": dkvb(*cat, "--method", "uve"),
            **({"verify": dkvb("status", root, "--verify")} if has("status", "--verify") else {}),
            **({"repair": dkvb("repair", root)} if has("repair") else {}),
        }


class Queues(Trees):
    """A queue with a job in every state: listed, shown, its logs, and a pass that reaches no cluster."""

    def __init__(self, folder: Path) -> None:
        self.jobs = fill(folder / "queue")
        super().__init__(folder / "queue", folder / "copy")

    def case(self, rng: random.Random) -> tuple[str, dict[str, Call]]:
        """One queue; returns what it is, and what is done with it."""
        about, named = self.changed(rng), ("--queue", self.copy.path)
        hit = [job for job in self.jobs if job in about] or self.jobs
        job, as_json = rng.choice(hit), rng.choice(([], ["--json"]))
        return about, {
            "list": dkvb("jobs", "list", *named, *as_json),
            "show": dkvb("jobs", "show", job, *named, *as_json),
            "logs": dkvb("jobs", "logs", job, *named, *as_json),
            "reconcile": reconcile(*named),
        }


def reconcile(*named: object) -> Call:
    """One pass that does not wait to see whether a silent driver speaks; that it reached no cluster is its answer."""

    def call() -> None:
        import jobs.queue.reconcile as module

        module.LOOK_S = 0.0
        made, own = list[module.Pass](), module.reconcile

        def noted(*words: Any, **named: Any) -> module.Pass:
            made.append(own(*words, **named))
            return made[-1]

        module.reconcile = noted
        try:
            dkvb("jobs", "reconcile", *named)()
        except SystemExit:
            if not (made and made[0].unreached):
                raise
        finally:
            module.reconcile = own

    return call


def fill(queue: Path) -> list[str]:
    """Put a job of every state into a queue, of a cluster that nobody can reach; returns their names."""
    from jobs.queue.commands import prioritise
    from jobs.queue.files import add, add_command, decide, end, find_job, start, write_heartbeat, write_outputs
    from jobs.queue.job import Job
    from jobs.queue.records import Assignment, Command, CommandKind, End, EndState, Heartbeat, Outputs
    from jobs.run.progress import Tally

    asked: dict[str, Any] = {"specs": [{"name": "tiny"}], "root": "/nowhere/root", "images": None}
    asked |= {"address": "http://127.0.0.1:1", "priority": 0, "attempts": 2}

    def attempt(job: Job, *, beat: float = 0.0, ending: End | None = None) -> None:
        tried = decide(find_job(queue, job.id), "http://127.0.0.1:1")
        assert tried is not None
        start(tried)
        write_outputs(tried, Outputs(root="/nowhere/root", steps=["keys/0123456789abcdef"]))
        tally = Tally(step="keys", units=7, ended=3, failed=0)
        write_heartbeat(tried, Heartbeat(time=time.time() + beat, tally=tally))
        line = {"time": time.time(), "job": job.id, "attempt": 1, "event": "done", "step": "keys", "unit": "00000"}
        (tried.place / "log.jsonl").write_text(f"{json.dumps(line)}\n")
        if ending is not None:
            end(tried, ending)

    jobs = [
        add(queue, Assignment(name=name, **asked))
        for name in ("waits", "runs", "silent", "done", "failed", "often", "stopped")
    ]
    _, runs, silent, done, failed, often, stopped = jobs
    attempt(runs, beat=1e5)
    attempt(silent, beat=-1e5)
    attempt(done, ending=End(state=EndState.SUCCEEDED, why="so it was", final=True))
    attempt(failed, ending=End(state=EndState.FAILED, why="so it was", final=True))
    attempt(often, ending=End(state=EndState.LOST, why="so it was", output="a\nb"))
    attempt(often, ending=End(state=EndState.FAILED, why="so it was"))
    add_command(stopped, Command(kind=CommandKind.STOP))
    add_command(often, Command(kind=CommandKind.RETRY, attempts=2))
    prioritise(jobs[0], 7)
    return [job.id for job in jobs]
