"""The driver of one attempt, on a cluster: ``python -m jobs.queue.driver QUEUE JOB ATTEMPT``.

It runs the job's specs as `dkvb run` does, says every few seconds that it lives, and writes down how it ended. Where it
cannot even begin, its exit code and the last line that it prints are all that anybody learns (`jobs.queue.verdict`).
"""

from dkvb_unlearning import begin

if __name__ == "__main__":
    begin()  # before the other imports: it says whose code they find

import os
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import NoReturn

import jobs.steps  # noqa: F401  torch comes before signals are taken: inside an import none would surface as one
from cluster import metrics
from cluster.errors import ClusterError, NoWorkers
from dkvb.errors import DkvbError
from jobs.errors import JobsError
from jobs.plan.plan import make_plan
from jobs.queue.files import (
    end,
    find_job,
    has_ended,
    log_of,
    read_queue,
    start,
    write_heartbeat,
    write_outputs,
)
from jobs.queue.job import Attempt, Job
from jobs.queue.records import End, EndState, Heartbeat, Outputs
from jobs.queue.verdict import AGAIN, BY_REQUEST
from jobs.run.execute import Placement, execute
from jobs.run.forgotten import without_forgotten
from jobs.run.progress import LogEvent, LogLine, Reporter
from jobs.spec.reading import build
from jobs.spec.schema import Spec
from store.errors import StoreError
from store.places import place

BEAT_S = 5.0
"""Seconds between two heartbeats."""

QUEUE_S = 60.0
"""Seconds between two looks at the whole queue, for its length."""


class Log:
    """Log lines of an attempt: JSON, to the journal beside its heartbeat."""

    def __init__(self, job: Job, attempt: Attempt) -> None:
        self._about = {"job": job.id, "attempt": attempt.number}
        self._journal = log_of(attempt)
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
    """The heartbeat; it also looks for a command to stop, or for somebody who has said that this attempt ended."""

    def __init__(self, job: Job, attempt: Attempt, log: Log) -> None:
        super().__init__(name="beat", daemon=True)
        self._job, self._attempt, self._log = job, attempt, log
        self.reporter: Reporter | None = None
        """Whose tally the heartbeat tells, once there is one: a root may be slow to answer, or not do it."""
        self._over = threading.Event()
        self._looked = 0.0
        self._reason = ""
        """Why the driver is to end; empty unless it is."""

    def __enter__(self) -> "Beat":
        self.beat()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Beat until all is over, whatever happens."""
        while not self._over.wait(BEAT_S):
            try:
                self.beat()
            except Exception as error:  # a driver that works and is silent would be taken for dead
                print(f"heartbeat: {type(error).__name__}: {error}", file=sys.stderr, flush=True)

    def tell(self) -> None:
        """Say that the driver lives, and how far its run is."""
        write_heartbeat(self._attempt, Heartbeat(tally=self.reporter.tally() if self.reporter is not None else None))

    def beat(self) -> None:
        """Say that the driver lives, and look for what was said meanwhile."""
        self.tell()
        self._log.flush()
        if not self._reason:
            self._reason = self._look()
            if self._reason:
                os.kill(os.getpid(), signal.SIGTERM)
        if time.monotonic() - self._looked > QUEUE_S:
            self._looked = time.monotonic()
            states = [job.state(time.time()).name for job in read_queue(self._job.place.parent)]
            metrics.gauge(metrics.QUEUE, sum(name.waits for name in states))

    def reason(self) -> str:
        """Why this driver is to end, if that was said; a command reaches its cluster before it reaches this process."""
        with suppress(OSError, StoreError, JobsError):
            return self._reason or self._look()
        return ""

    def _look(self) -> str:
        """Why this driver is to end, by the files of the queue."""
        if has_ended(self._attempt):
            return "another has said that this attempt ended"
        return BY_REQUEST if find_job(self._job.place.parent, self._job.id).is_to_stop else ""


def drive(job: Job, attempt: Attempt) -> int:
    """Run one attempt to its end; returns the exit code."""
    if attempt.end is not None or job.is_to_stop or not start(attempt):
        print(f"{job.id}: attempt {attempt.number} is another's, has ended or was stopped; nothing to do")
        return 0
    log = Log(job, attempt)
    signal.signal(signal.SIGTERM, _leave)
    with Beat(job, attempt, log) as beat:
        try:
            beat.reporter = reporter = Reporter(root=place(job.assignment.root), terminal=False, log=log.write)
            log.write(LogLine(event=LogEvent.ATTEMPT, text=f"begins on {job.assignment.address}"))
            work(job, attempt, reporter)
            ending = End(state=EndState.SUCCEEDED, why="", final=True)
        except (KeyboardInterrupt, SystemExit) as error:
            why = beat.reason() or _ended_by(error)
            stopped = why == BY_REQUEST
            ending = End(state=EndState.STOPPED if stopped else EndState.LOST, why=why, final=stopped)
        except (ClusterError, DkvbError, JobsError, StoreError) as error:
            why = f"{error}{_of_workers(job, error)}"
            ending = End(state=EndState.FAILED, why=why, final=error.final)
        except OSError as error:
            ending = End(state=EndState.FAILED, why=f"{type(error).__name__}: {error}")
        except Exception as error:  # a bug of ours, or of a library
            ending = End(state=EndState.FAILED, why=f"{type(error).__name__}: {error}", final=True)
            log.write(LogLine(event=LogEvent.TRACEBACK, text=traceback.format_exc()))
    with suppress(OSError, StoreError):  # how far it came; the end is what counts
        beat.tell()
    log.write(LogLine(event=LogEvent(ending.state), text=ending.why))
    log.flush()  # before the end is said: who follows the log stops there
    end(attempt, ending)
    return 0 if ending.state is EndState.SUCCEEDED else 1


def work(job: Job, attempt: Attempt, reporter: Reporter) -> None:
    """What `dkvb run` does, on the cluster that this process is part of."""
    assignment = job.assignment
    root = place(assignment.root)
    specs = [without_forgotten(build(Spec, spec, ""), root) for spec in assignment.specs]
    plans = [make_plan(spec, assignment.images) for spec in specs]
    steps = sorted({f"{step.kind}/{step.digest}" for plan in plans for step in plan.steps})
    write_outputs(attempt, Outputs(root=str(root), steps=steps))
    placement = Placement(address="auto", workers=assignment.workers, gpus=assignment.gpus, python=assignment.python)
    execute(plans, root, placement, reporter)


def _of_workers(job: Job, error: Exception) -> str:
    """What else may be the reason that no worker came, where the interpreter of workers was named."""
    if not isinstance(error, NoWorkers) or error.final or job.assignment.python is None:
        return ""
    return f"; or machines of the cluster have no {job.assignment.python} that its Ray can start workers with"


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def _ended_by(error: BaseException) -> str:
    """Why a driver ends that nobody asked to, as far as it can know."""
    if isinstance(error, SystemExit) and error.code == 128 + signal.SIGTERM:
        return "SIGTERM ended the driver, though nobody had asked for a stop: its cluster or its node is going away"
    return f"the driver was interrupted ({type(error).__name__}: {error})"


def main() -> None:
    """Drive the attempt that the command line names."""
    queue, name, number = sys.argv[1:]
    try:
        job = find_job(place(queue), name)
        attempt = job.attempts[int(number) - 1]
    except (JobsError, StoreError) as error:
        _cannot_begin(str(error), final=error.final)
    except IndexError:
        _cannot_begin(f"{queue}: {name} has no attempt {number}", final=True)
    except OSError as error:
        _cannot_begin(f"{queue}: {error.strerror or error}", final=False)
    sys.exit(drive(job, attempt))


def _cannot_begin(why: str, *, final: bool) -> NoReturn:
    """End before anything is written: the queue cannot be read from here."""
    here = f"as seen from {socket.gethostname()}, where the driver runs: you and the cluster must both reach the queue"
    print(f"dkvb: {' '.join(why.split())} ({here})", file=sys.stderr, flush=True)
    sys.exit(1 if final else AGAIN)


if __name__ == "__main__":
    main()
