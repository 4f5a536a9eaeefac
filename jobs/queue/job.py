"""A job and its attempts, as their files say; its state is read off them."""

from dataclasses import dataclass, field
from enum import StrEnum

from jobs.queue.records import Assignment, Command, CommandKind, Decision, End, EndState, Heartbeat, Outputs, Signed
from store.places import Place

STALE_S = 90.0
"""Seconds without a heartbeat after which an attempt is lost."""

START_S = 900.0
"""Seconds from the decision on an attempt to its first heartbeat: a cluster may have to fetch the code first."""


class StateName(StrEnum):
    """What a job can be."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens unless somebody asks for it."""
        return self in (StateName.SUCCEEDED, StateName.FAILED, StateName.STOPPED)

    @property
    def waits(self) -> bool:
        """Whether another attempt is due; an attempt that is lost and has not ended is settled first."""
        return self in (StateName.QUEUED, StateName.LOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a job is now, and why."""

    name: StateName
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a job; what has not happened yet is None."""

    number: int
    """From 1."""
    place: Place
    """Its folder."""
    decision: Decision
    start: Signed | None = None
    outputs: Outputs | None = None
    heartbeat: Heartbeat | None = None
    end: End | None = None

    @property
    def submission(self) -> str:
        """Its name on a cluster; taken from the files, so that submitting it twice cannot start it twice."""
        return f"dkvb-{self.place.parent.parent.name}-{self.number}"

    def silence(self, now: float) -> float:
        """Seconds since its last sign of life, beyond what it may be silent; negative while all is well.

        A time that lies as far in the future is no better than one in the past: some clock is wrong.
        """
        if self.heartbeat is not None:
            return abs(now - self.heartbeat.time) - STALE_S
        if self.start is not None:
            return abs(now - self.start.time) - STALE_S
        return abs(now - self.decision.time) - START_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as its files say; nothing else is known of it."""

    id: str
    place: Place
    """Its folder in the queue."""
    assignment: Assignment
    commands: list[Command] = field(default_factory=list)
    """In the order in which they were given."""
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def priority(self) -> int:
        """Higher goes first."""
        values = (command.value for command in reversed(self.commands) if command.kind is CommandKind.PRIORITY)
        value = next(values, None)
        return self.assignment.priority if value is None else value

    @property
    def rank(self) -> tuple[int, float, str]:
        """Sorts jobs in the order in which they are started."""
        return -self.priority, self.assignment.time, self.id

    @property
    def is_to_stop(self) -> bool:
        """Whether the last command was to stop, but for priorities."""
        kinds = [command.kind for command in self.commands if command.kind is not CommandKind.PRIORITY]
        return kinds[-1:] == [CommandKind.STOP]

    @property
    def charged(self) -> int:
        """Attempts since the last retry."""
        retries = (command.attempts for command in reversed(self.commands) if command.kind is CommandKind.RETRY)
        return len(self.attempts) - (next(retries, None) or 0)

    @property
    def open_attempt(self) -> Attempt | None:
        """The attempt that has not ended."""
        last = self.attempts[-1] if self.attempts else None
        return last if last is not None and last.end is None else None

    def state(self, now: float) -> State:
        """What the job is at a time (seconds since 1970)."""
        last, limit = (self.attempts[-1] if self.attempts else None), self.assignment.attempts
        if any(attempt.end is not None and attempt.end.state is EndState.SUCCEEDED for attempt in self.attempts):
            return State(name=StateName.SUCCEEDED)
        if last is not None and last.end is None:
            if last.silence(now) > 0:
                return State(name=StateName.LOST, why=f"attempt {last.number} has not been heard from for too long")
            why = "starting" if last.start is None else ""
            return State(name=StateName.RUNNING, why="stopping" if self.is_to_stop else why)
        if self.is_to_stop:
            return State(name=StateName.STOPPED)
        if last is None or last.end is None or self.charged == 0:
            return State(name=StateName.QUEUED)
        why = f"attempt {last.number}: {last.end.why}"
        if last.end.state is EndState.FAILED and last.end.final:
            return State(name=StateName.FAILED, why=why)
        if self.charged >= limit:
            return State(name=StateName.FAILED, why=f"{why} (the last of {limit})")
        return State(name=StateName.LOST if last.end.state is EndState.LOST else StateName.QUEUED, why=why)
