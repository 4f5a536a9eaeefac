"""What tests of several packages share: the tiny experiment, processes, a cluster, an object store."""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.head import Head
from tests.object_store import object_store
from tests.processes import Ended, Session, kill_all
from tests.tiny import TEST, TINY, TRAIN, Watched, changed, data_files, paint, toml, without_checksums

READ = ("AWS_", "DKVB_", "HF_", "HOME", "OMP_", "PATH", "PYTHONPATH", "RAY_ADDRESS", "RAY_API_", "RAY_AUTH_", "TMPDIR")
"""How the names of variables begin that dkvb reads, or what it calls."""


@pytest.fixture(scope="session")
def environment_at_first() -> dict[str, str]:
    return dict(os.environ)


@pytest.fixture(scope="module", autouse=True)
def environment_left_as_found(environment_at_first: dict[str, str]) -> Iterator[None]:
    """A file of tests that leaves a variable behind would decide how the files after it in its process end."""
    yield
    names = {name for name, _ in os.environ.items() ^ environment_at_first.items()}
    assert not {name for name in names if name.startswith(READ)}


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """The server, as the environment by which clients find it."""
    pytest.importorskip("s3fs", reason="needs s3fs, which the oldest versions of the rest cannot have beside them")
    with object_store() as environment:
        yield environment


@pytest.fixture(scope="module")
def s3_server(s3_environment: dict[str, str]) -> Iterator[None]:
    """The server, and this module's processes find it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_environment.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        yield


@pytest.fixture
def bucket(s3_server: None) -> str:
    """A new bucket, as an address."""
    import s3fs

    name = f"dkvb-{os.getpid()}-{secrets.token_hex(4)}"
    s3fs.S3FileSystem().mkdir(name)
    return f"s3://{name}"


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


@pytest.fixture(scope="session")
def unlike() -> Callable[[Path, Path], list[str]]:
    """Names of the data files in which two roots differ."""

    def compare(one: Path, other: Path) -> list[str]:
        left, right = data_files(one), data_files(other)
        assert len(left) > 50, "too few files to compare anything"
        return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))

    return compare


@pytest.fixture(scope="session")
def unsealed() -> Callable[[Path], None]:
    return without_checksums


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


@pytest.fixture
def processes() -> Iterator[Session]:
    """Where a test starts processes; those it leaves behind are ended afterwards, by their ids."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs /proc to tell whose a process is")
    session = Session.of(Path(tempfile.mkdtemp(prefix="dk")))
    try:
        yield session
    finally:
        kill_all(session.marker)
        shutil.rmtree(session.folder, ignore_errors=True)


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
