"""The driver of one attempt, on a cluster: ``python -m jobs.queue.driver QUEUE JOB ATTEMPT``.

It runs the job's specs as `dkvb run` does, says every few seconds that it lives, and writes down how it ended.
"""

from dkvb_unlearning import begin

if __name__ == "__main__":
    begin()  # before the other imports: it says whose code they find

import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import asdict

from cluster import metrics
from cluster.errors import ClusterError
from dkvb.errors import DkvbError
from jobs.errors import JobsError
from jobs.plan.plan import make_plan
from jobs.queue.files import end, find_job, read_queue, said
from jobs.queue.job import Attempt, Job
from jobs.run.execute import Placement, execute
from jobs.run.progress import LogEvent, LogLine, Reporter
from jobs.spec.reading import build
from jobs.spec.schema import Spec
from store.artefacts import write_json
from store.errors import StoreError
from store.files import create, exists
from store.journal import Journal
from store.places import place

BEAT_S = 5.0
"""Seconds between two heartbeats."""

QUEUE_S = 60.0
"""Seconds between two looks at the whole queue, for its length."""


class Log:
    """Log lines of an attempt: JSON, to the journal beside its heartbeat."""

    def __init__(self, job: Job, attempt: Attempt) -> None:
        self._about = {"job": job.id, "attempt": attempt.number}
        self._journal = Journal(attempt.place / "log.jsonl")
        self._lock = threading.Lock()  # the heartbeat's thread flushes

    def write(self, line: LogLine) -> None:
        """Add a line."""
        with self._lock:
            self._journal.write({"time": round(time.time(), 3), **self._about, **line.to_json()})

    def flush(self) -> None:
        """Put what is not put yet."""
        with self._lock:
            self._journal.flush()


class Beat(threading.Thread):
    """The heartbeat; and an ear for a stop order, or for somebody who has said that this attempt ended."""

    def __init__(self, job: Job, attempt: Attempt, reporter: Reporter, log: Log) -> None:
        super().__init__(name="beat", daemon=True)
        self._job, self._attempt, self._reporter, self._log = job, attempt, reporter, log
        self._over = threading.Event()
        self._looked = 0.0
        self.ordered = ""
        """Why the driver was told to end; empty unless it was."""

    def __enter__(self) -> "Beat":
        self.beat()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Beat until told that it is over, whatever happens."""
        while not self._over.wait(BEAT_S):
            try:
                self.beat()
            except Exception as error:  # a driver that works and is silent would be taken for dead
                print(f"heartbeat: {type(error).__name__}: {error}", file=sys.stderr, flush=True)

    def beat(self) -> None:
        """Say that the driver lives, and hear what was said meanwhile."""
        write_json(self._attempt.place / "heartbeat.json", {"time": time.time(), **asdict(self._reporter.tally())})
        self._log.flush()
        if not self.ordered:
            self.ordered = self.told_to_end()
            if self.ordered:
                os.kill(os.getpid(), signal.SIGTERM)
        if time.monotonic() - self._looked > QUEUE_S:
            self._looked = time.monotonic()
            states = [job.state(time.time()).name for job in read_queue(self._job.place.parent)]
            metrics.gauge(metrics.QUEUE, states.count("queued") + states.count("lost"))

    def why_told(self) -> str:
        """Why this driver was told to end, if that was said; an order is heard by its cluster before it is by us."""
        with suppress(OSError, StoreError, JobsError):
            return self.ordered or self.told_to_end()
        return ""

    def told_to_end(self) -> str:
        """Why this driver is to end, if it is."""
        if exists(self._attempt.place / "end.json"):
            return "another has said that this attempt ended"
        job = find_job(self._job.place.parent, self._job.id)
        return "stopped, as ordered" if job.stop_ordered else ""


def drive(job: Job, attempt: Attempt) -> int:
    """Run one attempt to its end; returns the exit code."""
    if attempt.end is not None or job.stop_ordered or not create(attempt.place / "started.json", said()):
        print(f"{job.id}: attempt {attempt.number} is another's, has ended or was stopped; nothing to do")
        return 0
    log = Log(job, attempt)
    reporter = Reporter(root=place(job.asked["root"]), terminal=False, log=log.write)
    signal.signal(signal.SIGTERM, _leave)
    with Beat(job, attempt, reporter, log) as beat:
        try:
            log.write(LogLine(event=LogEvent.ATTEMPT, text=f"begins on {job.asked['address']}"))
            work(job, attempt, reporter)
            state, why, final = "succeeded", "", True
        except (KeyboardInterrupt, SystemExit):
            why = beat.why_told() or "the driver was told to end (SIGTERM)"
            state, final = ("stopped", True) if why.startswith("stopped") else ("lost", False)
        except (ClusterError, DkvbError, JobsError, StoreError) as error:
            state, why, final = "failed", str(error), error.final
        except OSError as error:
            state, why, final = "failed", f"{type(error).__name__}: {error}", False
        except Exception as error:  # a bug of ours, or of a library
            state, why, final = "failed", f"{type(error).__name__}: {error}", True
            log.write(LogLine(event=LogEvent.TRACEBACK, text=traceback.format_exc()))
    log.write(LogLine(event=LogEvent(state), text=why))
    log.flush()  # before the end is said: who follows the log stops there
    end(attempt, state, why=why, final=final)  # type: ignore[arg-type]
    return 0 if state == "succeeded" else 1


def work(job: Job, attempt: Attempt, reporter: Reporter) -> None:
    """What `dkvb run` does, on the cluster that this process is part of."""
    asked = job.asked
    plans = [make_plan(build(Spec, spec, ""), asked["images"]) for spec in asked["specs"]]
    root = place(asked["root"])
    steps = sorted({f"{step.kind}/{step.digest}" for plan in plans for step in plan.steps})
    write_json(attempt.place / "plan.json", {"root": str(root), "steps": steps})
    execute(plans, root, Placement(address="auto", workers=asked["workers"], gpus=asked["gpus"]), reporter)


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def main() -> None:
    """Drive the attempt that the command line names."""
    queue, name, number = sys.argv[1:]
    job = find_job(place(queue), name)
    sys.exit(drive(job, job.attempts[int(number) - 1]))


if __name__ == "__main__":
    main()
