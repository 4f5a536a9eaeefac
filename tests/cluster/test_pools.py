"""What workers hold of nodes, and how many there are."""

import os
from dataclasses import replace

import pytest

from cluster.errors import NoWorkers
from cluster.machine import machine_memory
from cluster.pools import WAITING, Asked, Node, Shape, alive, cpus_each, held_already, places, pool_for
from cluster.units import Policy
from tests.processes import is_alive, wait_until

GIB = 1 << 30


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "expected"),
    [
        ([(7, 0)], 2, 0, 3),
        ([(7, 0)], 7, 0, 1),
        ([(7, 0)], 11, 0, 1),
        ([(8, 0), (8, 0)], 3, 0, 4),
        ([(0, 0), (16, 2)], 2, 1, 8),
        ([(64, 0), (13, 4)], 3, 1, 4),
        ([(13, 1)], 4, 0.25, 3),
        ([], 5, 1, 1),
        ([(4, 1)], 0, 1, 1),
    ],
)
def test_workers_hold_as_many_cpus_as_leave_room_for_all(nodes, workers, gpus, expected):
    assert cpus_each(nodes_of(nodes), Shape(1, gpus), workers=workers) == expected


def test_places_are_counted_node_by_node():
    assert places(nodes_of([(7, 0), (5, 0)]), Shape(3)) == 3
    assert places(nodes_of([(7, 1), (5, 0)]), Shape(1, 0.5)) == 2
    assert places(nodes_of([(0, 8)]), Shape(1, 1)) == 0
    assert places([Node(7, 0, 5 * GIB), Node(5, 0, 2 * GIB), Node(3, 0, 100 * GIB)], Shape(1, 0, 2 * GIB)) == 2 + 1 + 3


def nodes_of(nodes):
    return [Node(*node) for node in nodes]


def pool(nodes, *, workers=None, gpus=None, memory=0, grows=False, on_gpu=False):
    return pool_for(nodes_of(nodes), Asked(workers, gpus, memory), grows=grows, on_gpu=on_gpu)


def test_memory_bounds_how_many_workers_there_are_and_leaves_their_cpus_to_the_others():
    nodes = [(8, 0, 10 * GIB)]
    assert pool(nodes, memory=1).shape == Shape(1, 0.0, GIB)
    assert pool(nodes, memory=GIB + 1).shape == Shape(1, 0.0, 2 * GIB), "five of them fit"
    assert pool(nodes, memory=3 * GIB).shape == Shape(2, 0.0, 3 * GIB)
    assert pool(nodes, memory=3 * GIB).most == 3
    assert pool(nodes, memory=10 * GIB).shape == Shape(8, 0.0, 10 * GIB)
    assert pool(nodes).shape == Shape(1, 0.0, 0)


def test_memory_is_rounded_up_to_no_more_than_a_machine_has():
    assert pool([(2, 0, 5 * GIB // 2)], memory=9 * GIB // 4).shape == Shape(2, 0.0, 5 * GIB // 2)


def test_more_memory_than_the_machine_has_is_final_and_says_what_to_do():
    with pytest.raises(NoWorkers, match=r"needs 10.5 GiB of memory, and this machine has 10.0 GiB.*bottleneck.c"):
        pool([(8, 0, 10 * GIB)], memory=10 * GIB + GIB // 2)


def test_a_cluster_that_grows_is_asked_for_a_node_with_the_memory():
    asked = pool([(0, 0, GIB)], memory=7 * GIB, grows=True)
    assert asked.shape == Shape(1, 0.0, 7 * GIB)
    assert asked.room == 0
    assert asked.shape.actor_options()["memory"] == 7 * GIB
    assert str(asked.shape) == "1 CPUs and 0 GPUs and 7.0 GiB of memory"
    assert "memory" not in pool([(2, 0)]).shape.actor_options()


def test_workers_hold_gpus_for_units_that_compute_on_them_and_all_the_cpus_beside():
    nodes = [(0, 0), (8, 2), (4, 0)]
    assert pool(nodes, on_gpu=True).shape == Shape(4, 1.0)
    assert pool(nodes, on_gpu=True).most == 2
    assert pool(nodes).shape == Shape(1, 0.0)
    assert pool(nodes).most == 12
    assert pool(nodes, gpus=0.5, on_gpu=True).most == 4
    assert pool([(4, 0)], on_gpu=True).shape == Shape(1, 0.0), "a cluster without GPUs computes on CPUs"
    assert pool([(0, 0)], gpus=1, grows=True, on_gpu=True).shape == Shape(1, 1.0), "asked for, though there is none yet"


def test_a_number_of_workers_bounds_them_and_divides_the_cpus():
    assert pool([(8, 0)], workers=2).shape == Shape(4, 0.0)
    assert pool([(8, 0)], workers=2).wanted(7, placed=0) == 2
    assert pool([(0, 0)], workers=5, grows=True).wanted(7, placed=0) == 5


def test_a_cluster_that_grows_is_asked_for_a_few_more_than_have_a_place():
    empty, half = pool([(0, 0)], grows=True), pool([(2, 0)], grows=True)
    assert empty.wanted(100, placed=0) == WAITING
    assert empty.wanted(100, placed=3) == 3 + WAITING
    assert half.wanted(100, placed=0) == 2 + WAITING
    assert half.wanted(3, placed=0) == 3, "never more than units"
    assert pool([(2, 0)]).wanted(100, placed=2) == 2, "a cluster that does not grow is full"


def test_workers_stay_where_they_hold_as_much_and_as_many_have_room():
    nodes = [Node(2, 0, 6 * GIB)]
    small = pool_for(nodes, Asked(None, 0, GIB), grows=False, on_gpu=False)
    larger, largest = Shape(1, 0, 3 * GIB), Shape(1, 0, 4 * GIB)
    assert held_already(small, nodes, [larger]) == larger
    assert held_already(small, nodes, [largest]) == small.shape, "only one of these has room"
    assert held_already(small, nodes, [Shape(2, 0, 3 * GIB), Shape(1, 1, 3 * GIB)]) == small.shape
    assert held_already(small, nodes, []) == small.shape
    more = pool_for(nodes, Asked(None, 0, 3 * GIB), grows=False, on_gpu=False)
    assert held_already(more, nodes, [small.shape]) == more.shape


def processes(executor, units, memory=0):
    """The process that did each unit."""
    mapped = executor.map(
        lambda: lambda unit: os.getpid(), units, policy=Policy(), on_event=lambda event: None, memory=memory
    )
    return [outcome.value for outcome in mapped]


@pytest.mark.ray
def test_workers_that_hold_something_else_are_ended_before_the_next_map(ray_executor):
    first = processes(ray_executor, ["a", "b"])
    shape = ray_executor.pool(on_gpu=False).shape
    other = replace(ray_executor, workers=1, idle={Shape(shape.cpus + 7): ray_executor.idle.pop(shape)})
    assert len(processes(other, ["a"])) == 1
    wait_until(lambda: not any(map(is_alive, first)), "the end of the others")
    assert [*other.idle] == [other.pool(on_gpu=False).shape]


@pytest.mark.ray
def test_workers_outlive_a_map_that_needs_more_memory_than_the_next(ray_executor):
    first = {*processes(ray_executor, [*"abcdef"], memory=2 * GIB)}
    assert {*processes(ray_executor, [*"abcdef"], memory=GIB)} <= first


@pytest.mark.ray
def test_a_machine_gives_ray_all_its_memory_and_workers_hold_theirs(ray_executor):
    import ray

    (node,) = alive()
    assert node.memory == machine_memory()
    units = ["a", "b"]
    mapped = ray_executor.map(
        lambda: lambda unit: ray.available_resources()["memory"],
        units,
        policy=Policy(),
        on_event=lambda event: None,
        memory=GIB,
    )
    left = [outcome.value for outcome in mapped]
    assert min(left) <= node.memory - GIB
    with pytest.raises(NoWorkers, match="this machine has"):
        ray_executor.pool(on_gpu=False, memory=int(node.memory) + 1)
