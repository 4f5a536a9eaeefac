"""Submissions whose images are not here: told of at once, and refused where the cluster is this machine."""

import secrets
import subprocess
import sys

import pytest
from PIL import Image

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
    (tmp_path / "now-here").mkdir()
    for name in ("now-her", "now-her/train"):
        there = (
            f"note: {tmp_path / name} is not there on this machine; did you mean 'now-here'? It must be there on the"
        )
        assert there in submit(tmp_path / name).err
    assert "note: nothing has looked after this queue yet" in ended.err
    (tmp_path / "images").mkdir()
    assert "not there" not in submit(tmp_path / "images").err
    assert "not there" not in submit("s3://bucket/images").err
    assert len(read_queue(tmp_path / "dkvb-queue")) == 5


def test_they_are_refused_where_the_cluster_is_this_machine(submit, server, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    server.session = "session_2026-11-28_09-00-00_1_2"
    (tmp_path / "ray" / server.session).mkdir(parents=True)
    text = message(submit(tmp_path / "nowhere"), 2)
    assert text.startswith(f"--images: {tmp_path / 'nowhere'} is not there, and the cluster runs on this machine; ")
    assert not (tmp_path / "dkvb-queue").exists()


@pytest.fixture
def here(server):
    """A process of the cluster's on this machine; its temporary folder is not where one would look."""
    server.session = f"session_{secrets.token_hex(8)}"
    with subprocess.Popen([sys.executable, "-c", "input()", server.session], stdin=subprocess.PIPE) as process:
        yield
        process.kill()


def test_a_cluster_is_here_whose_processes_are_and_the_nearest_name_is_told(submit, here, tmp_path):
    (tmp_path / "images").mkdir()
    text = message(submit(tmp_path / "image"), 2)
    assert (
        f"{tmp_path / 'image'} is not there, and the cluster runs on this machine; did you mean 'images'? give" in text
    )
    assert not (tmp_path / "dkvb-queue").exists()


def test_what_a_spec_names_in_its_images_is_looked_for_where_the_cluster_is_here(server, here, dkvb, tmp_path):
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / name / "1.png")
    spec = tmp_path / "own.toml"
    assert dkvb("init", "--images", tmp_path / "images", "-o", spec).code == 0
    (tmp_path / "images" / "test").rename(tmp_path / "images" / "tests")
    where = ("--root", tmp_path / "root", "--address", server.address, "--images", tmp_path / "images")
    text = message(dkvb("submit", spec, *where), 2)
    assert "did you mean 'tests'?" in text
    assert text.endswith("The cluster runs on this machine, and would find no more\n")
