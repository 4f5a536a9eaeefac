"""Passes of reconcilers over a queue: the sign that each leaves there, and what is said where none was seen of late."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cluster.units import here
from jobs.queue.records import is_time
from store.artefacts import as_json, read_json, write_json
from store.errors import StoreError
from store.places import Place, quoted

PASS_FILE = "reconciler.json"
"""In the queue: when the last pass was made, by whom, and in how many seconds its next one is due."""

UNSEEN_S = 180.0
"""Seconds without a pass, beyond three times the pause between two, after which nobody looks after a queue."""


def sign(queue: Place, every: float, tell: Callable[[str], None]) -> None:
    """Leave the sign of a pass; every: seconds until the next one. tell: is given a line where that cannot be done."""
    content = {"time": time.time(), "by": here(), "every": every}
    try:
        if isinstance(queue, Path):
            temporary = queue / f".{PASS_FILE}.{os.getpid()}"
            temporary.write_bytes(as_json(content))  # not `write_json`, which makes the folder of a disk that is away
            temporary.replace(queue / PASS_FILE)
        else:
            write_json(queue / PASS_FILE, content)
    except FileNotFoundError:
        pass  # the next pass tells of it
    except (OSError, StoreError) as error:
        tell(f"{PASS_FILE}: {error}")


def unattended(queue: Place) -> str:
    """What to say where no reconciler was seen for some minutes; empty where one was."""
    now, last, every = time.time(), None, 0.0
    with suppress(OSError, StoreError, ValueError, TypeError, AttributeError):  # none yet, or somebody else's words
        content = read_json(queue / PASS_FILE)
        last = content.get("time") if is_time(content.get("time")) else None
        every = max(0.0, float(content.get("every", 0)))
    if last is not None and abs(now - last) <= max(UNSEEN_S, 3 * every):
        return ""
    since = "yet" if last is None else f"since {datetime.fromtimestamp(last, UTC):%Y-%m-%d %H:%MZ}"
    return (
        f"nothing has looked after this queue {since}: what waits is not started, and what dies is not tried again; "
        f"start a reconciler: `dkvb jobs reconcile --queue {quoted(queue)} --watch`"
    )
