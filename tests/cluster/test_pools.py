"""What workers hold of nodes, and how many there are."""

import os
from dataclasses import replace

import pytest

from cluster.pools import WAITING, Shape, cpus_each, places, pool_for
from cluster.units import Policy
from tests.processes import is_alive, wait_until


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
    assert cpus_each(nodes, workers=workers, gpus=gpus) == expected


def test_places_are_counted_node_by_node():
    assert places([(7, 0), (5, 0)], cpus=3, gpus=0) == 3
    assert places([(7, 1), (5, 0)], cpus=1, gpus=0.5) == 2
    assert places([(0, 8)], cpus=1, gpus=1) == 0


def pool(nodes, *, workers=None, gpus=None, grows=False, on_gpu=False):
    return pool_for(nodes, workers=workers, gpus=gpus, grows=grows, on_gpu=on_gpu)


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


def processes(executor, units):
    """The process that did each unit."""
    mapped = executor.map(lambda: lambda unit: os.getpid(), units, policy=Policy(), on_event=lambda event: None)
    return [outcome.value for outcome in mapped]


@pytest.mark.ray
def test_workers_that_hold_something_else_are_ended_before_the_next_map(ray_executor):
    first = processes(ray_executor, ["a", "b"])
    shape = ray_executor.pool(on_gpu=False).shape
    other = replace(ray_executor, workers=1, idle={Shape(shape.cpus + 7): ray_executor.idle.pop(shape)})
    assert len(processes(other, ["a"])) == 1
    wait_until(lambda: not any(map(is_alive, first)), "the end of the others")
    assert [*other.idle] == [other.pool(on_gpu=False).shape]
