"""What no change of the code's shape may change: digests of steps, and the bytes of results (see `results`)."""

import json
from pathlib import Path

import pytest

from jobs.spec.library import shipped
from tests.golden.results import DIGESTS, DIGITS, digits, dkvb, shipped_digests

CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.parametrize("name", shipped())
def test_every_step_of_a_shipped_spec_has_the_digest_it_had(name):
    assert shipped_digests(name) == json.loads(DIGESTS.read_text())[name]


def test_no_shipped_spec_is_missing():
    assert sorted(json.loads(DIGESTS.read_text())) == shipped()


@pytest.mark.slow
@pytest.mark.skipif(
    "GenuineIntel" not in CPUINFO.read_text(), reason="MKL takes other paths on other makers' processors"
)
@pytest.mark.timeout(600)
def test_the_demo_gives_the_bytes_it_gave(tmp_path):
    dkvb("demo", "--root", tmp_path / "root")
    assert digits(tmp_path / "root") == json.loads(DIGITS.read_text())
