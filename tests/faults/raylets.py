"""Ray nodes as processes of their own, each known by a word; on loopback, or beyond a link that can be cut."""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.stage import Stage
from tests.ports import free_ports
from tests.processes import alive, kill_all, wait_until

RAY = str(Path(sys.executable).with_name("ray"))

QUICK = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}
"""A node that is silent for some ten seconds is dead; by default it takes about a minute."""


@dataclass(frozen=True)
class Node:
    """A head or another node; what runs on it has the marker in its environment."""

    stage: Stage
    words: tuple[str, ...]
    variables: dict[str, str]
    """By which nodes and clients know each other."""
    host: str
    ports: tuple[int, int]
    """Of the head: where nodes and drivers connect, and its job server."""
    word: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def marker(self) -> str:
        return f"DKVB_TEST_NODE={self.word}"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.ports[0]}"

    @property
    def job_server(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    def start(self) -> None:
        self.stage.done(list(self.words), 0, DKVB_TEST_NODE=self.word, **self.variables)

    def kill(self) -> None:
        """kill -9 of all its processes."""
        kill_all(self.marker)

    def processes(self) -> dict[int, str]:
        return alive(self.marker)


def token(stage: Stage) -> dict[str, str]:
    """The variables by which nodes and clients of one cluster know each other."""
    path = stage.folder() / "token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}


def head(
    stage: Stage, variables: dict[str, str], *, cpus: int, host: str = "127.0.0.1", dashboard: bool = False
) -> Node:
    """A head that is not started yet."""
    port, server, client, agent = free_ports(4)
    words = [
        RAY,
        "start",
        "--head",
        f"--node-ip-address={host}",
        f"--port={port}",
        f"--ray-client-server-port={client}",
    ]
    words += [f"--num-cpus={cpus}", "--object-store-memory=100000000", f"--temp-dir={stage.folder()}"]
    words += [f"--dashboard-agent-listen-port={agent}"]
    words += [f"--include-dashboard={dashboard}".lower(), "--dashboard-host=127.0.0.1", f"--dashboard-port={server}"]
    return Node(stage, tuple(words), variables, host, (port, server))


def member(stage: Stage, of: Node, *, host: str, inside: str = "") -> Node:
    """Another node, with one CPU; not started yet.

    inside: the network namespace it lives in.
    """
    words = ["ip", "netns", "exec", inside] if inside else []
    words += [RAY, "start", f"--address={of.address}", f"--node-ip-address={host}", "--num-cpus=1"]
    words += ["--object-store-memory=100000000", f"--dashboard-agent-listen-port={free_ports(1)[0]}"]
    return Node(stage, tuple(words), of.variables, host, of.ports)


@contextmanager
def ended(*nodes: Node) -> Iterator[None]:
    """They are killed after the block."""
    try:
        yield
    finally:
        for node in reversed(nodes):
            node.kill()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


@dataclass(frozen=True)
class Link:
    """A pair of virtual interfaces into a network namespace."""

    namespace: str
    near: str
    far: str
    device: str

    def cut(self) -> None:
        ip("link", "set", self.device, "down")

    def mend(self) -> None:
        ip("link", "set", self.device, "up")


@contextmanager
def link() -> Iterator[Link]:
    """One to a new namespace, on addresses kept for documentation."""
    word = secrets.token_hex(3)
    made = Link(f"dk-{word}", "198.51.100.1", "198.51.100.2", f"dk{word}a")
    inner = f"dk{word}b"
    ip("netns", "add", made.namespace)
    try:
        ip("link", "add", made.device, "type", "veth", "peer", "name", inner, "netns", made.namespace)
        ip("addr", "add", f"{made.near}/30", "dev", made.device)
        ip("link", "set", made.device, "up")
        ip("-n", made.namespace, "addr", "add", f"{made.far}/30", "dev", inner)
        ip("-n", made.namespace, "link", "set", inner, "up")
        ip("-n", made.namespace, "link", "set", "lo", "up")
        yield made
    finally:
        ip("netns", "del", made.namespace)
        wait_until(lambda: not Path("/sys/class/net", made.device).exists(), "the end of the link")
