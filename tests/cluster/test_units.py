"""Units: what is said of one that failed."""

import os
import signal
import time

import pytest

from cluster.errors import InvalidRequest
from cluster.units import Event, Policy, failure, outcome, setup_failed


class ForPeople(ValueError):
    exit_code = 2


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ForPeople("images.label = 'labl': no such column"), "images.label = 'labl': no such column"),
        (InvalidRequest("no workers asked for"), "no workers asked for"),
        (KeyError("labl"), "KeyError: 'labl'"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_what_is_meant_for_people_is_said_without_the_name_of_its_type(error, said):
    reply = failure(error)
    assert outcome("a", reply, attempts=1, worker="here:1").error == said
    assert str(setup_failed(reply, worker="here:1")) == f"setting up a worker failed on here:1: {said}"


@pytest.mark.ray
def test_a_worker_that_is_told_to_end_with_its_node_is_lost_and_its_unit_begins_again(ray_executor, tmp_path):
    """Ray answers SIGTERM with a SystemExit within the work, which was taken for a failure of the unit."""

    def factory():
        def work(unit):
            if unit == "u5" and not (tmp_path / "ended").exists():
                (tmp_path / "ended").touch()
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            return unit

        return work

    events: list[Event] = []
    units = [f"u{number}" for number in range(13)]
    outcomes = list(ray_executor.map(factory, units, policy=Policy(), on_event=events.append))
    assert sorted(one.unit for one in outcomes) == sorted(units)
    assert [one.error for one in outcomes if not one.ok] == []
    assert [(event.unit, event.last) for event in events if event.kind == "worker_lost"] == [("u5", False)]
