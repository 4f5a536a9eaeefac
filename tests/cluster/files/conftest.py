"""What a check of cluster files reads: one version of Ray, a home with a token, a file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.files.finding import Finding


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
