"""Demand that no node of a cluster can meet, now or once it has grown: its autoscaler says so."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from cluster.errors import NoNodeType
from cluster.pools import Shape, alive, places
from cluster.private import autoscaler_lines

UNMET = "No available node types can fulfill resource request"


@dataclass(slots=True)
class Demand:
    """What the workers of a map wait for while none of them has a place."""

    shape: Shape
    _read: Callable[[], list[str]] | None = field(default=None, repr=False)

    def check(self) -> None:
        """Look at what was said since the last look; raises: NoNodeType."""
        if self._read is None:
            self._read = autoscaler_lines()
        if any(is_unmet(line, self.shape) for line in self._read()) and not places(alive(), self.shape):
            raise NoNodeType(
                f"map: a worker needs {self.shape}, and no node type of the cluster has as much for one, says its "
                "autoscaler. Add a node type that has (one that names its memory, where Ray does not find it out: "
                "`resources: {memory: BYTES}`), or ask for less: --gpus, or smaller sizes in the spec (bottleneck.c, "
                "bottleneck.m, keys.sample, embeddings.batch)"
            )

    def met(self) -> None:
        """A worker has a place: stop listening."""
        self._read = None


def is_unmet(line: str, shape: Shape) -> bool:
    """Whether a line of the autoscaler's says of a worker of this shape that no node type has room for it."""
    wanted = {"CPU": float(shape.cpus), "GPU": float(shape.gpus), "memory": float(shape.memory)}
    requests = re.findall(r"\{[^{}]*\}", line.partition(UNMET)[2])
    return any({**dict.fromkeys(wanted, 0.0), **amounts(request)} == wanted for request in requests)


def amounts(text: str) -> dict[str, float]:
    """Resources and amounts, as Ray writes a request."""
    return {name: float(amount) for name, amount in re.findall(r"'([\w:.-]+)': ([\d.e+-]+)", text)}
