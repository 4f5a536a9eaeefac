"""What a run says of units that failed."""

from types import SimpleNamespace
from typing import Any

from cluster.units import Outcome, failure, outcome
from jobs.run.run import reports
from store.errors import ImageSourceError


def failed(unit, exception, attempts=1) -> Outcome:
    return outcome(unit, failure(exception), attempts=attempts, worker="here:1")


def step(label, units, *outcomes) -> Any:
    return SimpleNamespace(label=label, units=units, failed=[*outcomes])


def test_steps_of_one_unit_are_told_by_their_cause_alone_and_once_where_it_is_the_same():
    column = ImageSourceError("images.label = 'labl': no column has that name")
    told = reports(
        [
            step("manifest[train]", ["manifest"], failed("manifest", column)),
            step("manifest[test]", ["manifest"], failed("manifest", column)),
            step("values", ["values"], failed("values", KeyError("x"), attempts=3)),
        ]
    )
    assert told == [
        "manifest[train] and manifest[test]: images.label = 'labl': no column has that name",
        "values: KeyError: 'x' (attempts: 3)",
    ]


def test_of_several_units_those_that_failed_are_counted_and_named():
    units = [f"{i:05d}" for i in range(30)]
    (told,) = reports([step("embeddings[train]", units, *(failed(unit, OSError("gone"), 3) for unit in units[:23]))])
    lines = told.split("\n")
    assert lines[0] == "embeddings[train]: 23 of 30 units failed"
    assert lines[1] == "  00000: OSError: gone (attempts: 3)"
    assert lines[-1] == "  and 3 more"
    assert len(lines) == 22
