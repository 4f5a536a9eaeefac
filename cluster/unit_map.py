"""Maps of work units over held Ray actors: exactly one outcome per unit, though actors die or outstay a lease."""

import heapq
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cluster import errors
from cluster.demand import Demand
from cluster.errors import ClusterError, ClusterUnreachable, LeaseExpired, NoWorkers, SessionClosed, WorkerLost
from cluster.health import LOOK_S, Head
from cluster.pools import Asked, Pool, Shape, alive, held_already, pool_for
from cluster.units import (
    Event,
    EventKind,
    Executor,
    Factory,
    OnEvent,
    Outcome,
    Outcomes,
    Policy,
    Reply,
    SerialExecutor,
    UnitWorker,
    Work,
    backoff,
    check_distinct,
    died_first,
    failure,
    outcome,
    setup_failed,
)

__all__ = [
    "Event",
    "Executor",
    "Factory",
    "OnEvent",
    "Outcome",
    "Outcomes",
    "Policy",
    "RayExecutor",
    "SerialExecutor",
    "Work",
]


NODE_DIED = "its node has died"
"""What Ray says of an actor that went with its node, such as an idle one that an autoscaler was ending already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayExecutor:
    """Held Ray actors inside an open session, each with its own process, CPUs and GPUs.

    Actors outlive a map: the next one finds them warm, their libraries imported.
    """

    workers: int | None = None
    """At most so many; None: as many as there is room for, and as many as a growing cluster adds."""
    gpus: float | None = None
    """What a worker holds for units that compute on GPUs; None: one where a node has any."""
    grows: bool = False
    """Whether nodes may come: on every cluster but that of this process."""
    idle: dict[Shape, list[tuple[Any, str]]] = field(default_factory=dict, repr=False)
    """Actors between two maps, and their names, by what they hold."""

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
        """See Executor.map."""
        import ray

        check_distinct(units)
        if not units:
            return
        if not ray.is_initialized():
            raise SessionClosed("map: no session is open; iterate the map inside `with session(...)`")
        run = _Run(self.pool(on_gpu=on_gpu, memory=memory), factory, units, policy=policy, on_event=on_event)
        try:
            yield from run.outcomes()
            run.release()
        finally:
            run.close()

    def holds_gpus(self) -> bool:
        """See Executor.holds_gpus."""
        return pool_for(alive(), Asked(self.workers, self.gpus), grows=self.grows, on_gpu=True).shape.gpus > 0

    def pool(self, *, on_gpu: bool, memory: int = 0) -> Pool:
        """The workers of the next map, on nodes that are there now; others are ended. raises: as `pool_for`."""
        import ray

        nodes = alive()
        pool = pool_for(nodes, Asked(self.workers, self.gpus, memory), grows=self.grows, on_gpu=on_gpu)
        pool.shape = held_already(pool, nodes, self.idle)
        for shape in {*self.idle} - {pool.shape}:
            for actor, _ in self.idle.pop(shape):
                ray.kill(actor, no_restart=True)
        pool.idle = self.idle.setdefault(pool.shape, [])
        return pool


@dataclass(slots=True, eq=False)
class _Slot:
    """One actor as the driver sees it."""

    actor: Any
    begun: Any
    """Reference to an answer that comes as soon as the actor has a place."""
    ready: Any
    """Reference to the answer of an actor that is being set up; None while it is live."""
    name: str = ""
    flight: deque[tuple[str, Any]] = field(default_factory=deque)
    """(unit, reference), the executing one first: an actor works in order of arrival."""
    since: float = 0.0
    """When the first in flight began, as far as the driver knows."""
    alone: bool = False
    """Runs a suspect, and nothing may be queued behind it."""


class _Run:
    """The state of one map over actors."""

    def __init__(
        self,
        pool: Pool,
        factory: Factory,
        units: Sequence[str],
        *,
        policy: Policy,
        on_event: OnEvent,
    ) -> None:
        import ray.cloudpickle

        self._pool, self._policy, self._emit = pool, policy, on_event
        self._demand = Demand(pool.shape)
        self._factory = ray.cloudpickle.dumps(factory)
        self._open = len(units)
        self._todo = deque(units)
        self._suspects: deque[str] = deque()
        self._delayed: list[tuple[float, str]] = []
        self._charged: dict[str, int] = {}
        self._setup_failures = 0
        self._failure: errors.WorkerSetupFailed | None = None
        self._was_live = False
        self._last_live = time.monotonic()
        self._slots: list[_Slot] = []
        self._head = Head()

    def outcomes(self) -> Outcomes:
        self._grow()
        while self._open:
            try:
                self._feed()
                done = self._step()
            except ConnectionError as error:
                if isinstance(error, ClusterError):
                    raise
                raise ClusterUnreachable(
                    f"map: the connection to the Ray cluster was lost: {_first_line(error)}; what was finished is kept"
                ) from error
            for settled in done:
                self._open -= 1
                yield settled
                self._last_live = time.monotonic()  # the time the caller took is not the workers' silence

    def release(self) -> None:
        """Keep the live actors for the next map."""
        self._pool.idle.extend((slot.actor, slot.name) for slot in self._slots if slot.ready is None)
        self._slots = [slot for slot in self._slots if slot.ready is not None]

    def close(self) -> None:
        import ray

        # After the session nothing is left to kill, and Ray would start a new cluster to say so.
        if ray.is_initialized():
            for slot in self._slots:
                ray.kill(slot.actor, no_restart=True)

    def _grow(self) -> None:
        """Have as many actors as are wanted; those that wait for a place are what an autoscaler sees as demand."""
        placed = sum(slot.ready is None for slot in self._slots)
        while len(self._slots) < self._pool.wanted(self._open, placed=placed):
            self._slots.append(self._spawn())

    def _spawn(self) -> _Slot:
        import ray

        if self._pool.idle:
            actor, name = self._pool.idle.pop()
        else:
            actor, name = ray.remote(UnitWorker).options(**self._pool.shape.actor_options()).remote(), ""
        return _Slot(actor, actor.begin.remote(), actor.setup.remote(self._factory), name)

    def _feed(self) -> None:
        now = time.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            self._todo.appendleft(heapq.heappop(self._delayed)[1])
        for slot in self._slots:
            while slot.ready is None and (unit := self._next_for(slot)) is not None:
                slot.flight.append((unit, slot.actor.run.remote(unit)))
                if len(slot.flight) == 1:
                    self._begin(slot)

    def _next_for(self, slot: _Slot) -> str | None:
        if slot.alone or len(slot.flight) >= self._policy.in_flight:
            return None
        if self._suspects:
            slot.alone = not slot.flight
            return self._suspects.popleft() if slot.alone else None
        # Near the end nothing is queued behind a running unit that another worker could take at once.
        if not self._todo or (slot.flight and len(self._todo) <= len(self._slots)):
            return None
        return self._todo.popleft()

    def _begin(self, slot: _Slot) -> None:
        slot.since = time.monotonic()
        unit = slot.flight[0][0]
        attempt = self._charged.get(unit, 0) + 1
        self._emit(Event(kind=EventKind.STARTED, unit=unit, worker=slot.name, text=f"attempt {attempt}"))

    def _step(self) -> list[Outcome]:
        """Wait for the next thing to happen, or to be overdue, and deal with it."""
        import ray

        waiting = {}
        for slot in self._slots:
            if slot.ready is not None:
                waiting[slot.ready] = slot
            elif slot.flight:
                waiting[slot.flight[0][1]] = slot
        self._head.check()
        timeout = min(LOOK_S, max(0.0, self._next_due() - time.monotonic()))
        if not waiting:
            time.sleep(timeout)
            return []
        done, _ = ray.wait(list(waiting), num_returns=1, timeout=timeout)
        settled: list[Outcome | None] = []
        if done:
            slot = waiting[done[0]]
            self._slots.append(self._slots.pop(self._slots.index(slot)))  # so that no slot is always served first
            if slot.ready is not None:
                self._greet(slot)
            else:
                settled.append(self._collect(slot))
        settled += [self._expire(slot) for slot in list(self._slots) if self._is_overdue(slot)]
        self._check_deadline()
        return [one for one in settled if one is not None]

    def _next_due(self) -> float:
        due = [slot.since + self._policy.lease(slot.flight[0][0]) for slot in self._slots if slot.flight]
        due += [when for when, _ in self._delayed[:1]]
        if not any(slot.ready is None for slot in self._slots):
            due.append(self._last_live + self._policy.deadline_s)
        return min(due)

    def _greet(self, slot: _Slot) -> None:
        """Take up an actor that answered its setup: it is ready, its setup failed, or it died first."""
        import ray

        try:
            name, setup = ray.get(slot.ready)
        except ray.exceptions.RayError as error:
            self._emit(Event(kind=EventKind.WORKER_LOST, worker=slot.name, text=_first_line(error)))
            if not slot.name and NODE_DIED not in str(error):
                self._note_setup_failure(died_first(error), worker="an actor that died first")
            self._replace(slot)
            return
        if setup.error is None:
            slot.name, slot.ready, self._was_live = name, None, True
            self._grow()
            self._emit(Event(kind=EventKind.WORKER_READY, worker=name))
            return
        ray.kill(slot.actor, no_restart=True)
        self._slots.remove(slot)
        self._note_setup_failure(setup, worker=name)

    def _note_setup_failure(self, setup: Reply, *, worker: str) -> None:
        self._emit(Event(kind=EventKind.SETUP_FAILED, worker=worker, text=setup.error or ""))
        self._setup_failures += 1
        self._failure = setup_failed(setup, worker=worker)
        # An autoscaler need not bring up a hundred nodes to fail a hundred times.
        if not self._slots or (not self._was_live and self._setup_failures >= self._policy.attempts):
            raise self._failure

    def _collect(self, slot: _Slot) -> Outcome | None:
        """Take the answer of the first unit in flight, or the death of its worker."""
        import ray

        unit, reference = slot.flight[0]
        try:
            reply: Reply = ray.get(reference)
        except ray.exceptions.RayTaskError as error:  # the result could not be pickled
            reply = failure(error.cause)
        except ray.exceptions.RayError as error:
            return self._lose(slot, _first_line(error))
        slot.flight.popleft()
        slot.alone = False
        if slot.flight:
            self._begin(slot)
        attempts = self._charged.pop(unit, 0) + 1
        if not reply.transient or attempts >= self._policy.attempts:
            return outcome(unit, reply, attempts=attempts, worker=slot.name)
        self._charged[unit] = attempts
        heapq.heappush(self._delayed, (time.monotonic() + backoff(self._policy, attempts), unit))
        self._emit(Event(kind=EventKind.RETRY, unit=unit, worker=slot.name, text=reply.error or ""))
        return None

    def _lose(self, slot: _Slot, reason: str) -> Outcome | None:
        """Spawn another actor; everything in flight is lost, even an answer that was on its way."""
        units = [unit for unit, _ in slot.flight]
        seconds, worker = time.monotonic() - slot.since, slot.name
        self._replace(slot)
        last = len(units) == 1 and self._is_last(units[0])
        self._emit(Event(kind=EventKind.WORKER_LOST, unit=units[0], worker=worker, text=reason, last=last))
        if len(units) > 1:
            # The first most likely caused it, so it is charged; but only a death while alone is proof.
            self._charged[units[0]] = min(self._charged.get(units[0], 0) + 1, self._policy.attempts - 1)
            self._suspects.extend(units)
            return None
        text = f"the worker process {worker} died while it ran this unit; {reason}"
        return self._charge(units[0], WorkerLost(text), seconds=seconds, worker=worker)

    def _is_overdue(self, slot: _Slot) -> bool:
        import ray

        if not slot.flight or time.monotonic() - slot.since <= self._policy.lease(slot.flight[0][0]):
            return False
        return not ray.wait([slot.flight[0][1]], timeout=0)[0]  # the driver itself may have been away

    def _expire(self, slot: _Slot) -> Outcome | None:
        (head, _), *queued = slot.flight
        seconds = time.monotonic() - slot.since
        text = f"no answer from {slot.name} within the lease of {self._policy.lease(head):g} s"
        last = self._is_last(head)
        self._emit(Event(kind=EventKind.LEASE_EXPIRED, unit=head, worker=slot.name, text=text, last=last))
        self._todo.extendleft(unit for unit, _ in reversed(queued))
        self._replace(slot)
        return self._charge(head, LeaseExpired(text), seconds=seconds, worker=slot.name)

    def _replace(self, slot: _Slot) -> None:
        import ray

        ray.kill(slot.actor, no_restart=True)
        self._slots[self._slots.index(slot)] = self._spawn()

    def _is_last(self, unit: str) -> bool:
        """Whether a unit is given up once it is charged again."""
        return self._charged.get(unit, 0) + 1 >= self._policy.attempts

    def _charge(self, unit: str, error: Exception, *, seconds: float, worker: str) -> Outcome | None:
        """Count one attempt that took its worker down; the unit runs alone from now on, or is given up."""
        attempts = self._charged.pop(unit, 0) + 1
        reply = replace(failure(error), seconds=seconds)
        if attempts >= self._policy.attempts:
            self._emit(Event(kind=EventKind.POISON, unit=unit, worker=worker, text=reply.error or ""))
            return outcome(unit, reply, attempts=attempts, worker=worker)
        self._charged[unit] = attempts
        self._suspects.append(unit)
        self._emit(Event(kind=EventKind.RETRY, unit=unit, worker=worker, text=reply.error or ""))
        return None

    def _check_deadline(self) -> None:
        now = time.monotonic()
        if any(slot.ready is None for slot in self._slots):
            self._last_live = now
            self._demand.met()
        elif self._pool.grows:
            self._demand.check()
            if self._demand.is_news([slot.begun for slot in self._slots], now - self._last_live):
                self._emit(Event(kind=EventKind.WAITING, text=self._demand.words()))
        if now - self._last_live < self._policy.deadline_s:
            return
        if self._failure is not None and not self._was_live:
            raise self._failure
        raise NoWorkers(
            f"map: no live worker for {self._policy.deadline_s:g} s, {self._open} units are open; "
            f"{len(self._slots)} workers wait for {self._pool.shape} each. See what the cluster has with `ray "
            "status`, ask for fewer resources, or raise deadline_s if nodes take longer to come up"
        )


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
