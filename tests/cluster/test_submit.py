"""The client of a job server: a server of HTTP on loopback that is slow, or says no; for real ones see acceptance."""

import socket
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cluster import submit
from cluster.errors import ClusterUnreachable, SubmissionRefused
from cluster.submit import Phase, packed_code, ray_jobs
from tests.ports import free_port


class Server(BaseHTTPRequestHandler):
    """As much of a job server as a client asks for: a version, no submission known, none taken."""

    def do_GET(self):
        if self.path.endswith("/api/jobs/failed"):
            message = "the driver failed with exit code 1, last logs:\\nImporting\\ndkvb: x: no room there\\n"
            about = f'{{"type": "SUBMISSION", "entrypoint": "x", "status": "FAILED", "message": "{message}"}}'
            self.answer(200, about)
        elif self.path == "/api/version":
            self.answer(200, '{"ray_version": "2.60.0", "version": "4", "ray_commit": "x", "session_name": "s"}')
        elif self.path.startswith("/api/packages"):
            self.answer(200, "{}")
        elif self.path.endswith("/logs"):
            self.answer(404, "no logs")
        elif "broken" in self.path:
            self.answer(500, "out of memory")
        else:
            self.answer(404, "Job dkvb-x-1 does not exist")

    def do_POST(self):
        self.answer(*((404, "does not exist") if self.path.endswith("/stop") else (400, "the quota is used up")))

    def answer(self, code, text):
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{made.server_port}"
        made.shutdown()


def test_a_server_that_takes_no_job_is_told_from_one_that_does_not_answer(server):
    jobs = ray_jobs(server)
    assert jobs.phase("dkvb-x-1") is None
    with pytest.raises(SubmissionRefused, match=r"dkvb-x-1: .*the quota is used up"):
        jobs.submit("dkvb-x-1", ["jobs.queue.driver"], variables={})
    jobs.stop("dkvb-x-1")
    assert jobs.output("dkvb-x-1") == ""


def test_a_server_that_fails_is_unreachable_in_one_line(server):
    with pytest.raises(ClusterUnreachable, match=r"the job server failed: .*out of memory"):
        ray_jobs(server).phase("broken")


def test_what_ray_says_of_a_failure_is_the_end_of_its_message(server):
    phase = ray_jobs(server).phase("failed")
    assert phase is not None
    assert (phase.state, phase.text) == ("ended", "FAILED: dkvb: x: no room there")


@pytest.mark.parametrize(
    ("code", "name"), [(-9, "SIGKILL"), (137, "SIGKILL"), (143, "SIGTERM"), (0, ""), (1, ""), (127, ""), (255, "")]
)
def test_a_driver_that_was_killed_is_told_from_one_that_ended(code, name):
    assert Phase("ended", "FAILED", "", code).killed_by == name
    assert Phase("running", "RUNNING").killed_by == ""


def test_a_server_that_fails_at_a_submission_has_not_refused_it(server, monkeypatch):
    def fail(handler):
        handler.answer(500, "busy")

    monkeypatch.setattr(Server, "do_POST", fail)
    with pytest.raises(ClusterUnreachable, match="busy"):
        ray_jobs(server).submit("dkvb-x-1", ["jobs.queue.driver"], variables={})


def test_a_server_that_accepts_and_says_nothing_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(submit, "ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        began = time.monotonic()
        with pytest.raises(ClusterUnreachable, match="no Ray job server answers"):
            ray_jobs(f"127.0.0.1:{deaf.getsockname()[1]}")
        assert time.monotonic() - began < 20


def test_auto_names_the_one_port_that_it_means_where_nothing_answers_there(monkeypatch):
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    port = free_port()
    monkeypatch.setattr(submit, "DASHBOARD", f"http://127.0.0.1:{port}")
    with pytest.raises(ClusterUnreachable, match=rf"auto: found no job server at 127.0.0.1:{port}, .*127.0.0.1:PORT"):
        ray_jobs("auto")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://127.0.0.1:{port}")
    with pytest.raises(ClusterUnreachable, match=f"nothing answers at http://127.0.0.1:{port}"):
        ray_jobs("auto")


def test_what_is_sent_is_the_code_alone():
    with packed_code() as folder:
        assert {path.name for path in folder.iterdir()} == {"cluster", "dkvb", "jobs", "store", "dkvb_unlearning.py"}
        assert (folder / "jobs" / "queue" / "driver.py").is_file()
        assert (folder / "jobs" / "spec" / "shipped" / "digits.toml").is_file()
        assert not list(folder.rglob("__pycache__"))
    assert not folder.exists()


@pytest.mark.parametrize("folder", ["/nowhere/at/all", None])
def test_a_submission_that_finds_no_temporary_folder_suggests_no_option_that_submit_has_not(folder, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", folder)
    if folder is None:
        monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere/at/all"])
    with pytest.raises(ClusterUnreachable, match="TMPDIR") as told, packed_code():
        pass
    assert "--serial" not in str(told.value)
