"""An environment as `pip install dkvb-unlearning` makes it, without extras: links to what is installed here.

Only what the base depends on, directly or through others, is linked: what Ray or a test tool brings along is missing.
"""

import os
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dkvb_unlearning import PACKAGES
from tests.paths import REPOSITORY
from tests.processes import Ended

COMMAND = """
import sys
from dkvb_unlearning import main
sys.exit(main())
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python with the base of dkvb, and a folder in which it is started."""

    python: Path
    folder: Path

    def run(self, *words: object) -> Ended:
        """Run Python with some words, as a user whose environment says nothing."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAY", "DKVB"))}
        line = [str(self.python), *map(str, words)]
        done = subprocess.run(line, capture_output=True, text=True, cwd=self.folder, env=env, timeout=280, check=False)
        return Ended(done.returncode, done.stdout, done.stderr)

    def dkvb(self, *words: object) -> Ended:
        """Run `dkvb ...`."""
        return self.run(self.python.with_name("dkvb"), *words)


def base_environment(folder: Path) -> Environment:
    """Make one below a folder."""
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    packages = folder / "venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    for each in installed(base_requirements()):
        for name in sorted({path.parts[0] for path in each.files or ()} - {"..", "__pycache__"}):
            if not (packages / name).exists() and not name.endswith(".pth"):
                (packages / name).symlink_to(Path(str(each.locate_file(name))))
    for name in (*PACKAGES, "dkvb_unlearning.py"):
        (packages / name).symlink_to(REPOSITORY / name)
    python.with_name("dkvb").write_text(COMMAND)
    empty = folder / "empty"
    empty.mkdir()
    return Environment(python, empty)


def base_requirements() -> list[str]:
    """What the base depends on, as pyproject.toml says."""
    return list(tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"])


def installed(requirements: Iterable[str]) -> list[Distribution]:
    """What meets some requirements, and what that requires; without what is not installed here, for another system."""
    found: dict[str, Distribution] = {}
    asked: set[tuple[str, str]] = set()
    todo = [Requirement(text) for text in requirements]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        for extra in {"", *requirement.extras}:
            if (name, extra) not in asked:
                asked.add((name, extra))
                needed = map(Requirement, found[name].requires or ())
                todo += [each for each in needed if each.marker is None or each.marker.evaluate({"extra": extra})]
    return list(found.values())
