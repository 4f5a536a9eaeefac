import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.files.finding import Finding
from cluster.session import session
from cluster.unit_map import Executor, SerialExecutor


@pytest.fixture(scope="module")
def ray_executor() -> Iterator[Executor]:
    with session(workers=2) as executor:
        yield executor


@pytest.fixture(params=["serial", pytest.param("ray", marks=pytest.mark.ray)])
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param == "serial":
        return SerialExecutor()
    return request.getfixturevalue("ray_executor")


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    def wait(condition: Callable[[], bool], seconds: float = 120.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "the condition did not come true in time"
            time.sleep(0.05)

    return wait


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    def ask(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    return ask


@pytest.fixture
def one_version_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped file names one Ray, whichever is installed here."""
    from cluster.files import container_image, render

    monkeypatch.setattr(render, "installed_ray", lambda: "2.60.0")
    monkeypatch.setattr(container_image, "installed_ray", lambda: "2.60.0")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a token, as someone has who followed docs/cluster.md."""
    token = tmp_path / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text("no secret")
    token.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def findings_of(tmp_path: Path) -> Callable[[str], list[Finding]]:
    from cluster.files.check import check

    def findings(text: str) -> list[Finding]:
        path = tmp_path / "cluster.yaml"
        path.write_text(text)
        return check(path)

    return findings
