"""Damage to a finished root is harmless or told, and `dkvb status --verify` finds it."""

import json
import subprocess
import sys

import pytest

from tests.faults.damage import DAMAGES, kind
from tests.paths import REPOSITORY

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def report():
    """What the script says of one in ten damages to the tiny root; a process of its own, as it forks."""
    words = [sys.executable, "-m", "tests.faults.damage", "--tiny", "--share", "0.1", "--resume", "3"]
    ended = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=1100, check=False)
    assert ended.stdout, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def told(report, *verdicts):
    return [one for one in report["bad"] if one["verdict"] in verdicts]


def test_damages_of_every_kind_were_tried_on_many_files(report):
    assert report["files"] > 150
    assert report["damages"] > 60
    assert set(report["worst"]) - {"harmless"}, "no command noticed any damage: nothing was damaged"


def test_no_damage_gives_another_number_in_silence(report):
    assert not told(report, "wrong")


def test_no_damage_ends_in_a_traceback_or_a_hang(report):
    assert not told(report, "traceback", "hang")


def test_verify_is_there_and_finds_every_damage(report):
    assert any(command.startswith("verify:") for command in report["commands"])
    assert not told(report, "missed")


def test_a_kind_of_file_is_its_step_and_its_name_without_numbers():
    assert kind("counts/0123456789abcdef/data.zarr/counts/c/3/0/0") == "counts: chunk of counts"
    assert kind("embeddings/0123456789abcdef/data.zarr/labels/00001/c/0") == "embeddings: chunk of labels"
    assert kind("sweep/0123456789abcdef/units/00002.json") == "sweep: units/N.json"
    assert kind("dkvb-root.json") == "dkvb-root.json"


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_changes_a_file(name):
    import random

    assert DAMAGES[name](b"seven bytes", random.Random(1)) != b"seven bytes"
