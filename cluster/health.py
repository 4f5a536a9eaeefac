"""Health of a cluster: whether its head still answers; without one Ray would end the driver's process with a dump."""

import socket
import time
from dataclasses import dataclass, field

from cluster.errors import ClusterUnreachable
from cluster.private import head_address

LOOK_S = 5.0
"""Seconds between two checks."""

GONE_S = 30.0
"""Seconds of refused connections after which the head is given up: half of what Ray allows, to leave time to end."""


@dataclass(slots=True)
class Head:
    """The head (GCS) of the cluster that this driver is connected to, watched by connecting to its port."""

    last_looked: float = field(default_factory=time.monotonic)
    last_seen: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Check that the head answers, every LOOK_S seconds at most; raises: ClusterUnreachable."""
        now = time.monotonic()
        if now - self.last_looked < LOOK_S:
            return
        if now - self.last_looked > GONE_S:  # nothing is known of the time in which nobody looked
            self.last_seen = now
        self.last_looked = now
        if (address := head_address()) is None or _answers(address):
            self.last_seen = time.monotonic()
        elif now - self.last_seen > GONE_S:
            raise ClusterUnreachable(
                f"map: the cluster's head ({address}) has not answered for {now - self.last_seen:.0f} s: it was "
                "ended or cut off; what was finished is kept, and the same command goes on from there"
            )


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except OSError:
        return False
    return True
