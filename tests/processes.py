"""Processes that tests start: what became of them, and whether any is left."""

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


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


@dataclass(frozen=True)
class Session:
    """Real processes in a temporary folder of their own, known by a word in their environment."""

    folder: Path
    environment: dict[str, str]
    marker: str

    def left(self) -> dict[int, str]:
        """Processes of this session that are still there."""
        return alive(self.marker)

    def none_left(self, within: float, *, but: str = "") -> bool:
        """Whether they are all gone in that many seconds; `but`: a word of processes that do not count."""
        end = time.monotonic() + within
        while there := [command for command in self.left().values() if not but or but not in command]:
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return not there
