"""Units: what is said of one that failed."""

import pytest

from cluster.errors import InvalidRequest
from cluster.units import failure, outcome, setup_failed


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
