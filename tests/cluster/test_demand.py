"""Demand that no node type can meet, as Ray's autoscalers word it."""

import inspect
import os

import pytest

from cluster import demand
from cluster.demand import UNMET, is_unmet
from cluster.pools import Shape
from cluster.unit_map import Policy, RayExecutor
from cluster.units import Event

GIB = 1 << 30
V1 = (
    "2026-11-27 21:00:29,507 INFO monitor.py:438 -- :event_summary:Error: No available node types can fulfill resource "
    "request {'memory': 2147483648.0, 'CPU': 1.0, 'GPU': 1.0}. Add suitable node types to this cluster to resolve ..."
)
V2 = (
    '{"severity": "WARNING", "message": "No available node types can fulfill resource requests '
    "{'CPU': 2.0}*3, {'CPU': 1.0, 'memory': 1073741824.0}*4. Add suitable node types to this cluster to resolve ...\"}"
)


@pytest.mark.parametrize(
    ("line", "shape", "unmet"),
    [
        (V1, Shape(1, 1, 2 * GIB), True),
        (V1, Shape(1, 1, GIB), False),
        (V1, Shape(1, 0, 2 * GIB), False),
        (V2, Shape(2), True),
        (V2, Shape(1, 0, GIB), True),
        (V2, Shape(1), False),
        ("Adding 1 node(s) of type {'CPU': 2.0}.", Shape(2), False),
        ("", Shape(1), False),
    ],
)
def test_a_request_is_known_by_all_that_it_asks_for(line, shape, unmet):
    assert is_unmet(line, shape) is unmet


def test_rays_autoscalers_say_it_in_these_words():
    from ray.autoscaler._private.autoscaler import StandardAutoscaler
    from ray.autoscaler.v2.event_logger import AutoscalerEventLogger

    first, _, rest = UNMET.rpartition("resource ")
    for autoscaler in (StandardAutoscaler, AutoscalerEventLogger):
        said = inspect.getsource(autoscaler)
        assert first in said
        assert rest in said


@pytest.mark.ray
def test_a_map_whose_workers_have_no_place_says_once_what_they_wait_for(ray_executor, monkeypatch):
    import ray

    monkeypatch.setattr(demand, "WAIT_S", 0.5)
    for actors in list(ray_executor.idle.values()):
        while actors:
            ray.kill(actors.pop()[0])

    class Holder:
        def here(self):
            return os.getpid()

    holders = [ray.remote(Holder).options(num_cpus=1).remote() for _ in range(int(ray.cluster_resources()["CPU"]))]
    ray.get([holder.here.remote() for holder in holders])
    events: list[Event] = []

    def note(event):
        events.append(event)
        if event.kind == "waiting":
            ray.kill(holders[0])

    growing = RayExecutor(workers=2, grows=True)
    outcomes = list(growing.map(lambda: lambda unit: unit, ["a", "b"], policy=Policy(), on_event=note))
    for holder in holders[1:]:
        ray.kill(holder)
    assert all(one.ok for one in outcomes)
    (waiting,) = [event for event in events if event.kind == "waiting"]
    assert waiting.text.startswith("CPUs: no worker has a place, ")
    for actors in growing.idle.values():
        for actor, _ in actors:
            ray.kill(actor)
