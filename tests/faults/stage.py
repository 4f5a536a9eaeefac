"""The stage of all faults: a small experiment, a calm run of it to compare with, processes that are known by a word."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.paths import REPOSITORY
from tests.processes import Session, Value, kill_all, wait_until
from tests.tiny import TINY, changed, paint, toml

TRAIN = {"ant": 61, "bee": 97, "cat": 71}
TEST = {"ant": 2, "bee": 3, "cat": 5}
CHANGES = {"images.shard_items": 19, "backbone.image_size": 128, "keys.epochs": 1}
UNITS = 28
"""Of all steps of the experiment; 13 of them are shards of training images."""

WITHIN = 400.0
"""Seconds any command of a fault, and any wait, may take: on an idle machine a quarter of it is enough."""


@dataclass(frozen=True)
class Command:
    """A command in a process group of its own; its output goes to files, as orphans would hold a pipe open."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ended(self, within: float = WITHIN) -> int:
        """Its exit code; a command that does not end fails the test."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end in {within:.0f} s; it said: {self.err}") from None

    def wait_until(self, condition: Callable[[], Value], what: str, *, every: float = 0.01) -> Value:
        """Wait for an event that can only come while the command runs, as `tests.processes.wait_until` does."""
        in_vain = lambda: "" if self.runs() else f"it ended: {self.err}"  # noqa: E731
        return wait_until(condition, what, WITHIN, every=every, in_vain=in_vain)

    def runs(self) -> bool:
        return self.process.poll() is None

    def said(self) -> str:
        """Its last message; a traceback fails the test."""
        assert "Traceback" not in self.err, self.err
        messages = [line for line in self.err.splitlines() if line.startswith("dkvb: ")]
        return messages[-1] if messages else ""


@dataclass(frozen=True)
class Stage:
    """What all faults share."""

    session: Session
    calm: Path
    """Root of a run that nobody disturbed."""
    images: Path
    spec: Path
    begun: list[Command] = field(default_factory=list)
    """The commands that were started."""

    def folder(self) -> Path:
        """A new folder, with a short path: Ray's sockets lie below it."""
        return Path(tempfile.mkdtemp(dir=self.session.folder))

    def words(self, root: object, *more: object) -> list[str]:
        """A run with two workers."""
        return self.dkvb("run", self.spec, "--root", root, "--images", self.images, *(more or ("--workers", 2)))

    def resume(self, root: object, **variables: str) -> Command:
        """The run again, to its end; in one process, which is quicker and must give the same bytes."""
        return self.done(self.words(root, "--serial"), 0, **variables)

    @staticmethod
    def dkvb(*words: object) -> list[str]:
        return [sys.executable, "-m", "jobs.cli", *map(str, words)]

    @staticmethod
    def changed(words: list[str], **asked: object) -> list[str]:
        """The same command with something changed, see `tests.faults.driver`."""
        changes = [f"{name}={value}" for name, value in asked.items()]
        return [sys.executable, "-m", "tests.faults.driver", *changes, "--", *words[3:]]

    def start(self, words: list[str], **variables: str) -> Command:
        folder = self.folder()
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen(
                words, stdout=out, stderr=err, env={**self.session.environment, **variables}, start_new_session=True
            )
        self.begun.append(Command(process, folder))
        return self.begun[-1]

    def end(self) -> None:
        """Kill what is left of all commands: a fault that failed leaves some at work."""
        kill_all(self.session.marker)
        for command in self.begun:
            command.process.wait()
        self.begun.clear()

    def done(self, words: list[str], code: int = 0, **variables: str) -> Command:
        """A command that ends with this code."""
        command = self.start(words, **variables)
        assert command.ended() == code, command.err
        return command


@contextmanager
def stage() -> Iterator[Stage]:
    """Set it; what is left of its processes ends with it, by their ids."""
    folder = Path(tempfile.mkdtemp(prefix="dk", dir="/tmp"))
    variables = {
        # As where this environment is activated: a cluster runs a driver by the `python` that it finds.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    session = Session.of(folder, **variables)
    held = Stage(session, folder / "calm", folder / "images", folder / "spec.toml")
    try:
        paint(held.images / "train", TRAIN)
        paint(held.images / "test", TEST, first=1000)
        held.spec.write_text(toml(changed(TINY, CHANGES)), encoding="utf-8")
        held.done(held.words(held.calm, "--serial"))
        yield held
    finally:
        held.end()
        shutil.rmtree(folder, ignore_errors=True)


def let_pass(chance: random.Random, most: float, *, least: float = 0.0) -> None:
    """Some seconds, as many as chance says, so that a fault strikes at any moment and not at what was waited for."""
    time.sleep(chance.uniform(least, most))


def draw(seed: int) -> random.Random:
    """Where all that a fault leaves to chance comes from."""
    return random.Random(seed)
