"""A cluster of one node, as people start one."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import answers, free_port
from tests.processes import kill_all, wait_until

PORTS = [
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "ray-client-server-port",
    "metrics-export-port",
]
"""All that a head opens at numbers of its own, which another head on the machine would have taken."""


@dataclass
class Head:
    """A cluster of one node, started as people start one: `ray start --head`, guarded by a token, on loopback."""

    folder: Path
    """Short: Ray's sockets lie below it."""
    cpus: int = 5
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in PORTS})
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Its job server."""
        return f"http://127.0.0.1:{self.ports['dashboard-port']}"

    @property
    def environment(self) -> dict[str, str]:
        """Of those who may use it."""
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.folder / "token")}
        # As where this environment is activated: a cluster runs a driver by the `python` that it finds.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        more = {"PATH": path, "RAY_USAGE_STATS_ENABLED": "0", "DKVB_TEST_HEAD": str(self.folder)}
        return {**os.environ, **token, **more}

    def start(self) -> None:
        """Start it, anew after a death, and wait until it answers."""
        (self.folder / "token").touch(mode=0o600)
        (self.folder / "token").write_text("5f" * 32)
        fixed = ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--object-store-memory=100000000"]
        ports = [f"--{name}={port}" for name, port in self.ports.items()]
        words = [
            str(Path(sys.executable).with_name("ray")),
            "start",
            "--head",
            "--block",
            f"--num-cpus={self.cpus}",
            f"--temp-dir={self.folder / 'ray'}",
        ]
        with (self.folder / "head.txt").open("ab") as out:
            self.process = subprocess.Popen(
                [*words, *fixed, *ports], env=self.environment, stdout=out, stderr=out, start_new_session=True
            )
        wait_until(lambda: answers(self.ports["dashboard-port"]), "the head", 300, every=0.1, in_vain=self._last_words)

    def _last_words(self) -> str:
        """What it said before it ended; nothing while it runs."""
        ended = self.process is not None and self.process.poll() is not None
        return f"it ended: {(self.folder / 'head.txt').read_text()}" if ended else ""

    def kill(self) -> None:
        """End it and all that runs on it, without a word."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        kill_all(f"DKVB_TEST_HEAD={self.folder}")  # its workers have groups of their own
