"""Units of work: the contract of a map over them, the outcome of a unit, and a map in this process."""

import os
import re
import socket
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

from cluster.errors import InvalidRequest, WorkerSetupFailed
from cluster.private import ends_worker
from dkvb_unlearning import Shadowed, claim

Work = Callable[[str], Any]
Factory = Callable[[], Work]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How long to try before a unit, or the whole map, is given up.

    raises: InvalidRequest if a number is not positive.
    """

    attempts: int = 3
    """Starts of one unit before it is reported as failed; 1 means no second chance."""
    lease_s: float = 900.0
    """Seconds one start of a unit may take before its worker is killed and replaced."""
    leases: Mapping[str, float] = field(default_factory=dict)
    """Seconds for single units, by name; they go before `lease_s`."""
    deadline_s: float = 120.0
    """Seconds without a live worker before NoWorkers; more than an autoscaler needs to bring up a node."""
    in_flight: int = 2
    """Units handed to a worker at a time; the second waits inside it and hides the round trip."""
    backoff_s: float = 0.2
    """Seconds before a transient error is tried again, doubled with each attempt."""

    def __post_init__(self) -> None:
        for name in ("attempts", "lease_s", "deadline_s", "in_flight", "backoff_s"):
            if not getattr(self, name) > 0:
                raise InvalidRequest(f"Policy: {name} is {getattr(self, name)}, expected a positive number")

    def lease(self, unit: str) -> float:
        """Seconds one start of this unit may take."""
        return self.leases.get(unit, self.lease_s)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of one unit."""

    unit: str
    ok: bool
    value: Any = None
    """What the work returned."""
    error: str | None = None
    """What the exception says that the work raised; after the name of its type unless it is meant for people."""
    exception: BaseException | None = None
    """That exception itself, if it could be carried over; without its traceback."""
    traceback: str | None = None
    """The traceback as text, as it stood in the worker."""
    attempts: int
    """Starts, the last one included."""
    seconds: float
    """Wall time of the last start."""
    worker: str
    """`host:pid` of the last worker."""


class EventKind(StrEnum):
    """What can happen while a map runs."""

    WAITING = "waiting"
    WORKER_READY = "worker_ready"
    SETUP_FAILED = "setup_failed"
    STARTED = "started"
    RETRY = "retry"
    WORKER_LOST = "worker_lost"
    LEASE_EXPIRED = "lease_expired"
    POISON = "poison"


@dataclass(slots=True, kw_only=True)
class Event:
    """Something worth showing or logging while a map runs."""

    kind: EventKind
    unit: str = ""
    worker: str = ""
    text: str = ""
    last: bool = False
    """Whether the unit is given up after this."""
    time: float = field(default_factory=time.time)


OnEvent = Callable[[Event], None]
Outcomes = Generator[Outcome, None, None]


class Executor(Protocol):
    """Runs units somewhere; callers cannot tell where.

    A unit is a name. The work writes its own output atomically, so running a unit twice is harmless, and a late
    result of a worker that was given up changes nothing. Only small results come back.
    """

    def map(
        self,
        factory: Factory,
        units: Sequence[str],
        *,
        policy: Policy,
        on_event: OnEvent,
        on_gpu: bool = False,
        memory: int = 0,
    ) -> Outcomes:
        """Yield one Outcome per unit, in order of completion; nothing starts before the first `next`.

        factory: picklable, called once in each worker; returns the work, unit -> small result.
        units: distinct names.
        on_gpu: whether they compute on a GPU where there is one; workers of other maps hold none.
        memory: bytes that a worker needs.

        An OSError or MemoryError of the work is tried again, any other exception is final at once.
        Closing the generator, or any exception, ends the workers.

        raises: WorkerSetupFailed if the factory fails everywhere; NoWorkers if no worker lives for the policy's
        deadline, or no node has the memory and none can come; InvalidRequest if a unit occurs twice.
        """
        ...

    def holds_gpus(self) -> bool:
        """Whether workers of units that compute on GPUs would be others than those of the rest, as they hold GPUs."""
        ...


@dataclass(slots=True, kw_only=True)
class Reply:
    """One call of the work, or of the factory, as it travels from a worker to the driver."""

    value: Any = None
    error: str | None = None
    exception: BaseException | bytes | None = None
    traceback: str | None = None
    transient: bool = False
    seconds: float = 0.0


def call(function: Callable[..., Any], *arguments: str) -> Reply:
    """Call and time the function; what it raises becomes part of the reply."""
    started = time.perf_counter()
    try:
        value = function(*arguments)
    # SystemExit too: work that calls sys.exit fails as a unit and does not end the worker.
    except (Exception, SystemExit) as error:
        if ends_worker(error):
            raise
        return replace(failure(error), seconds=time.perf_counter() - started)
    return Reply(value=value, seconds=time.perf_counter() - started)


def failure(error: BaseException) -> Reply:
    """The reply that stands for an exception."""
    text = "".join(traceback.format_exception(error))
    meant_for_people = hasattr(error, "exit_code")  # as the errors of all four packages are
    return Reply(
        error=str(error) if meant_for_people else f"{type(error).__name__}: {error}",
        exception=error.with_traceback(None),  # frames would keep the work's arrays alive
        traceback=text,
        transient=isinstance(error, OSError | MemoryError),
    )


def outcome(unit: str, reply: Reply, *, attempts: int, worker: str) -> Outcome:
    """The last reply of a unit as its outcome."""
    return Outcome(
        unit=unit,
        ok=reply.error is None,
        value=reply.value,
        error=reply.error,
        exception=_unpacked(reply.exception),
        traceback=reply.traceback,
        attempts=attempts,
        seconds=reply.seconds,
        worker=worker,
    )


def setup_failed(reply: Reply, *, worker: str) -> WorkerSetupFailed:
    """The error for a factory that failed on `worker`, with the factory's own exception as its cause."""
    error = WorkerSetupFailed(f"setting up a worker failed on {worker}: {reply.error}")
    error.__cause__ = _unpacked(reply.exception)
    if reply.traceback:
        error.add_note(reply.traceback)
    return error


def died_first(error: BaseException) -> Reply:
    """The failure of an actor that died before its setup; Ray blames missing libraries for a class it cannot import."""
    if "failed to import" not in str(error):
        return failure(error)
    lines = str(error).splitlines()
    cause = next((line for line in reversed(lines) if "Error:" in line), lines[0])
    return failure(
        Shadowed(
            f"a node of the cluster cannot import dkvb's code ({cause.strip()}): it is not installed there, or another "
            "`cluster` comes before it on that node's search path; look at PYTHONPATH and at the folder in which Ray "
            "was started"
        )
    )


def _unpacked(exception: BaseException | bytes | None) -> BaseException | None:
    if not isinstance(exception, bytes):
        return exception
    import ray.cloudpickle

    # A class this process cannot import, or whose __init__ does not take its args: name and text are kept beside it.
    with suppress(Exception):
        loaded = ray.cloudpickle.loads(exception)
        return loaded if isinstance(loaded, BaseException) else None
    return None


def check_distinct(units: Sequence[str]) -> None:
    """Check that no unit occurs twice; raises: InvalidRequest."""
    seen: set[str] = set()
    for unit in units:
        if unit in seen:
            raise InvalidRequest(f"map: unit {unit!r} occurs twice, expected distinct names")
        seen.add(unit)


def here() -> str:
    """`host:pid` of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def has_ended(process: str) -> bool:
    """Whether a process, given as `host:pid`, was on this machine and has ended."""
    host, _, number = process.rpartition(":")
    if host != socket.gethostname() or not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # another user's
    return False


@dataclass(frozen=True, slots=True)
class SerialExecutor:
    """One unit after the other in this process: for tests, debugging and machines without Ray."""

    def holds_gpus(self) -> bool:
        """See Executor.holds_gpus: this process has what it has, whatever it does."""
        return False

    def map(
        self,
        factory: Factory,
        units: Sequence[str],
        *,
        policy: Policy,
        on_event: OnEvent,
        on_gpu: bool = False,
        memory: int = 0,
    ) -> Outcomes:
        """See Executor.map; leases and worker deaths cannot be watched from inside and are not."""
        check_distinct(units)
        if not units:
            return
        worker = here()
        setup = call(factory)
        if setup.error is not None:
            on_event(Event(kind=EventKind.SETUP_FAILED, worker=worker, text=setup.error))
            raise setup_failed(setup, worker=worker)
        on_event(Event(kind=EventKind.WORKER_READY, worker=worker))
        for unit in units:
            for attempt in range(1, policy.attempts + 1):
                on_event(Event(kind=EventKind.STARTED, unit=unit, worker=worker, text=f"attempt {attempt}"))
                reply = call(setup.value, unit)
                if not reply.transient or attempt == policy.attempts:
                    break
                on_event(Event(kind=EventKind.RETRY, unit=unit, worker=worker, text=reply.error or ""))
                time.sleep(backoff(policy, attempt))
            yield outcome(unit, reply, attempts=attempt, worker=worker)


def backoff(policy: Policy, attempts: int) -> float:
    """Seconds to wait after that many attempts that failed with a transient error."""
    return policy.backoff_s * 2.0 ** (attempts - 1)


class UnitWorker:
    """A worker process: holds the work that a factory made, and replies whatever goes wrong inside."""

    def __init__(self) -> None:
        self._work: Work | None = None

    def begin(self) -> None:
        """Answer, as soon as this process runs: it has a place."""

    def setup(self, factory: bytes) -> tuple[str, Reply]:
        """Make the work of one map; returns `host:pid` and the factory's reply, without the work."""
        self._work = None  # free what the last map held, to make room
        claimed = call(claim)
        if claimed.error is not None:
            return here(), _packed(claimed)
        # Caught, not raised: Ray keeps only the text of an exception.
        made = call(lambda: _load(factory))
        self._work = made.value
        return here(), _packed(replace(made, value=None))

    def run(self, unit: str) -> Reply:
        """Do a unit once."""
        assert self._work is not None, "run before setup"
        return _packed(call(self._work, unit))


def _load(factory: bytes) -> Work:
    import ray.cloudpickle

    work: Work = ray.cloudpickle.loads(factory)()
    return work


def _packed(reply: Reply) -> Reply:
    import ray.cloudpickle

    packed = None
    # Some exceptions hold a lock or a file; their name and text travel all the same.
    with suppress(Exception):
        packed = ray.cloudpickle.dumps(reply.exception) if reply.exception is not None else None
    return replace(reply, exception=packed)
