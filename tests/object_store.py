"""An object store for tests: moto's server, a process of its own on the loopback interface."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.ports import answers, free_port
from tests.processes import wait_until

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-the-tests",
    "AWS_REGION": "us-east-1",
}


@contextmanager
def object_store() -> Iterator[dict[str, str]]:
    """The server, as the environment by which clients find it."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_until(
                lambda: answers(port), "moto's server", in_vain=lambda: "" if server.poll() is None else "it ended"
            )
            yield {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        finally:
            server.terminate()
