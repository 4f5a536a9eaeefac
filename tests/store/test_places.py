"""Places: what is a path and what an address, and which of them can be used."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from store import places
from store.artefacts import open_root
from store.errors import BadAddress, PlaceUnreachable, RootUnusable
from tests.paths import REPOSITORY


@pytest.mark.parametrize("text", ["s3://bucket/a", "gs://b", "file:///tmp/x", "memory://x", "s3:/bucket"])
def test_an_address_is_told_from_a_path(text):
    assert places.is_address(text)


@pytest.mark.parametrize("text", ["/tmp/a", "a", "./a:b/c", "C", "a/b://c", ""])
def test_a_path_is_told_from_an_address(text):
    assert not places.is_address(text)


def test_an_unknown_protocol_is_refused():
    with pytest.raises(BadAddress, match="s4"):
        places.place("s4://bucket/a")


def test_an_address_with_a_password_is_refused_and_not_repeated():
    with pytest.raises(BadAddress, match="usual chain") as caught:
        places.place("sftp://me:hunter2@host/folder")
    assert "hunter2" not in str(caught.value)


def test_a_bucket_that_is_not_there_cannot_be_used(bucket):
    with pytest.raises((RootUnusable, PlaceUnreachable), match=re.escape(bucket)):
        open_root(places.place(f"{bucket}-of-another/root"), create=True)


def test_missing_credentials_are_named_and_no_traceback(s3_server, tmp_path):
    variables = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    variables |= {"AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"], "AWS_EC2_METADATA_DISABLED": "true"}
    words = [str(Path(sys.executable).with_name("dkvb")), "status", "s3://some/root"]
    ended = subprocess.run(
        words, env={**variables, "HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert re.fullmatch("dkvb: s3://some/root.*credentials.*\n", ended.stderr)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("s3://b/r", "pip install 'dkvb-unlearning[s3]'"),
        ("gs://b/r", "pip install 'dkvb-unlearning[gcs]'"),
        ("gcs://b/r", "pip install 'dkvb-unlearning[gcs]'"),
        ("abfs://b/r", "pip install the fsspec file system of abfs://"),
    ],
)
def test_what_installs_the_file_system_of_an_address(address, expected):
    assert places.installs(address) == expected


def test_the_extras_that_install_file_systems_are_there():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {*places.EXTRAS.values()} <= project["optional-dependencies"].keys()
