"""Pools of workers: what one holds of its node, how many fit, and who waits between two maps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from cluster.errors import NoWorkers


@dataclass(frozen=True, slots=True)
class Node:
    """What a node has."""

    cpus: float
    gpus: float = 0
    memory: float = inf
    """Bytes that workers may hold together."""


Nodes = Sequence[Node]

MEMORY_STEP = 1 << 30
"""Memory is asked for in multiples of it, so that workers of most steps are alike and stay."""

WAITING = 4
"""Workers that wait for a place on a cluster that may grow: the demand that its autoscaler sees."""

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
_MEMORY_VARIABLES = {"MALLOC_MMAP_THRESHOLD_": str(1 << 28), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
"""For glibc: keep freed arrays below 256 MiB, up to 1 GiB of them. By default large ones go back to the system at once,
and faulting them in again, page by page, was a quarter of a small network's forward pass."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What each worker of a pool holds."""

    cpus: int = 1
    gpus: float = 0
    memory: int = 0
    """Bytes; a multiple of MEMORY_STEP."""

    def __str__(self) -> str:
        memory = f" and {in_gib(self.memory)} of memory" if self.memory else ""
        return f"{self.cpus} CPUs and {self.gpus:g} GPUs{memory}"

    def actor_options(self) -> dict[str, Any]:
        """The resources and the environment of one actor, as Ray's `options` takes them."""
        variables = dict.fromkeys(_THREAD_VARIABLES, str(max(1, self.cpus))) | _MEMORY_VARIABLES
        variables["PYTHONSAFEPATH"] = "1"
        if self.gpus == 0:
            # Without it a process that holds no GPU still sees them all.
            variables["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "1"
        # No restarts by Ray: a process it had restarted unseen would hold no work. The driver spawns a new actor.
        return {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            **({"memory": self.memory} if self.memory else {}),
            "max_restarts": 0,
            "max_task_retries": 0,
            "runtime_env": {"env_vars": variables},
        }


@dataclass(slots=True)
class Pool:
    """The workers of one map, all alike."""

    shape: Shape
    room: int
    """How many of them fit on the nodes there are now."""
    most: int | None = None
    """Upper bound; None for as many as a growing cluster gives."""
    grows: bool = False
    """Whether nodes may come."""
    idle: list[tuple[Any, str]] = field(default_factory=list)
    """Actors between two maps, and their names."""

    def wanted(self, units: int, *, placed: int) -> int:
        """How many workers to have for so many open units, of which so many have a place.

        On a cluster that grows a few wait for one at any time; the next are asked for as these are placed.
        """
        return min(units, max(placed, self.room) + WAITING if self.most is None else self.most)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a map asks for."""

    workers: int | None = None
    """How many at most; None: one for each CPU, or for each GPU held, and as many as a growing cluster adds."""
    gpus: float | None = None
    """What a worker holds for units that compute on GPUs; None: one where a node has any."""
    memory: int = 0
    """Bytes that a worker needs."""


def alive() -> Nodes:
    """The nodes that are there now."""
    import ray

    there = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return [Node(has.get("CPU", 0.0), has.get("GPU", 0.0), has.get("memory", inf)) for has in there]


def pool_for(nodes: Nodes, asked: Asked, *, grows: bool, on_gpu: bool) -> Pool:
    """The workers of a map on these nodes.

    on_gpu: whether the units compute on GPUs; workers of others hold none.
    raises: NoWorkers where a worker needs more memory than any node has, and none can come.
    """
    gpus = asked.gpus
    if gpus is None:
        gpus = 1.0 if any(node.gpus >= 1 for node in nodes) else 0.0
    least = Shape(1, gpus if on_gpu else 0.0, -(-asked.memory // MEMORY_STEP) * MEMORY_STEP)
    largest = max((node.memory for node in nodes), default=0)
    if not grows and asked.memory > largest:
        raise NoWorkers(
            f"map: a worker needs {in_gib(asked.memory)} of memory, and this machine has {in_gib(largest)} for all of "
            "them; use a machine with more, or smaller sizes in the spec (bottleneck.c, bottleneck.m, keys.sample, "
            "embeddings.batch)"
        )
    if not grows:
        least = replace(least, memory=int(min(least.memory, largest)))
    room = places(nodes, least)
    shape = replace(least, cpus=cpus_each(nodes, least, workers=asked.workers or room))
    most = asked.workers if asked.workers is not None or grows else max(1, room)
    return Pool(shape, room, most, grows)


def held_already(pool: Pool, nodes: Nodes, held: Iterable[Shape]) -> Shape:
    """What the workers of a pool hold: what others hold already, where that is the same and memory enough.

    So workers stay, their libraries imported, when the next map needs less memory; unless fewer of them have room.
    """
    for shape in held:
        enough = (shape.cpus, shape.gpus) == (pool.shape.cpus, pool.shape.gpus) and shape.memory >= pool.shape.memory
        if enough and places(nodes, shape) >= pool.room:
            return shape
    return pool.shape


def in_gib(size: float) -> str:
    """Bytes, for people."""
    return f"{size / 2**30:.1f} GiB"


def found(nodes: Nodes, *, gpus: float | None) -> str:
    """What a cluster has now, and what of it is not used, for people."""
    cpus, there = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    line = f"the cluster has {cpus:g} CPUs and {there:g} GPUs now"
    if not cpus:
        return f"{line}: waiting for nodes"
    if there and gpus == 0:
        return f"{line}; the GPUs are not used, as --gpus is 0"
    if not there and gpus is None:
        return f"{line}; to have it bring up nodes with GPUs give --gpus 1"
    return line


def places(nodes: Nodes, shape: Shape) -> int:
    """How many workers of a shape fit on the nodes."""
    return sum(
        min(
            int(node.cpus // shape.cpus),
            int(node.gpus / shape.gpus + 1e-9) if shape.gpus else int(node.cpus),
            int(node.memory // shape.memory) if shape.memory and node.memory < inf else int(node.cpus),
        )
        for node in nodes
    )


def cpus_each(nodes: Nodes, shape: Shape, *, workers: int) -> int:
    """The most CPUs a worker of a shape can hold so that all workers still fit; 1 where they do not fit anyway."""
    most = int(max((node.cpus for node in nodes), default=1))
    wider = (cpus for cpus in range(most, 1, -1) if places(nodes, replace(shape, cpus=cpus)) >= workers > 0)
    return next(wider, 1)
