"""Counters and gauges that a Ray cluster exports to Prometheus; without a session they go nowhere."""

from functools import cache
from typing import Any

UNITS = "dkvb_units"
"""Counter: units ended; tags: step, result (done or failed)."""
IMAGES = "dkvb_images_per_second"
"""Gauge: images embedded per second of the running step, over all workers; tags: step."""
LOST = "dkvb_workers_lost"
"""Counter: workers that died, or outstayed the time for a unit; tags: step."""
QUEUE = "dkvb_queue_length"
"""Gauge: jobs that wait in the queue of the running job."""

MEANING = {
    UNITS: "Units of work that ended",
    IMAGES: "Images through the backbone per second, all workers together",
    LOST: "Workers that died, or were ended as a unit took too long",
    QUEUE: "Jobs that wait to be started",
}


def count(name: str, tags: dict[str, str]) -> None:
    """Add one to a counter."""
    if (metric := _metric("Counter", name, tuple(tags))) is not None:
        metric.inc(tags=tags)


def gauge(name: str, value: float, tags: dict[str, str] | None = None) -> None:
    """Set a gauge."""
    if (metric := _metric("Gauge", name, tuple(tags or {}))) is not None:
        metric.set(value, tags=tags)


def _metric(kind: str, name: str, tags: tuple[str, ...]) -> Any:
    import sys

    if (ray := sys.modules.get("ray")) is None or not ray.is_initialized():
        return None
    return _made(kind, name, tags)


@cache
def _made(kind: str, name: str, tags: tuple[str, ...]) -> Any:
    import ray.util.metrics

    return getattr(ray.util.metrics, kind)(name, description=MEANING[name], tag_keys=tags)
