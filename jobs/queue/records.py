"""The files of a queue as records: anybody on a shared disk may have changed them, so each is checked as it is read."""

import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from time import time as clock
from typing import Any

from cluster.units import here
from jobs.run.progress import Tally
from store.errors import NotARoot

Json = Mapping[str, Any]

FORMAT = "dkvb-job/1"
"""Of a job's file."""

REQUIRED = ("name", "specs", "root", "images", "address", "priority", "attempts", "commit", "time", "by")
"""Keys without which a file is no job's."""

LATEST = 253_402_300_799.0
"""The last second of the year 9999: beyond it there is no date."""


class CommandKind(StrEnum):
    """What people can ask of a job that is there."""

    STOP = "stop"
    RETRY = "retry"
    PRIORITY = "priority"


class EndState(StrEnum):
    """How an attempt can end."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A file that is created once: when, by which process, and a word by which that process knows its own file.

    As it is, without any other content, it is `started.json`: the first word of a driver.
    """

    time: float = field(default_factory=clock)
    """Seconds since 1970."""
    by: str = field(default_factory=here)
    """`host:pid`."""
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    @classmethod
    def read(cls, path: str, content: Json) -> "Signed":
        """Check the content of the file at a path; raises: NotARoot naming the file and the key."""
        check(path, content, {"time": is_time(content.get("time")), "by": is_text(content.get("by"))})
        return Signed(time=content["time"], by=content["by"], token=token_of(content))

    def content(self) -> Json:
        """What the file says beside its signature."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """The whole file."""
        return {**self.content(), "time": self.time, "by": self.by, "token": self.token}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment(Signed):
    """What a job is to do: `job.json`."""

    name: str
    specs: list[dict[str, Any]]
    """Tables as of a TOML file; the driver builds `jobs.spec.schema.Spec` of them."""
    root: str
    images: str | None
    address: str
    """Of the job server of its cluster."""
    priority: int
    """At first; commands may change it."""
    attempts: int
    """Before it has failed."""
    workers: int | None = None
    gpus: float | None = None
    """That each worker holds."""
    python: str | None = None
    """The interpreter of driver and workers, as the cluster's machines find it; None for theirs."""
    commit: str | None = None
    """Of the code that submitted it."""

    @classmethod
    def read(cls, path: str, content: Json) -> "Assignment":
        """Check the content of the file at a path, which has the keys of REQUIRED; raises: NotARoot."""
        gpus, specs = content.get("gpus"), content["specs"]
        right = {
            "name": is_text(content["name"]),
            "specs": isinstance(specs, list) and all(isinstance(spec, dict) for spec in specs),
            "root": is_text(content["root"]),
            "images": content["images"] is None or is_text(content["images"]),
            "address": is_text(content["address"]),
            "priority": is_whole(content["priority"]),
            "attempts": is_whole(content["attempts"], 1),
            "commit": content["commit"] is None or is_text(content["commit"]),
            "workers": content.get("workers") is None or is_whole(content["workers"], 1),
            "gpus": gpus is None or (isinstance(gpus, int | float) and math.isfinite(gpus) and gpus >= 0),
            "python": content.get("python") is None or is_python(content["python"]),
            "time": is_time(content["time"]),
            "by": is_text(content["by"]),
        }
        check(path, content, right)
        return Assignment(
            name=content["name"],
            specs=specs,
            root=content["root"],
            images=content["images"],
            address=content["address"],
            priority=content["priority"],
            attempts=content["attempts"],
            workers=content.get("workers"),
            gpus=gpus,
            python=content.get("python"),
            commit=content["commit"],
            time=content["time"],
            by=content["by"],
            token=token_of(content),
        )

    def content(self) -> Json:
        """What the file says beside its signature."""
        return {
            "format": FORMAT,
            "name": self.name,
            "specs": self.specs,
            "root": self.root,
            "images": self.images,
            "address": self.address,
            "priority": self.priority,
            "attempts": self.attempts,
            "workers": self.workers,
            "gpus": self.gpus,
            "python": self.python,
            "commit": self.commit,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Signed):
    """One thing that people asked of a job: `orders/<n>.json`."""

    kind: CommandKind
    value: int | None = None
    """The new priority."""
    attempts: int | None = None
    """Of a retry: those the job had by then."""

    @classmethod
    def read(cls, path: str, content: Json) -> "Command":
        """Check the content of the file at a path, whose "order" is one of the kinds; raises: NotARoot."""
        kind = CommandKind(content["order"])
        right = {
            "value": kind is not CommandKind.PRIORITY or is_whole(content.get("value")),
            "attempts": kind is not CommandKind.RETRY or is_whole(content.get("attempts"), 0),
            "time": is_time(content.get("time")),
            "by": is_text(content.get("by")),
        }
        check(path, content, right)
        return Command(
            kind=kind,
            value=content["value"] if kind is CommandKind.PRIORITY else None,
            attempts=content["attempts"] if kind is CommandKind.RETRY else None,
            time=content["time"],
            by=content["by"],
            token=token_of(content),
        )

    def content(self) -> Json:
        """What the file says beside its signature."""
        value = {} if self.value is None else {"value": self.value}
        attempts = {} if self.attempts is None else {"attempts": self.attempts}
        return {"order": self.kind, **value, **attempts}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Signed):
    """That there is to be an attempt: `attempt.json`."""

    address: str
    """Of the job server that it is submitted to."""

    @classmethod
    def read(cls, path: str, content: Json) -> "Decision":
        """Check the content of the file at a path; raises: NotARoot."""
        right = {
            "address": is_text(content.get("address")),
            "time": is_time(content.get("time")),
            "by": is_text(content.get("by")),
        }
        check(path, content, right)
        return Decision(address=content["address"], time=content["time"], by=content["by"], token=token_of(content))

    def content(self) -> Json:
        """What the file says beside its signature."""
        return {"address": self.address}


@dataclass(frozen=True, slots=True, kw_only=True)
class End(Signed):
    """How an attempt ended: `end.json`."""

    state: EndState
    why: str
    final: bool = False
    """Whether another attempt would end alike."""
    output: str | None = None
    """The last lines that a dead driver printed."""

    @classmethod
    def read(cls, path: str, content: Json) -> "End":
        """Check the content of the file at a path; raises: NotARoot."""
        right = {
            "state": content.get("state") in [*EndState],
            "why": is_text(content.get("why")),
            "final": isinstance(content.get("final", False), bool),
            "time": is_time(content.get("time")),
        }
        check(path, content, right)
        return End(
            state=EndState(content["state"]),
            why=content["why"],
            final=content.get("final", False),
            output=str(content["output"]) if "output" in content else None,
            time=content["time"],
            by=str(content.get("by", "")),
            token=token_of(content),
        )

    def content(self) -> Json:
        """What the file says beside its signature."""
        output = {} if self.output is None else {"output": self.output}
        return {"state": self.state, "why": self.why, "final": self.final, **output}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What an attempt is to make: `plan.json`."""

    root: str
    steps: list[str]
    """`<step>/<digest>` of each artefact."""

    @classmethod
    def read(cls, content: Json) -> "Outputs | None":
        """Check the content of the file; None where it cannot be read: then nothing is known to be done."""
        root, steps = content.get("root"), content.get("steps")
        if not is_text(root) or not isinstance(steps, list) or not all(map(is_step, steps)):
            return None
        return Outputs(root=content["root"], steps=steps)

    def to_json(self) -> dict[str, Any]:
        """The whole file."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The last sign of life of a driver, and how far its run is: `heartbeat.json`."""

    time: float = field(default_factory=clock)
    """Seconds since 1970."""
    tally: Tally | None = None

    @classmethod
    def read(cls, content: Json) -> "Heartbeat | None":
        """Check the content of the file; None for one without a time. A tally counts only where all of it is right."""
        if not is_time(content.get("time")):
            return None
        counts = {key: content.get(key, 0) for key in ("units", "ended", "failed", "lost")}
        whole = is_text(content.get("step")) and {"units", "ended"} <= content.keys()
        if not whole or not all(is_whole(count, 0) for count in counts.values()):
            return Heartbeat(time=content["time"])
        waits = content.get("waits")
        tally = Tally(step=content["step"], waits=waits if isinstance(waits, str) else "", **counts)
        return Heartbeat(time=content["time"], tally=tally)

    def to_json(self) -> dict[str, Any]:
        """The whole file."""
        return {"time": self.time, **(asdict(self.tally) if self.tally is not None else {})}


def check(path: str, content: Json, right: Mapping[str, bool]) -> None:
    """Check what is said of each key; raises: NotARoot naming the first that is not right, and what it holds."""
    for key, is_right in right.items():
        if not is_right:
            value = repr(content.get(key))
            value = value if len(value) <= 60 else f"{value[:60]}..."
            raise NotARoot(
                f"{path}: {key!r} is {value}, which dkvb never writes; this job is skipped until it is fixed"
            )


def is_time(value: object) -> bool:
    """Whether this is a number of seconds since 1970 that has a date."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LATEST


def is_whole(value: object, least: int = -(2**31)) -> bool:
    """Whether this is a whole number of reasonable size."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**31


def is_text(value: object) -> bool:
    """Whether this is a text."""
    return isinstance(value, str)


def is_python(value: object) -> bool:
    """Whether this names an interpreter the same way wherever a process is started: a path from /, or a bare name."""
    return isinstance(value, str) and value.isprintable() and re.fullmatch(r"/.*[^/]|[\w.+][\w.+-]*", value) is not None


def is_step(value: object) -> bool:
    """Whether this is a step and its digest."""
    return isinstance(value, str) and value.count("/") == 1


def token_of(content: Json) -> str:
    """The token of a file, which decides nothing once it is written."""
    return str(content.get("token", ""))
