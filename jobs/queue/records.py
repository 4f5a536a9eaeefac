"""The files of a queue as they must be: anybody on a shared disk may have changed them, so each is looked at first."""

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from store.errors import NotARoot

Order = Literal["stop", "retry", "priority"]
End = Literal["succeeded", "failed", "stopped", "lost"]
Json = Mapping[str, Any]

LATEST = 253_402_300_799.0
"""The last second of the year 9999: beyond it there is no date."""


def is_time(found: Any) -> bool:
    """Seconds since 1970 that have a date."""
    return isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found <= LATEST


def is_whole(found: Any, least: int = -(2**31)) -> bool:
    """A whole number of reasonable size."""
    return isinstance(found, int) and not isinstance(found, bool) and least <= found < 2**31


def is_text(found: Any) -> bool:
    """A text."""
    return isinstance(found, str)


def job(path: str, content: Json) -> Json:
    """What was asked; raises: NotARoot naming the file and the key."""
    gpus = content.get("gpus")
    return checked(
        path,
        content,
        name=is_text(content["name"]),
        specs=isinstance(content["specs"], list) and all(isinstance(spec, dict) for spec in content["specs"]),
        root=is_text(content["root"]),
        images=content["images"] is None or is_text(content["images"]),
        address=is_text(content["address"]),
        priority=is_whole(content["priority"]),
        attempts=is_whole(content["attempts"], 1),
        commit=content["commit"] is None or is_text(content["commit"]),
        workers=content.get("workers") is None or is_whole(content["workers"], 1),
        gpus=gpus is None or (isinstance(gpus, int | float) and math.isfinite(gpus) and gpus >= 0),
        time=is_time(content["time"]),
        by=is_text(content["by"]),
    )


def order(path: str, content: Json) -> Json:
    """One thing that people said; raises: NotARoot."""
    return checked(
        path,
        content,
        value=content["order"] != "priority" or is_whole(content.get("value")),
        attempts=content["order"] != "retry" or is_whole(content.get("attempts"), 0),
        time=is_time(content.get("time")),
        by=is_text(content.get("by")),
    )


def decided(path: str, content: Json) -> Json:
    """The decision on an attempt; raises: NotARoot."""
    address = is_text(content.get("address"))
    return checked(path, content, address=address, time=is_time(content.get("time")), by=is_text(content.get("by")))


def started(path: str, content: Json) -> Json:
    """The first word of a driver; raises: NotARoot."""
    return checked(path, content, time=is_time(content.get("time")), by=is_text(content.get("by")))


def end(path: str, content: Json) -> Json:
    """How an attempt ended; raises: NotARoot."""
    return checked(
        path,
        content,
        state=content.get("state") in get_args(End),
        why=is_text(content.get("why")),
        final=isinstance(content.get("final", False), bool),
        time=is_time(content.get("time")),
    )


def plan(content: Json) -> Json | None:
    """What an attempt is to make; None where that cannot be read: then nothing is known to stand."""
    steps = content.get("steps")
    whole = is_text(content.get("root")) and isinstance(steps, list) and all(map(is_step, steps))
    return content if whole else None


def is_step(found: Any) -> bool:
    """A step and its digest."""
    return isinstance(found, str) and found.count("/") == 1


def heartbeat(content: Json) -> Json | None:
    """The last heartbeat; None for one without a time. How far the run is counts only where all of it can be read."""
    if not is_time(content.get("time")):
        return None
    numbers = [content.get(key, 0) for key in ("units", "ended", "failed")]
    if is_text(content.get("step")) and {"units", "ended"} <= content.keys() and all(is_whole(n, 0) for n in numbers):
        return content
    return {"time": content["time"]}


def checked(path: str, content: Json, **right: bool) -> Json:
    """The content, if all its keys are right; raises: NotARoot naming the first that is not."""
    for key, is_right in right.items():
        if not is_right:
            found = repr(content.get(key))
            found = found if len(found) <= 60 else f"{found[:60]}..."
            raise NotARoot(
                f"{path}: {key!r} is {found}, which dkvb never writes; this job is passed over until it is mended"
            )
    return content
