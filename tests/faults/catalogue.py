"""All faults, and why some of them cannot be had on a machine."""

from collections.abc import Callable, Mapping

from tests.faults import disks, nodes, objects, seaweed, submitted, trainings, workers
from tests.faults.measures import Measures
from tests.faults.stage import Stage

Fault = Callable[[Stage, int], Measures]


def nothing() -> str:
    """No reason: it can be had everywhere."""
    return ""


FAULTS: Mapping[Fault, Callable[[], str]] = {
    workers.kill_worker: nothing,
    trainings.kill_training: nothing,
    nodes.kill_node: nothing,
    workers.kill_driver: nothing,
    submitted.kill_supervisor: nothing,
    submitted.kill_head: nothing,
    workers.stop_worker: nothing,
    nodes.partition_node: nodes.no_namespaces,
    disks.fill_disk: disks.no_mounts,
    disks.make_read_only: disks.no_mounts,
    objects.kill_server: seaweed.no_seaweed,
    objects.kill_driver_of_remote_run: seaweed.no_seaweed,
    workers.two_drivers: nothing,
    workers.poison: nothing,
}
