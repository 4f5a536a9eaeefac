"""Demand that no node of a cluster can meet, now or once it has grown: its autoscaler says so."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.errors import NoNodeType
from cluster.pools import Shape, alive, places
from cluster.private import autoscaler_lines

WAIT_S = 15.0
"""Seconds without a worker after which a map says that it waits for a place for one."""

UNMET = "No available node types can fulfill resource request"


@dataclass(slots=True)
class Demand:
    """What the workers of a map wait for while none of them has a place."""

    shape: Shape
    _said: bool = field(default=False, repr=False)
    """That none of them has a place, since one had."""
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

    def is_news(self, begun: Sequence[Any], seconds: float) -> bool:
        """Whether it is to be said, once, that no worker has a place: others hold it, or a node is still to come.

        begun: references to answers that come as soon as a worker has a place; seconds: how long none has been live.
        """
        import ray

        if self._said or seconds < WAIT_S or not begun or ray.wait([*begun], num_returns=1, timeout=0)[0]:
            return False
        self._said = True
        return True

    def words(self) -> str:
        """What the workers wait for."""
        what = "GPUs" if self.shape.gpus else "CPUs"
        return f"{what}: no worker has a place, as others hold them or nodes are still to come; each needs {self.shape}"

    def met(self) -> None:
        """A worker has a place: stop listening."""
        self._read, self._said = None, False


def is_unmet(line: str, shape: Shape) -> bool:
    """Whether a line of the autoscaler's says of a worker of this shape that no node type has room for it."""
    wanted = {"CPU": float(shape.cpus), "GPU": float(shape.gpus), "memory": float(shape.memory)}
    requests = re.findall(r"\{[^{}]*\}", line.partition(UNMET)[2])
    return any({**dict.fromkeys(wanted, 0.0), **amounts(request)} == wanted for request in requests)


def amounts(text: str) -> dict[str, float]:
    """Resources and amounts, as Ray writes a request."""
    return {name: float(amount) for name, amount in re.findall(r"'([\w:.-]+)': ([\d.e+-]+)", text)}
