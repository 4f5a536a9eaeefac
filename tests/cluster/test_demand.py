"""Demand that no node type can meet, as Ray's autoscalers word it."""

import inspect

import pytest

from cluster.demand import UNMET, is_unmet
from cluster.pools import Shape

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
