"""A queue of its own for each module of these tests."""

import pytest

from tests.live_queue import Queue


@pytest.fixture(scope="module")
def queue(head, tmp_path_factory, asks, as_toml):
    folder = tmp_path_factory.mktemp("queue")
    (folder / "tiny.toml").write_text(as_toml(asks()))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
            patch.setenv(name, head.environment[name])
        yield Queue(head, folder, folder / "tiny.toml")
