"""A job and its attempts, as their files say; its state is read off them."""

from dataclasses import dataclass, field
from typing import Literal

from jobs.queue.records import Json
from store.places import Place

STALE_S = 90.0
"""Seconds without a heartbeat after which an attempt is lost."""

START_S = 900.0
"""Seconds from the decision on an attempt to its first heartbeat: a cluster may have to fetch the code first."""

StateName = Literal["queued", "running", "succeeded", "failed", "stopped", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a job is now, and why."""

    name: StateName
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a job, as its files say."""

    number: int
    place: Place
    decided: Json
    started: Json | None = None
    plan: Json | None = None
    heartbeat: Json | None = None
    end: Json | None = None

    @property
    def submission(self) -> str:
        """Its name on a cluster; taken from the files, so that submitting it twice cannot start it twice."""
        return f"dkvb-{self.place.parent.parent.name}-{self.number}"

    def silence(self, now: float) -> float:
        """Seconds since it was last heard of, beyond what it may be silent; negative while all is well.

        A time that lies as far in the future is no better than one in the past: some clock is wrong.
        """
        if self.heartbeat is not None:
            return abs(now - float(self.heartbeat["time"])) - STALE_S
        if self.started is not None:
            return abs(now - float(self.started["time"])) - STALE_S
        return abs(now - float(self.decided["time"])) - START_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as its files say; nothing else is known of it."""

    id: str
    place: Place
    asked: Json
    orders: list[Json] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def priority(self) -> int:
        """Higher goes first."""
        said_last = [order["value"] for order in self.orders if order["order"] == "priority"][-1:]
        return int((said_last or [self.asked["priority"]])[0])

    @property
    def rank(self) -> tuple[int, float, str]:
        """Sorts jobs in the order in which they are started."""
        return -self.priority, float(self.asked["time"]), self.id

    @property
    def stop_ordered(self) -> bool:
        """Whether the last word was to stop."""
        last = [order["order"] for order in self.orders if order["order"] in ("stop", "retry")]
        return last[-1:] == ["stop"]

    @property
    def charged(self) -> int:
        """Attempts since the last retry."""
        before = next((int(o["attempts"]) for o in reversed(self.orders) if o["order"] == "retry"), 0)
        return len(self.attempts) - before

    @property
    def open_attempt(self) -> Attempt | None:
        """The attempt that has not ended."""
        last = self.attempts[-1] if self.attempts else None
        return last if last is not None and last.end is None else None

    def state(self, now: float) -> State:
        """What the job is."""
        last, limit = (self.attempts[-1] if self.attempts else None), int(self.asked["attempts"])
        if any(attempt.end is not None and attempt.end["state"] == "succeeded" for attempt in self.attempts):
            return State(name="succeeded")
        if last is not None and last.end is None:
            if last.silence(now) > 0:
                return State(name="lost", why=f"attempt {last.number} was not heard of for too long")
            why = "starting" if last.started is None else ""
            return State(name="running", why="stopping" if self.stop_ordered else why)
        if self.stop_ordered:
            return State(name="stopped")
        if last is None or last.end is None or self.charged == 0:
            return State(name="queued")
        why = f"attempt {last.number}: {last.end['why']}"
        if last.end["state"] == "failed" and last.end["final"]:
            return State(name="failed", why=why)
        if self.charged >= limit:
            return State(name="failed", why=f"{why} (the last of {limit})")
        return State(name="lost" if last.end["state"] == "lost" else "queued", why=why)
