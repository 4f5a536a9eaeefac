"""Finished roots to be damaged: made by real commands, copied once, put back after each damage file by file."""

import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.children import Ended, dkvb, forked
from tests.tiny import TEST, TINY, TRAIN, paint, toml

Seen = tuple[int, int, int, int]
"""Of a file: its type, size, time and number."""


@dataclass(frozen=True)
class Source:
    """A finished root, and how it was asked for."""

    root: Path
    spec: str
    images: Path | None
    classes: tuple[str, str]
    """Two to forget."""

    def run(self, root: Path) -> tuple[object, ...]:
        """The words of a run that makes it."""
        return ("run", self.spec, "--root", root, *(("--images", self.images) if self.images else ()), "--serial")


def tiny(folder: Path) -> Source:
    """The tiny experiment, run in a child."""
    paint(folder / "images" / "train", TRAIN)
    paint(folder / "images" / "test", TEST, first=1000)
    (folder / "spec.toml").write_text(toml(TINY), encoding="utf-8")
    return finish(Source(folder / "root", str(folder / "spec.toml"), folder / "images", ("cat", "bee")), folder)


def digits(folder: Path, root: Path | None) -> Source:
    """scikit-learn's digits: a copy of a finished root, or a run of minutes."""
    if root is not None:
        shutil.copytree(root, folder / "root", symlinks=True)
    return finish(Source(folder / "root", "digits", None, ("3", "7")), folder)


def finish(source: Source, folder: Path) -> Source:
    """Run what is not there, and three requests: one class, the other, the first again."""
    one, other = source.classes
    requests = [("unlearn", source.root, "--class", name) for name in (one, other, one)]
    for words in (source.run(source.root), *requests):
        (ended,) = forked([dkvb(*words)], folder, limit=1800, room=2**40)
        require(ended, " ".join(map(str, words)))
    return source


def require(ended: Ended, what: str) -> None:
    """What is not tried here must work."""
    if ended.verdict != "answered":
        raise SystemExit(f"{what}: {ended.verdict}\n{ended.err}")


@dataclass
class Copy:
    """A copy of a folder that is damaged and put back."""

    source: Path
    path: Path
    state: dict[str, Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shutil.copytree(self.source, self.path, symlinks=True)
        self.state = look(self.path)

    def files(self) -> list[str]:
        """Its files, by their paths below it."""
        return sorted(name for name, (kind, *_) in self.state.items() if kind == stat.S_IFREG)

    def put_back(self) -> None:
        """Make it again what it was: whatever is other than it was goes, what is missing comes from the source."""
        for name, seen in sorted(look(self.path).items(), reverse=True):
            if self.state.get(name) != seen:
                self.drop(name)
        for name, seen in sorted(self.state.items()):
            path = self.path / name
            if not os.path.lexists(path):
                if seen[0] == stat.S_IFDIR:
                    path.mkdir()
                else:
                    shutil.copy2(self.source / name, path, follow_symlinks=False)
                self.state[name] = seen_at(path)

    def drop(self, name: str) -> None:
        """Take away a file, or a folder with all that lies in it."""
        path = self.path / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def look(folder: Path) -> dict[str, Seen]:
    """Everything below a folder, by its path there; links are not followed."""
    found = {}
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(where, name)
            found[str(path.relative_to(folder))] = seen_at(path)
    return found


def seen_at(path: Path) -> Seen:
    """What tells a file from another; of a folder only that it is one, as its time changes with what lies in it."""
    about = path.lstat()
    kind = stat.S_IFMT(about.st_mode)
    return (kind, 0, 0, 0) if kind == stat.S_IFDIR else (kind, about.st_size, about.st_mtime_ns, about.st_ino)
