"""Processes that tests start: what becomes of them, whether any is left, and waiting for what they do."""

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(
    condition: Callable[[], Value],
    what: str,
    seconds: float = 120.0,
    *,
    every: float = 0.02,
    in_vain: Callable[[], str] = str,
) -> Value:
    """What the condition gives as soon as it holds; after the seconds, the test fails.

    what: the event, for the message.
    every: seconds between two looks.
    in_vain: why the event can no longer come; an empty text as long as it can.
    """
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert not (reason := in_vain()), f"{what} cannot come any more: {reason}"
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(every)
    return value


def alive(marker: str) -> dict[int, str]:
    """Processes that were started with the marker in their environment: pid -> command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker.encode() in (entry / "environ").read_bytes():
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(entry.name)] = command.strip()
            except OSError:  # ended meanwhile, or another user's
                continue
    return {pid: command for pid, command in found.items() if command}  # a zombie has none


def is_alive(pid: int) -> bool:
    """Whether the process is there; a zombie is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def members(login_session: int) -> dict[int, str]:
    """Processes of a login session, whatever their group, as Ray gives its workers their own: pid -> command line."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == login_session and fields[0] != "Z":
                found[int(stat.parent.name)] = (stat.parent / "cmdline").read_text()
        except OSError:
            continue
    return found


def kill_all(marker: str) -> None:
    """Kill every process that was started with this in its environment, and those that they still start."""

    def none_left() -> bool:
        left = alive(marker)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    wait_until(none_left, f"the end of all processes with {marker}", every=0.05)


@dataclass(frozen=True)
class Session:
    """Real processes in a temporary folder of their own, known by a word in their environment."""

    folder: Path
    environment: dict[str, str]
    marker: str

    @classmethod
    def of(cls, folder: Path, **variables: str) -> "Session":
        """A session whose processes have this folder, whose path is short, as Ray's sockets lie below it."""
        name = "DKVB_TEST_SESSION"
        return cls(folder, {**os.environ, **variables, name: str(folder), "TMPDIR": str(folder)}, f"{name}={folder}")

    def left(self) -> dict[int, str]:
        """Processes of this session that are still there."""
        return alive(self.marker)

    def wait_until_gone(self, *, but: str = "") -> None:
        """Wait for the end of them all; `but`: a word of processes that do not count."""

        def none_left() -> bool:
            return not [command for command in self.left().values() if not but or but not in command]

        wait_until(none_left, "the end of all processes", every=0.1)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def message(ended: Ended, *codes: int) -> str:
    """The one message of a command that failed with one of these codes, 1 and 2 where none is given."""
    assert ended.code in (codes or (1, 2)), ended.err
    assert "Traceback" not in ended.err
    _, text = re.split(r"^dkvb: ", ended.err, flags=re.M)
    return text
