"""A tiny real pipeline: class folders of coloured noise, a real backbone at 32 pixels, 11 x 13 pairs."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.ports import free_port

TRAIN = {"ant": 11, "bee": 13, "cat": 17}
TEST = {"ant": 7, "bee": 3, "cat": 5}
COLOURS = np.array([[200, 60, 50], [60, 190, 70], [50, 70, 210], [190, 180, 60]])

TINY = {
    "name": "tiny",
    "images": {"kind": "folder", "shard_items": 11},
    "backbone": {"library": "efficientnet-lite", "name": "lite0", "image_size": 32},
    "bottleneck": {"c": 11, "m": 13, "d_k": 3},
    "keys": {"epochs": 2, "batch": 19},
    "values": {"epochs": 7},
    "linear": {"epochs": 7},
    "sweep": {"uva": {"shares": [0.2, 0.5, 1.0]}, "uve": {"examples": [1, 5, 11], "seeds": [0, 3]}},
}


def picture(label: int, number: int, size: int) -> Image.Image:
    """Noise around the colour of a class, the same for the same arguments."""
    noise = np.random.default_rng([label, number]).integers(-50, 50, (size, size, 3))
    return Image.fromarray((COLOURS[label] + noise).clip(0, 255).astype(np.uint8))


def paint(folder: Path, counts: dict[str, int], size: int = 32, first: int = 0) -> None:
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            picture(label, number, size).save(folder / name / f"{number:04d}.png")


def toml(table: dict[str, Any], where: str = "") -> str:
    """A nested dict as TOML; JSON's texts, numbers and lists are TOML too."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    inner = {f"{where}{key}": value for key, value in table.items() if isinstance(value, dict)}
    heads = [f"\n[{key}]\n{toml(value, f'{key}.')}" for key, value in inner.items()]
    return "\n".join([*plain, *heads]) + "\n"


def changed(table: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy with dotted keys set; the value None takes a key away."""
    table = json.loads(json.dumps(table))
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        place = table
        for key in path:
            place = place.setdefault(key, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return table


@dataclass
class Watched:
    """A run's progress, kept to be looked at."""

    steps: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Label -> (units, units that done already)."""
    units: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ended: dict[str, float] = field(default_factory=dict)

    def step(self, label: str, total: int, standing: int) -> None:
        self.steps[label] = (total, standing)

    def unit(self, label: str, outcome: Any) -> None:
        self.units.append(outcome)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def done(self, label: str, seconds: float) -> None:
        self.ended[label] = seconds


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images all read-only tests share."""
    folder = tmp_path_factory.mktemp("images")
    paint(folder / "train", TRAIN)
    paint(folder / "test", TEST, first=1000)
    return folder


@pytest.fixture
def own_images(images: Path, tmp_path: Path) -> Path:
    """A copy of them that a test may change."""
    return Path(shutil.copytree(images, tmp_path / "images"))


@pytest.fixture(scope="session")
def painted() -> Callable[..., None]:
    return paint


@pytest.fixture(scope="session")
def asks() -> Callable[..., dict[str, Any]]:
    """The tiny spec as a table, dotted keys changed: asks({"keys.epochs": 3})."""
    return lambda changes=None: changed(TINY, changes or {})


@pytest.fixture(scope="session")
def as_toml() -> Callable[[dict[str, Any]], str]:
    return toml


@pytest.fixture(scope="session")
def make_spec(asks: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    """The tiny spec, dotted keys changed."""
    from jobs.spec.reading import build
    from jobs.spec.schema import Spec

    return lambda changes=None: build(Spec, asks(changes), "")


@pytest.fixture
def spec_file(tmp_path: Path, asks: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    """The tiny spec as a file."""

    def write(changes: dict[str, Any] | None = None) -> Path:
        path = tmp_path / "spec.toml"
        path.write_text(toml(asks(changes)), encoding="utf-8")
        return path

    return write


@pytest.fixture
def run_words(own_images: Path, spec_file: Callable[..., Path], tmp_path: Path) -> Callable[..., tuple[Any, ...]]:
    """The words of a run in this process; the root is tmp_path / "root" unless given."""

    def words(
        changes: dict[str, Any] | None = None, *, root: Path = tmp_path / "root", images: Path = own_images
    ) -> tuple[Any, ...]:
        return ("run", spec_file(changes), "--root", root, "--images", images, "--serial")

    return words


@pytest.fixture(scope="session")
def run_tiny(make_spec: Callable[..., Any]) -> Callable[..., Any]:
    """Run the tiny experiment and return it as recorded on the root."""
    from cluster.unit_map import SerialExecutor
    from jobs.plan.plan import make_plan
    from jobs.results.experiment import find
    from jobs.run.run import run

    def do(
        root: Path,
        images: Path,
        changes: dict[str, Any] | None = None,
        executor: Any = None,
        progress: Any = None,
    ) -> Any:
        plan = make_plan(make_spec(changes), str(images))
        run([plan], root, executor or SerialExecutor(), progress or Watched())
        return find(root, plan.spec.name)

    return do


@pytest.fixture(scope="session")
def finished(run_tiny: Callable[..., Any], images: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tiny experiment, run once in this process. Tests only read it."""
    return run_tiny(tmp_path_factory.mktemp("finished") / "root", images)


@pytest.fixture
def own(finished: Any, tmp_path: Path) -> Any:
    """A copy of the finished experiment that a test may change."""
    from jobs.results.experiment import find

    return find(Path(shutil.copytree(finished.root, tmp_path / "root")), None)


def data_files(root: Path) -> dict[str, bytes]:
    """Every file that must have equal bytes in equal runs, by its path below the root."""
    suffixes = (".parquet", ".safetensors")
    names = ("spec.json", "units.json", "manifest.json")
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in files
        if "data.zarr" in path.parts or path.suffix in suffixes or path.name in names
    }


@pytest.fixture(scope="session")
def unlike() -> Callable[[Path, Path], list[str]]:
    """Names of the data files in which two roots differ."""

    def compare(one: Path, other: Path) -> list[str]:
        left, right = data_files(one), data_files(other)
        assert len(left) > 50, "too few files to compare anything"
        return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))

    return compare


def without_checksums(root: Path) -> None:
    """Make of a root what a version without checksums wrote, or somebody who takes them away with what he changes."""
    for done in root.rglob("DONE"):
        done.write_bytes(b"")
        (done.parent / "checksums.json").unlink(missing_ok=True)
        for marker in (done.parent / "units").glob("*.json"):
            facts = json.loads(marker.read_bytes())
            facts.pop("files", None)
            marker.write_text(json.dumps(facts))


@pytest.fixture(scope="session")
def unsealed() -> Callable[[Path], None]:
    return without_checksums


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def dkvb(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Run `dkvb ...` in this process, as the console script does; what is not caught there fails the test."""
    from jobs.cli.main import main

    def do(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["dkvb", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, out, err)

    return do


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


@pytest.fixture
def processes() -> Iterator[Session]:
    """Where a test starts processes; those it leaves behind are ended afterwards, by their ids."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs /proc to tell whose a process is")
    folder = Path(tempfile.mkdtemp(prefix="dk"))  # short: Ray's sockets lie below it
    marker = f"DKVB_TEST_SESSION={folder}"
    name, value = marker.split("=")
    held = Session(folder, {**os.environ, name: value, "TMPDIR": str(folder)}, marker)
    try:
        yield held
    finally:
        for pid in held.left():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        held.none_left(within=60)
        shutil.rmtree(folder, ignore_errors=True)


PORTS = [
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "ray-client-server-port",
    "metrics-export-port",
]
"""All that a head opens at numbers of its own, which another head on the machine would have taken."""


@dataclass
class Head:
    """A cluster of one node, started as people start one: `ray start --head`, guarded by a token, on loopback."""

    folder: Path
    """Short: Ray's sockets lie below it."""
    cpus: int = 5
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in PORTS})
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Its job server."""
        return f"http://127.0.0.1:{self.ports['dashboard-port']}"

    @property
    def environment(self) -> dict[str, str]:
        """Of those who may use it."""
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.folder / "token")}
        # As where this environment is activated: a cluster runs a driver by the `python` that it finds.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        more = {"PATH": path, "RAY_USAGE_STATS_ENABLED": "0", "DKVB_TEST_HEAD": str(self.folder)}
        return {**os.environ, **token, **more}

    def start(self) -> None:
        """Start it, anew after a death, and wait until it answers."""
        (self.folder / "token").touch(mode=0o600)
        (self.folder / "token").write_text("5f" * 32)
        fixed = ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--object-store-memory=100000000"]
        ports = [f"--{name}={port}" for name, port in self.ports.items()]
        words = [
            str(Path(sys.executable).with_name("ray")),
            "start",
            "--head",
            "--block",
            f"--num-cpus={self.cpus}",
            f"--temp-dir={self.folder / 'ray'}",
        ]
        with (self.folder / "head.txt").open("ab") as out:
            self.process = subprocess.Popen(
                [*words, *fixed, *ports], env=self.environment, stdout=out, stderr=out, start_new_session=True
            )
        end = time.monotonic() + 300
        while True:
            assert self.process.poll() is None, (self.folder / "head.txt").read_text()
            assert time.monotonic() < end, "the head does not answer"
            try:
                socket.create_connection(("127.0.0.1", self.ports["dashboard-port"]), timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)

    def kill(self) -> None:
        """End it and all that runs on it, without a word."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for _ in range(50):  # its workers have groups of their own
            if not (there := alive(f"DKVB_TEST_HEAD={self.folder}")):
                return
            for pid in there:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A cluster for the tests of a module."""
    with tempfile.TemporaryDirectory(prefix="dk", ignore_cleanup_errors=True) as folder:
        made = Head(Path(folder))
        try:
            made.start()
            yield made
        finally:
            made.kill()
