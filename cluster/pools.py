"""Pools of workers: what one holds of its node, how many fit, and who waits between two maps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Nodes = Sequence[tuple[float, float]]
"""CPUs and GPUs of each node."""

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

    def __str__(self) -> str:
        return f"{self.cpus} CPUs and {self.gpus:g} GPUs"

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
    idle: list[tuple[Any, str]] = field(default_factory=list)
    """Actors between two maps, and their names."""

    def wanted(self, units: int, *, placed: int) -> int:
        """How many workers to have for so many open units, of which so many have a place.

        On a cluster that grows a few wait for one at any time; the next are asked for as these are placed.
        """
        return min(units, max(placed, self.room) + WAITING if self.most is None else self.most)


def alive() -> Nodes:
    """The nodes that are there now."""
    import ray

    return [
        (node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0)) for node in ray.nodes() if node["Alive"]
    ]


def pool_for(nodes: Nodes, *, workers: int | None, gpus: float | None, grows: bool, on_gpu: bool) -> Pool:
    """The workers of a map on these nodes.

    workers: how many at most; None: one for each CPU, or for each GPU held, and as many as a growing cluster adds.
    gpus: what a worker holds; None: one where a node has any.
    on_gpu: whether the units compute on GPUs; workers of others hold none.
    """
    if gpus is None:
        gpus = 1.0 if any(there >= 1 for _, there in nodes) else 0.0
    held = gpus if on_gpu else 0.0
    room = places(nodes, cpus=1, gpus=held)
    shape = Shape(cpus_each(nodes, workers=workers or room, gpus=held), held)
    return Pool(shape, room, workers if workers is not None or grows else max(1, room))


def found(nodes: Nodes, *, gpus: float | None) -> str:
    """What a cluster has now, and what of it is not used, for people."""
    cpus, there = (sum(kind) for kind in zip(*nodes, strict=True)) if nodes else (0, 0)
    line = f"the cluster has {cpus:g} CPUs and {there:g} GPUs now"
    if not cpus:
        return f"{line}: waiting for nodes"
    if there and gpus == 0:
        return f"{line}; the GPUs are not used, as --gpus is 0"
    if not there and gpus is None:
        return f"{line}; to have it bring up nodes with GPUs give --gpus 1"
    return line


def places(nodes: Nodes, *, cpus: int, gpus: float) -> int:
    """How many workers of that many CPUs and GPUs fit on nodes of (CPUs, GPUs)."""
    return sum(
        min(int(node_cpus // cpus), int(node_gpus / gpus + 1e-9) if gpus else int(node_cpus))
        for node_cpus, node_gpus in nodes
    )


def cpus_each(nodes: Nodes, *, workers: int, gpus: float) -> int:
    """The most CPUs a worker can hold so that all workers still fit; 1 where they do not fit anyway."""
    most = int(max((cpus for cpus, _ in nodes), default=1))
    return next((cpus for cpus in range(most, 1, -1) if places(nodes, cpus=cpus, gpus=gpus) >= workers > 0), 1)
