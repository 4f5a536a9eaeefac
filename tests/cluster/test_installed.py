"""What is said where Ray is not installed; tests/acceptance/test_base.py tries it where it really is not."""

import sys

import pytest

from cluster import installed, submit
from cluster.errors import RayMissing
from cluster.session import session
from cluster.units import SerialExecutor


@pytest.fixture
def no_ray(monkeypatch):
    """As where it is not installed."""
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(installed, "find_spec", lambda name: None)


def test_ray_is_found_without_being_imported():
    assert installed.has_ray()


@pytest.mark.parametrize("asked", [{"workers": 2}, {"address": "127.0.0.1:1"}, {"gpus": 0.5}, {"gpus": 0.0}])
def test_what_only_ray_does_is_refused_with_what_to_install(asked, no_ray):
    with pytest.raises(
        RayMissing, match=r"needs Ray, which is not installed; pip install 'dkvb-unlearning\[cluster\]'"
    ):
        session(**asked).__enter__()


@pytest.mark.parametrize("asked", [{}, {"workers": 1}])
def test_one_worker_here_is_this_process_and_a_note_says_so(asked, no_ray, caplog):
    with session(**asked) as executor:
        assert isinstance(executor, SerialExecutor)
    assert "note: without Ray, one unit after the other in this process" in caplog.text


def test_who_asks_for_no_ray_is_told_nothing(no_ray, caplog):
    with session(serial=True) as executor:
        assert isinstance(executor, SerialExecutor)
    assert caplog.text == ""


def test_a_job_server_is_not_asked_without_ray(no_ray):
    with pytest.raises(RayMissing, match="a job server of Ray: needs Ray"):
        submit.ray_jobs("auto")
