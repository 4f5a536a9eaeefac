"""Places on a disk and on an object store: whole files, one creator, journals that survive, errors with a name."""

import os
import re
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from store import arrays, files, places
from store.artefacts import Artefact, open_root
from store.errors import BadAddress, NotARoot, PlaceUnreachable, RootUnusable
from store.journal import Journal, read_journal


@pytest.fixture(params=["disk", "s3"])
def folder(request, tmp_path):
    if request.param == "disk":
        return tmp_path
    return places.place(request.getfixturevalue("bucket") + "/some/folder")


def test_a_file_is_read_back_as_it_was_written(folder):
    path = folder / "deep" / "file.bin"
    assert not files.exists(path)
    files.write_atomic(path, b"first, and longer")
    files.write_atomic(path, b"second")
    assert files.read_bytes(path) == b"second"
    assert files.exists(path)
    assert files.names(folder / "deep") == ["file.bin"]


def test_a_file_in_parts_is_the_same_file(folder):
    files.write_atomic(folder / "file.bin", (part for part in (b"one", memoryview(b"two"), b"")))
    assert files.read_bytes(folder / "file.bin") == b"onetwo"
    with files.on_disk(folder / "file.bin") as path:
        assert path.read_bytes() == b"onetwo"


def test_a_file_that_is_not_there_is_missing(folder):
    with pytest.raises(FileNotFoundError):
        files.read_bytes(folder / "gone")
    assert files.names(folder / "gone") == []
    assert files.read_all(folder / "gone", ".json") == {}


@pytest.fixture
def small_files():
    """No file may grow beyond some bytes: the system then refuses a write as a full disk does, without a name."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_the_system_refuses_names_the_file_and_leaves_nothing(small_files, tmp_path):
    arrays.create(tmp_path / "data.zarr", "labels/00000", (5003,))
    journal = Journal(tmp_path / "events.jsonl")
    noise = np.random.default_rng(0).integers(0, 1 << 31, 5003, np.int32)
    small_files(53)
    with pytest.raises(OSError, match="too large") as whole:
        files.write_atomic(tmp_path / "file.bin", b"x" * 1009)
    with pytest.raises(OSError, match="too large") as made:
        arrays.create(tmp_path / "other.zarr", "labels/00000", (5003,))
    with pytest.raises(OSError, match="too large") as chunk:
        arrays.write(tmp_path / "data.zarr", "labels/00000", noise)
    journal.write({"text": "x" * 97})  # as much of it as there is room for
    with pytest.raises(OSError, match="too large") as line:
        journal.write({})
    small_files(1 << 30)
    assert whole.value.filename == str(tmp_path / "file.bin")
    assert chunk.value.filename.startswith(str(tmp_path / "data.zarr" / "labels" / "00000" / "c"))
    assert made.value.filename.startswith(str(tmp_path / "other.zarr"))
    assert line.value.filename == str(tmp_path / "events.jsonl")
    assert files.names(tmp_path) == ["data.zarr", "events.jsonl", "other.zarr"]
    assert not [path for path in tmp_path.iterdir() if path.name[0] == "."]


def test_names_are_sorted_filtered_and_of_one_folder(folder):
    for name in ("b.json", "a.json", "c.txt", "d/e.json"):
        files.write_atomic(folder / name, name.encode())
    assert files.names(folder, ".json") == ["a.json", "b.json"]
    assert files.read_all(folder, ".json") == {"a": b"a.json", "b": b"b.json"}


def test_of_many_who_create_a_file_one_has_created_it(folder):
    found = {}
    barrier = threading.Barrier(7)

    def claim(number):
        barrier.wait()
        found[number] = files.create(folder / "claim", f"writer {number}".encode())

    threads = [threading.Thread(target=claim, args=[number]) for number in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [number for number, created in found.items() if created]
    assert files.read_bytes(folder / "claim") == f"writer {winner}".encode()
    assert not files.create(folder / "claim", b"late")
    assert files.names(folder) == ["claim"]


def test_a_journal_keeps_the_order_over_writers(folder):
    path = folder / "log.jsonl"
    assert list(read_journal(path)) == []
    with Journal(path) as journal:
        journal.write({"n": 1})
        journal.write({"n": 2, "text": "odd\nname é"})
    with Journal(path) as journal:
        journal.write({"n": 3})
    assert [record["n"] for record in read_journal(path)] == [1, 2, 3]


def test_an_artefact_lives_on_either(folder):
    root = open_root(folder / "root", create=True)
    artefact = Artefact(root, "codes", "0123456789abcdef")
    assert artefact.units() is None
    artefact.prepare({"step": "codes"})
    artefact.declare(["00000", "00001"])
    artefact.mark("00001", {"rows": 3})
    assert (artefact.units(), artefact.done_units()) == (["00000", "00001"], {"00001"})
    assert artefact.marks() == {"00001": {"rows": 3}}
    assert artefact.is_done("00001")
    assert not artefact.is_done("00000")
    assert not artefact.done
    artefact.finish({"facts": {}})
    assert artefact.done
    assert open_root(folder / "root", create=False) == root


def test_a_place_with_other_files_is_no_root(folder):
    files.write_atomic(folder / "thesis.tex", b"years of work")
    with pytest.raises(NotARoot, match="other files"):
        open_root(folder, create=True)
    with pytest.raises(NotARoot, match="not a root"):
        open_root(folder / "sub", create=False)


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
    words = [Path(sys.executable).with_name("dkvb"), "status", "s3://some/root"]
    ended = subprocess.run(
        words, env={**variables, "HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert re.fullmatch("dkvb: s3://some/root.*credentials.*\n", ended.stderr)


@pytest.mark.parametrize(("step", "digest"), [("../up", "0" * 16), ("codes", "../../etc"), ("codes", "0" * 15)])
def test_an_artefact_cannot_lie_outside_its_root(step, digest, tmp_path):
    with pytest.raises(NotARoot, match="no step of ours"):
        Artefact(tmp_path, step, digest)


def test_a_unit_cannot_lie_outside_its_artefact(tmp_path):
    artefact = Artefact(tmp_path, "codes", "0" * 16)
    artefact.declare(["../../escape"])
    with pytest.raises(NotARoot, match="names a unit"):
        artefact.units()
