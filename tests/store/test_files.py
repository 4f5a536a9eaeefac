"""Files on a disk and on an object store: written whole or not at all, by one creator, errors with a name."""

import resource
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

from store import arrays, files
from store.files import write_atomic
from store.journal import Journal
from tests.store.made import every_name


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


def test_a_written_file_is_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "er" / "file.bin"
    write_atomic(path, b"a long first content")
    write_atomic(path, b"short")
    assert path.read_bytes() == b"short"
    assert every_name(path.parent) == ["file.bin"]


def test_a_file_is_written_in_parts_too(tmp_path):
    path = tmp_path / "file.bin"
    write_atomic(path, (part for part in (b"one", memoryview(b"two"), b"")))
    assert path.read_bytes() == b"onetwo"

    def torn():
        yield b"a longer content"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_atomic(path, torn())
    assert path.read_bytes() == b"onetwo"
    assert every_name(tmp_path) == ["file.bin"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.bin"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "text is no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert every_name(tmp_path) == ["file.bin"]


def test_a_write_onto_a_folder_fails_and_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "taken", b"data")
    assert every_name(tmp_path) == ["taken"]


FILL = """
import resource, signal, sys
from pathlib import Path
from store.files import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomic(Path(sys.argv[1]), b"x" * 1001)
except OSError as error:
    print(type(error).__name__)
"""


def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.bin"
    write_atomic(path, b"old")
    done = subprocess.run([sys.executable, "-c", FILL, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "OSError"
    assert path.read_bytes() == b"old"
    assert every_name(tmp_path) == ["file.bin"]


def test_a_written_file_has_the_mode_that_the_umask_gives(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_atomic(tmp_path / "atomic", b"")
    modes = [stat.filemode((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")]
    assert modes[1] == modes[0], "a group that shares a root cannot read it"
