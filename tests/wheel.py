"""The wheel, installed as a user would: built, put into an empty environment, and used from an empty folder.

``make test-wheel``. Needs a package index and some gigabytes. Folders have spaces, quotes, umlauts and a dash in front.
Prints how long each part took, beside what is aimed at, and where the time of an import goes.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.paths import REPOSITORY

VERSION = "9.8.7"
"""Of the tag that the copy gets."""
HOSTILE = "-ein Ordner, \"voller\" 'Anführungszeichen' & Umläute"
ENVIRONMENT = "Pythön with spaces"
"""Of the environment: pip itself writes no command that starts where a folder has a double quote in its name."""

PREPARED = ("torch", "torchvision")
"""What is there before the time of an installation is taken."""


class Failed(Exception):
    """A command that ended as it should not have."""


class Timed:
    """What took how long, beside what is aimed at."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float, float | None]] = []

    def run(self, what: str, words: Sequence[object], folder: Path, *, aim: float | None = None, times: int = 1) -> str:
        """Run a command and note its time, the least of several; returns what it printed. raises: Failed."""
        seconds = []
        for _ in range(times):
            begin, used = time.perf_counter(), used_by_children()
            out = done(words, folder)
            seconds.append((time.perf_counter() - begin, used_by_children() - used))
        self.rows.append((what, *min(seconds), aim))
        print(self.text(-1), flush=True)
        return out

    def text(self, row: int) -> str:
        """A row as a line."""
        what, seconds, used, aim = self.rows[row]
        return f"{what:<44}{seconds:8.2f} s{used:8.2f} s of CPU" + (f"   aim {aim:g} s" if aim else "")


def used_by_children() -> float:
    """CPU seconds of all processes that were started from here and have ended: a busy machine adds less to them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def done(words: Sequence[object], folder: Path, *, code: int = 0) -> str:
    """Run a command in a folder, as a user whose environment says nothing; raises: Failed for another exit code."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL", "DKVB"))}
    ended = subprocess.run([str(word) for word in words], cwd=folder, capture_output=True, text=True, env=env)
    if ended.returncode != code:
        raise Failed(f"{words}: exit code {ended.returncode}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}")
    return ended.stdout


def tagged_copy(folder: Path) -> Path:
    """A clone with what is not committed yet, under a tag; returns it."""
    copy = folder / "checkout"
    listed = done(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], REPOSITORY)
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, copy / name)
    as_nobody = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.com")
    for words in (
        ("init", "--quiet"),
        ("add", "--all"),
        ("commit", "--quiet", "--message", "All"),
        ("tag", f"v{VERSION}"),
    ):
        done(["git", *as_nobody, *words], copy)
    return copy


def import_times(python: Path, folder: Path, module: str) -> Counter[str]:
    """Milliseconds that an import takes, by the package that they are spent in."""
    ended = subprocess.run(
        [python, "-X", "importtime", "-c", f"import {module}"], cwd=folder, capture_output=True, text=True, check=True
    )
    spent: Counter[str] = Counter()
    for own, name in re.findall(r"import time: +(\d+) \| +\d+ \| +([\w.]+)", ended.stderr):
        package = name.partition(".")[0]
        spent["Python itself" if package in sys.stdlib_module_names else package] += int(own)
    return Counter({name: round(total / 1000) for name, total in spent.items()})


def check(folder: Path) -> None:
    """Build, install, use; raises: Failed, AssertionError."""
    timed = Timed()
    copy = tagged_copy(folder)
    timed.run(
        "build the wheel", [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, copy], folder
    )
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.startswith(f"dkvb_unlearning-{VERSION}-py3-none-any"), wheel.name

    home, empty = folder / ENVIRONMENT, folder / HOSTILE
    empty.mkdir()
    done([sys.executable, "-m", "venv", home], folder)
    python, dkvb = home / "bin" / "python", home / "bin" / "dkvb"
    pip = [python, "-m", "pip", "install", "--quiet"]
    timed.run("pip install torch torchvision", [*pip, *PREPARED], empty)
    timed.run("pip install dkvb-unlearning, torch there", [*pip, wheel], empty, aim=60)
    done([python, "-m", "pip", "check"], empty)
    there = {each["name"] for each in json.loads(done([python, "-m", "pip", "list", "--format", "json"], empty))}
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    assert not there & {"ray", "s3fs", "gcsfs", "duckdb", "pytest"}, there
    assert set(extras) >= {"all", "cluster", "gcs", "report", "s3"}

    assert VERSION in timed.run("dkvb --version", [dkvb, "--version"], empty, times=3)
    timed.run("python -c pass", [python, "-c", "pass"], empty, times=3)
    timed.run("import dkvb", [python, "-c", "import dkvb"], empty, aim=0.3, times=3)
    assert "Usage: dkvb" in timed.run("dkvb --help", [dkvb, "--help"], empty, aim=0.3, times=3)
    assert list(empty.iterdir()) == []

    root = "-wurzel ö's"
    timed.run("dkvb demo, in one process", [dkvb, "demo", "--root", root], empty)
    again = timed.run("dkvb run on a finished root", [dkvb, "run", "digits", "--root", root], empty, aim=3, times=3)
    assert "digits: train accuracy" in again
    answer = json.loads(done([dkvb, "unlearn", f"./{root}", "--class", "7", "--json"], empty))
    assert (empty / answer["checkpoint"]).is_file()
    assert "| class" in done([dkvb, "query", f"./{root}", "overlap"], empty)
    done([dkvb, "status", "--verify", "--", root], empty)
    done([dkvb, "figure", f"./{root}", "--kind", "along"], empty, code=2)  # no matplotlib
    assert [path.name for path in empty.iterdir()] == [root]

    for module in ("dkvb", "jobs.cli.main", "jobs.run.run"):
        spent = import_times(python, empty, module)
        most = ", ".join(f"{name} {ms}" for name, ms in spent.most_common(8) if ms)
        print(f"import {module}: {spent.total()} ms, of these {most}", flush=True)


def main() -> None:
    """Check in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="dkvb-wheel-") as folder:
        check(Path(folder))
    print("the wheel works")


if __name__ == "__main__":
    main()
