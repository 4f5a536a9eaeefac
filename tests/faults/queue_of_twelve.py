"""Twelve jobs in a queue, three of them bad, while reconciler and head are killed.

How to run it: ``python tests/faults/queue_of_twelve.py``. A real cluster (`ray start --head`, token, loopback), the
command line as people type it, `kill -9`. It prints what it does as it goes and the queue's end state as a table, takes
some minutes, and fails unless every good job succeeded, each once, and every bad one failed with its reason.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jobs.queue.commands import submit
from jobs.queue.files import find_job, read_queue
from jobs.queue.job import Job
from jobs.spec.reading import build
from jobs.spec.schema import Spec
from tests.head import Head
from tests.processes import wait_until
from tests.tiny import TEST, TINY, TRAIN, changed, paint

GOOD, PATIENCE_S = 9, 3600
BEGAN = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - BEGAN:6.1f} s  {text}", flush=True)


class Scenario:
    """The head, the queue, and the reconciler that may be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.queue, self.head = folder, folder / "queue", Head(folder)
        self.watch: subprocess.Popen[bytes] | None = None

    def dkvb(self, *words: object) -> str:
        """Run `dkvb jobs ...`."""
        asked = [sys.executable, "-m", "jobs.cli", "jobs", *map(str, words), "--queue", str(self.queue)]
        return subprocess.run(asked, env=self.head.environment, check=True, capture_output=True, text=True).stdout

    def keep_going(self) -> None:
        """Start the reconciler."""
        asked = ["reconcile", "--watch", "--every", "1", "--max-running", "2", "--queue", str(self.queue)]
        self.watch = subprocess.Popen([sys.executable, "-m", "jobs.cli", "jobs", *asked], env=self.head.environment)

    def kill_the_reconciler(self) -> None:
        assert self.watch is not None
        self.watch.kill()
        self.watch.wait()

    def put(self, name: str, images: Path, changes: dict[str, Any] | None = None, root: str = "root") -> str:
        """Submit a job; returns its id."""
        spec = build(Spec, changed(TINY, changes or {}), "")
        asked: dict[str, Any] = {"name": name, "priority": 0, "attempts": 3, "workers": 1, "gpus": 0}
        where: dict[str, Any] = {"address": self.head.address, "queue": self.queue, "images": str(images)}
        return submit([spec], self.folder / root, **where, tell=lambda _: None, **asked).id

    def job(self, name: str) -> Job:
        return find_job(self.queue, name)

    def states(self) -> list[str]:
        return [job.state(time.time()).name for job in read_queue(self.queue)]

    def until(self, what: str, holds: Callable[[], object]) -> None:
        """Wait for something, and tell of every change in the queue meanwhile."""
        said = ""

        def come() -> object:
            nonlocal said
            states = self.states()
            now = ", ".join(f"{states.count(name)} {name}" for name in sorted(set(states)))
            if now != said:
                say(now)
            said = now
            return holds()

        wait_until(come, what, PATIENCE_S, every=0.5)
        say(what)


def play(at: Scenario) -> dict[str, str]:
    """The whole story; returns what each job must have come to."""
    images, spoilt = at.folder / "images", at.folder / "spoilt"
    paint(images / "train", TRAIN)
    paint(images / "test", TEST, first=1000)
    shutil.copytree(images, spoilt)
    (spoilt / "train" / "bee" / "0003.png").write_bytes(b"no picture")
    at.head.start()
    say(f"a head at {at.head.address}")
    good = [at.put(f"good{i}", images, {"sweep.uve.seeds": [i]}) for i in range(GOOD)]
    nowhere = Path(shutil.copytree(images, at.folder / "nowhere"))  # until it was submitted
    bad = [
        at.put("spoilt", spoilt, root="spoilt-root"),
        at.put("missing", nowhere),
        at.put("impossible", images, {"sweep.uve.examples": [100000]}),
    ]
    shutil.rmtree(nowhere)
    say(f"submitted {len(good) + len(bad)} jobs; the first began at once")

    at.dkvb("priority", good[-1], 9)
    at.dkvb("priority", bad[0], 5)
    at.dkvb("stop", good[1])
    say(f"moved {good[-1]} to the front and {bad[0]} behind it, stopped {good[1]}\n{at.dkvb('list')}")

    at.keep_going()
    at.until("two jobs have succeeded", lambda: at.states().count("succeeded") >= 2)
    assert at.job(good[-1]).attempts, "what has priority went first"
    assert not at.job(good[-2]).attempts, "what has none waits"
    at.kill_the_reconciler()
    say("the reconciler was killed, and another started")
    at.keep_going()

    at.until("four have succeeded, and another runs", lambda: at.states().count("succeeded") >= 4 and runs(at))
    at.kill_the_reconciler()
    at.head.kill()
    say("the head was killed, all that ran on it, and the reconciler")
    at.until("the queue is still there, without its cluster", lambda: at.dkvb("list").count("\n") == 12)
    at.head.start()
    at.keep_going()
    say("the head and the reconciler were started again")
    at.dkvb("retry", good[1])
    say(f"{good[1]} was taken up again")
    at.until("nothing waits or runs", lambda: {"queued", "running", "lost"}.isdisjoint(at.states()))
    at.kill_the_reconciler()
    return dict.fromkeys(good, "succeeded") | dict.fromkeys(bad, "failed")


def runs(at: Scenario) -> int:
    """How many jobs run."""
    return at.states().count("running")


def judge(at: Scenario, expected: dict[str, str]) -> None:
    """Print the end state, and fail if it is not what it must be."""
    print(f"\n{'job':<18} {'state':<10} {'attempts ended as':<28} why")
    for name, state in expected.items():
        job = at.job(name)
        now, ends = job.state(time.time()), [str(attempt.end.state) for attempt in job.attempts if attempt.end]
        print(f"{name:<18} {now.name:<10} {', '.join(ends):<28} {' '.join(now.why.split())[:90]}")
        assert now.name == state, f"{name}: is {now}, expected {state}"
        assert ends.count("succeeded") == (state == "succeeded"), f"{name}: ran to success more than once"
        assert ends.count("failed") == (state == "failed"), f"{name}: a cause that stays was tried again"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="dk", ignore_cleanup_errors=True) as folder:
        at = Scenario(Path(folder))
        os.environ |= {name: value for name, value in at.head.environment.items() if name.startswith("RAY_")}
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            judge(at, play(at))
        finally:
            if at.watch is not None:
                at.kill_the_reconciler()
            at.head.kill()
    say("every good job succeeded once, every bad one failed with its reason")


if __name__ == "__main__":
    main()
