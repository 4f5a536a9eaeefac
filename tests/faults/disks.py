"""Faults of the disk under a root: full, and suddenly read-only."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from tests.faults.measures import Measures, measure, moment, next_done, until
from tests.faults.stage import Command, Stage, draw, let_pass
from tests.processes import wait_until


@cache
def no_mounts() -> str:
    """Why no disk can be mounted here; empty where it can."""
    try:
        with disk(Path(tempfile.gettempdir()), "1m"):
            return ""
    except (OSError, subprocess.CalledProcessError):
        return "may not mount; root may"


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of that size in memory, mounted on a new folder."""
    path = Path(tempfile.mkdtemp(dir=folder))
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "dkvb", path], check=True, capture_output=True)
        try:
            yield path
        finally:
            subprocess.run(["umount", "--lazy", path], check=True, capture_output=True)  # orphans may hold it
    finally:
        path.rmdir()


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", path], check=True, capture_output=True)


def fill_disk(stage: Stage, seed: int) -> Measures:
    """A disk that is too small for the run, then enlarged; recovered with the first unit after that."""
    chance, began = draw(seed), time.time()
    size = sum(path.stat().st_size for path in stage.calm.rglob("*") if path.is_file())
    with disk(stage.folder(), f"{chance.randint(size // 8, size * 3 // 4)}") as folder:
        root = folder / "root"
        run = stage.start(stage.words(root))
        says = one_message(run, root, "No space left on device")
        struck = moment(root)
        remount(folder, "size=1g")
        mended = time.time()
        stage.resume(root)
        recovered = next_done(root, mended)
        return measure(stage, root, struck, began=began, recovered=recovered, says=says)


def make_read_only(stage: Stage, seed: int) -> Measures:
    """A disk that becomes read-only in the middle, then writable; recovered with the first unit after that."""
    chance, began = draw(seed), time.time()
    with disk(stage.folder(), "1g") as folder:
        root = folder / "root"
        run = stage.start(stage.words(root))
        until(root, chance.randint(2, 24), run)
        let_pass(chance, 0.3)
        read_only(folder)
        says = one_message(run, root, "Read-only file system")
        refused = stage.done(stage.words(root), code=1)
        assert str(root) in refused.said()
        struck = moment(root)
        remount(folder, "rw")
        mended = time.time()
        stage.resume(root)
        recovered = next_done(root, mended)
        return measure(stage, root, struck, began=began, recovered=recovered, says=says)


def read_only(folder: Path) -> None:
    """Remount it as soon as no file is open for writing."""

    def remounted() -> bool:
        with suppress(subprocess.CalledProcessError):  # busy
            remount(folder, "ro")
            return True
        return False

    wait_until(remounted, "a moment without a file open for writing", every=0.002)


def one_message(run: Command, root: Path, what: str) -> str:
    """That a run ended with 1 and said what happened and where; returns that."""
    code = run.ended()
    said = run.said()
    assert code == 1, run.err
    assert what in run.err
    assert str(root) in run.err, run.err
    return f"exit {code}: {said}"
