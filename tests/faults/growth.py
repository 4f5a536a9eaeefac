"""A cluster that begins with a head without CPUs: Ray's own autoscaler brings nodes for the work, and ends them.

The nodes are processes of this machine, and so are their GPUs: of those Ray counts one, and nothing computes on it
(`fake_multinode`, which the wheel has; `ray.cluster_utils.AutoscalingCluster` would end every Ray process there is). A
submitted job cannot be tried on it: Ray unpacks the job's code anew for each node, and here all do so in one folder.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from tests.faults.raylets import QUICK, Node, ended, head, token
from tests.faults.stage import WITHIN, Stage
from tests.processes import wait_until

IDLE_MINUTES = 0.5

MEMORY = 4 * 1024**3
"""Bytes a node says it has: the autoscaler brings no node for a worker that asks for more than its type names."""

HEAD = "ray.head.default"
"""As the provider calls the head: any other name has the autoscaler add and end heads without end."""

TYPES: dict[str, dict[str, Any]] = {
    HEAD: {"resources": {"CPU": 0}, "min_workers": 0, "max_workers": 0, "node_config": {}},
    "processor": {"resources": {"CPU": 1, "memory": MEMORY}, "min_workers": 0, "max_workers": 2, "node_config": {}},
    "gpu": {"resources": {"CPU": 2, "GPU": 1, "memory": MEMORY}, "min_workers": 0, "max_workers": 1, "node_config": {}},
}


def growing(stage: Stage) -> Node:
    """A head that is not started yet, with nodes of two types to add."""
    first = head(stage, {**token(stage), **QUICK, "RAY_FAKE_CLUSTER": "1"}, cpus=0)
    provider = {
        "type": "external",
        "module": "tests.faults.provider.Processes",
        "gcs_address": first.address,
        "disable_node_updaters": True,  # which have nothing to set up here, and end each node as one that failed
        "use_node_id_as_ip": True,  # all nodes have one address, by which the autoscaler would take each for another
    }
    lists = ("initialization_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter")
    commands = [f"{who}{what}_commands" for who in ("", "head_", "worker_") for what in ("setup", "start_ray")]
    config = {
        **{key: [] for key in (*lists, *commands)},
        "cluster_name": "growing",
        "max_workers": 3,
        "idle_timeout_minutes": IDLE_MINUTES,
        "upscaling_speed": 10,
        "provider": provider,
        "auth": {"ssh_user": "ray"},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "head_node_type": HEAD,
        "available_node_types": TYPES,
    }
    path = stage.folder() / "cluster.yaml"
    path.write_text(yaml.safe_dump(config))
    return replace(first, words=(*first.words, f"--autoscaling-config={path}"))


@dataclass
class Watched:
    """Which nodes there were, by type, whenever somebody looked."""

    cluster: Node
    seen: list[tuple[float, dict[str, int]]] = field(default_factory=list)

    def now(self) -> dict[str, int]:
        """Nodes beside the head by what they have: "CPU" alone, or "GPU" too."""
        raylets = [command for command in self.cluster.processes().values() if "raylet/raylet " in command]
        resources = [match[1] for command in raylets if (match := re.search(r"--static_resource_list=(\S*)", command))]
        kinds = ["GPU" if "GPU" in each else "CPU" for each in resources if re.search(r"\bCPU,[1-9]", each)]
        there = {kind: kinds.count(kind) for kind in ("CPU", "GPU")}
        self.seen.append((time.time(), there))
        return there

    def until_gone(self) -> float:
        """Wait for the end of the nodes: seconds."""
        begin = time.monotonic()
        wait_until(lambda: not any(self.now().values()), "the end of the nodes", WITHIN, every=0.5)
        return time.monotonic() - begin

    @property
    def most(self) -> dict[str, int]:
        return {kind: max(there[kind] for _, there in self.seen) for kind in ("CPU", "GPU")}


@dataclass(frozen=True)
class Grown:
    """Work that was done on nodes that came for it."""

    watched: Watched
    root: Path
    said: str
    gone_after_s: float
    """Seconds from its end until no node but the head was left."""


@contextmanager
def grown(stage: Stage, *asked: object) -> Iterator[Grown]:
    """Run from a machine of the cluster, wait for the end, then for the end of the nodes."""
    with from_nothing(stage) as (watched, root):
        variables = watched.cluster.variables
        run = stage.start(stage.words(root, "--address", watched.cluster.address, *asked), **variables)
        wait_until(lambda: watched.now() and not run.runs(), "its end", WITHIN, every=0.5)
        assert run.ended() == 0, run.err
        yield Grown(watched, root, run.err, watched.until_gone())


@contextmanager
def from_nothing(stage: Stage) -> Iterator[tuple[Watched, Path]]:
    """A cluster that has a head, and no CPU; and where a root may come."""
    cluster = growing(stage)
    with ended(cluster):
        cluster.start()
        watched = Watched(cluster)
        assert watched.now() == {"CPU": 0, "GPU": 0}
        yield watched, stage.folder() / "root"
