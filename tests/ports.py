"""Ports for servers of tests."""

import random
import socket
from contextlib import suppress


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the system gives to whoever connects somewhere: a server may die,
    wait, and find its own still free.
    """
    found: list[int] = []
    for port in random.sample(range(20000, 32000), 12000):
        if len(found) == count:
            break
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            found.append(port)
    return found


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]


def answers(port: int) -> bool:
    """Whether a server of this machine accepts a connection."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
