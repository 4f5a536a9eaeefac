"""A job server that says of every submission what a test tells it to: the answers of a cluster without the cluster."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERSION = {"ray_version": "2.60.0", "version": "4", "ray_commit": "x"}


@dataclass
class JobServer:
    """What it answers, and where it listens."""

    address: str = ""
    status: str | None = None
    """Of any submission; None where it knows none."""
    message: str = ""
    exit_code: int | None = None
    logs: str = ""
    delay_s: float = 0.0
    """Before each answer."""
    refuses: str | None = None
    """Why it takes no submission."""
    session: str = "session_elsewhere"
    """Name of its cluster's session, of which the head keeps a folder."""
    asked: list[str] = field(default_factory=list)
    """Methods and paths, but for versions."""

    def says(self, status: str | None, message: str = "", exit_code: int | None = None) -> None:
        """What it says from now on."""
        self.status, self.message, self.exit_code = status, message, exit_code

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        """Status code and body."""
        if path == "/api/version":
            return 200, {**VERSION, "session_name": self.session}
        self.asked.append(f"{method} {path}")
        if path.startswith("/api/packages"):
            return 200, {}
        if method == "POST" and path == "/api/jobs/":
            return (400, self.refuses) if self.refuses else (200, {"job_id": "x", "submission_id": "x"})
        if self.status is None:
            return 404, "Job x does not exist"
        if path.endswith("/logs"):
            return 200, {"logs": self.logs}
        if path.endswith("/stop"):
            return 200, {"stopped": True}
        about = {"type": "SUBMISSION", "entrypoint": "x", "status": self.status, "message": self.message}
        return 200, {**about, "driver_exit_code": self.exit_code}


@contextmanager
def job_server() -> Iterator[JobServer]:
    """One on loopback, for the time of the block."""
    server = JobServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do("GET")

        def do_PUT(self) -> None:
            self.do("PUT")

        def do_POST(self) -> None:
            self.do("POST")

        def do(self, method: str) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(server.delay_s)
            code, body = server.answer(method, self.path)
            self.send_response(code)
            self.end_headers()
            self.wfile.write((body if isinstance(body, str) else json.dumps(body)).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        server.address = f"http://127.0.0.1:{made.server_port}"
        yield server
        made.shutdown()
