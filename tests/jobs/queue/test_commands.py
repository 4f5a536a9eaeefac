"""Submissions whose images are not here: told of at once, and refused where the cluster is this machine."""

import pytest

from jobs.queue.files import read_queue
from tests.jobs.queue.job_server import job_server
from tests.processes import message


@pytest.fixture
def server():
    with job_server() as made:
        yield made


@pytest.fixture
def submit(server, tmp_path, dkvb):
    words = ("submit", "cifar10", "--root", tmp_path / "root", "--address", server.address, "--images")
    return lambda images: dkvb(*words, images)


def test_images_that_are_not_here_may_be_there_on_the_cluster(submit, tmp_path):
    ended = submit(tmp_path / "nowhere")
    assert ended.code == 0
    assert f"note: {tmp_path / 'nowhere'} is not there on this machine; it must be there on the cluster\n" in ended.err
    assert "note: nothing has looked after this queue yet" in ended.err
    (tmp_path / "images").mkdir()
    assert "not there" not in submit(tmp_path / "images").err
    assert "not there" not in submit("s3://bucket/images").err
    assert len(read_queue(tmp_path / "dkvb-queue")) == 3


def test_they_are_refused_where_the_cluster_is_this_machine(submit, server, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    server.session = "session_2026-11-28_09-00-00_1_2"
    (tmp_path / "ray" / server.session).mkdir(parents=True)
    text = message(submit(tmp_path / "nowhere"), 2)
    assert text.startswith(f"--images: {tmp_path / 'nowhere'} is not there, and the cluster runs on this machine; ")
    assert not (tmp_path / "dkvb-queue").exists()
