"""What a unit costs beside its work: 10,000 units that do nothing, through held actors, as a step maps them.

Reference: as many no-op calls of Ray's own actors, bounded in flight alike. `map` is the map alone (retries, leases,
events); `step` adds what every real unit has: a marker, fsynced and renamed, and the event log. The limit of `map` is
Ray's rate, that of `step` the rate at which one process per worker can write such markers. Read `ms a unit` as the
least that a unit must take to be worth being one; `driver MB` as what the driver's memory grew by.
"""

import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import ray
from timing import once, peak_over, report, size

from cluster.session import session
from cluster.unit_map import Executor, Policy
from store.artefacts import Artefact
from store.journal import Journal

WORKERS = 2
IN_FLIGHT = 2


class Idle:
    """An actor of Ray's that does nothing."""

    def run(self, unit: str) -> str:
        return unit


def by_ray(units: list[str], actors: list[Any]) -> None:
    """Plain actors, a bounded number of calls in flight each."""
    todo, flight = deque(units), {}
    for actor in actors * IN_FLIGHT:
        flight[actor.run.remote(todo.popleft())] = actor
    while flight:
        (done,), _ = ray.wait(list(flight))
        ray.get(done)
        actor = flight.pop(done)
        if todo:
            flight[actor.run.remote(todo.popleft())] = actor


def nothing() -> Callable[[str], None]:
    """The work of a unit that does nothing."""
    return lambda unit: None


def marking(artefact: Artefact) -> Callable[[str], None]:
    """The work of a unit that only says that it is done."""

    def do(unit: str) -> None:
        if not artefact.is_done(unit):
            artefact.mark(unit, {"rows": 1})

    return do


def mapped(executor: Executor, factory: Callable[[], Any], units: list[str], journal: Journal | None = None) -> None:
    """All units through the map."""
    policy = Policy(in_flight=IN_FLIGHT)
    log = (lambda event: None) if journal is None else (lambda event: journal.write(asdict(event)))
    for outcome in executor.map(factory, units, policy=policy, on_event=log):
        assert outcome.ok, outcome.error


def mark_all(artefact: Artefact, units: list[str]) -> None:
    """Mark units one after another."""
    for unit in units:
        artefact.mark(unit, {"rows": 1})


def main() -> None:
    """Measure, report."""
    asked = size(__doc__)
    n = 1000 if asked["name"] == "quick" else 10_000
    units = [f"{i:05d}" for i in range(n)]
    rows = []
    with session(workers=WORKERS) as executor, tempfile.TemporaryDirectory() as folder:
        artefact = Artefact(Path(folder), "nothing", "0" * 16)
        alone = Artefact(Path(folder), "alone", "0" * 16)
        artefact.prepare({})
        actors = [ray.remote(Idle).options(num_cpus=1).remote() for _ in range(WORKERS)]
        by_ray(units[:100], actors)
        reference = once(partial(by_ray, units, actors))
        for actor in actors:
            ray.kill(actor)  # they and the map's actors need the same CPUs
        mapped(executor, nothing, units[:100])
        begin = time.perf_counter()
        grown = peak_over(partial(mapped, executor, nothing, units))
        plain = time.perf_counter() - begin
        begin = time.perf_counter()
        with artefact.journal() as journal:
            more = peak_over(partial(mapped, executor, partial(marking, artefact), units, journal))
        step = time.perf_counter() - begin
        assert len(artefact.done_units()) == n
        disk = once(partial(mark_all, alone, units[: n // 10])) * 10 / WORKERS
        for what, seconds, memory, limit in (
            ("map", plain, grown, reference),
            ("step", step, more, max(disk, reference)),
        ):
            rows.append(
                {
                    "what": what,
                    "units/s": n / seconds,
                    "ms a unit": 1000 * seconds / n,
                    "Ray units/s": n / reference,
                    "ratio": reference / seconds,
                    "of limit": limit / seconds,
                    "driver MB": memory / 2**20,
                }
            )
        listing = once(artefact.done_units)
    report("units", rows, units=n, workers=WORKERS, seconds_to_see_what_is_done=round(listing, 4))


if __name__ == "__main__":
    main()
