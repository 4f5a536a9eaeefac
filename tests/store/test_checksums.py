"""Checksums: every file of an artefact is noted when written and checked when read, on a disk and an object store."""

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from store import arrays, checksums, places
from store import files as store_files
from store.artefacts import Artefact, read_json, read_record, write_record
from store.errors import ArtefactDamaged
from store.files import remove, write_atomic
from store.recording import recording, stamp
from store.tables import read_table, write_rows

SCHEMA = {"class": pl.Int32}


@pytest.fixture
def artefact(tmp_path):
    """A finished artefact with arrays of two units, one of zeros alone, a table, and a model."""
    made = Artefact(tmp_path, "counts", "0123456789abcdef")
    made.prepare({"step": "counts"})
    arrays.create(made.data, "counts", (3, 2, 5), dtype="uint16")
    made.declare(["00000", "00001"])
    blocks = {"00000": np.zeros((2, 2, 5), np.uint16), "00001": np.full((1, 2, 5), 7, np.uint16)}
    for start, (unit, block) in zip((0, 2), blocks.items(), strict=True):
        with recording(made.path) as files:
            arrays.write(made.data, "counts", block, start=start)
            write_rows(made.path / "rows" / f"{unit}.parquet", [{"class": start}], SCHEMA)
        made.mark(unit, {"rows": len(block)}, files)
    with recording(made.path) as files:
        write_atomic(made.path / "model.bin", (part for part in (b"one", memoryview(b"two"))))
    made.finish({"facts": {"rows": 3}}, files)
    return made


def read_everything(artefact):
    read_json(artefact.path / "provenance.json")
    artefact.marks()
    artefact.units()
    arrays.read(artefact.data, "counts")
    for unit in ("00000", "00001"):
        read_table(artefact.path / "rows" / f"{unit}.parquet", SCHEMA)
    checksums.checked(artefact.path / "model.bin")
    read_json(artefact.path / "spec.json")


def covered(artefact):
    return json.loads((artefact.path / "checksums.json").read_bytes())["files"]


def test_what_is_intact_is_read(artefact):
    read_everything(artefact)
    assert checksums.faults(artefact.path) == []
    assert artefact.marks() == {"00000": {"rows": 2}, "00001": {"rows": 1}}


def test_the_checksums_are_those_of_the_files_and_of_all_of_them(artefact):
    files = covered(artefact)
    assert files == {name: stamp((artefact.path / name).read_bytes()) for name in files}
    there = {path.relative_to(artefact.path).as_posix() for path in artefact.path.rglob("*") if path.is_file()}
    assert there == set(files) | {"checksums.json", "DONE"}


def test_a_chunk_of_zeros_is_written_too(artefact):
    assert {"data.zarr/counts/c/0/0/0", "data.zarr/counts/c/1/0/0", "data.zarr/counts/c/2/0/0"} <= set(
        covered(artefact)
    )


def test_a_marker_holds_what_its_unit_wrote_alone(artefact):
    marker = json.loads((artefact.path / "units" / "00001.json").read_bytes())
    assert set(marker["files"]) == {"data.zarr/counts/c/2/0/0", "rows/00001.parquet"}


DAMAGES = {
    "deleted": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "zeroed": lambda path: path.write_bytes(bytes(len(path.read_bytes()))),
    "flipped": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "lengthened": lambda path: path.write_bytes(path.read_bytes() + b" "),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damaged_file_is_read_in_silence_and_reading_all_finds_it(damage, artefact):
    for name in [*covered(artefact), "checksums.json", "DONE"]:
        path = artefact.path / name
        before = path.read_bytes()
        if (damage, name) == ("deleted", "DONE"):
            continue  # it is then unfinished, and done again
        DAMAGES[damage](path)
        assert checksums.faults(artefact.path), f"{name} {damage}, and nobody noticed"
        if name not in ("data.zarr/zarr.json",):  # of the group: nothing is read of it
            with pytest.raises(ArtefactDamaged, match="dkvb repair"):
                read_everything(artefact)
        path.write_bytes(before)
    read_everything(artefact)


def test_a_file_that_grew_beyond_all_measure_is_not_read(artefact):
    for name in ("model.bin", "units/00001.json", "data.zarr/counts/c/0/0/0"):
        os.truncate(artefact.path / name, 2**40)
    assert len(checksums.faults(artefact.path)) == 3
    with pytest.raises(ArtefactDamaged, match="00001"):
        artefact.marks()


def test_exchanged_chunks_are_noticed(artefact):
    one, other = (artefact.data / "counts" / "c" / k / "0" / "0" for k in ("0", "2"))
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)
    with pytest.raises(ArtefactDamaged, match="does not hold what was written"):
        arrays.read(artefact.data, "counts")
    assert len(checksums.faults(artefact.path)) == 2


def test_a_unit_that_stands_is_checked_before_the_artefact_is_finished(artefact):
    artefact.reopen()
    path = artefact.path / "rows" / "00001.parquet"
    path.write_bytes((artefact.path / "rows" / "00000.parquet").read_bytes())
    with pytest.raises(ArtefactDamaged, match="00001"):
        read_table(path, SCHEMA)
    path.unlink()
    with pytest.raises(ArtefactDamaged, match="is missing"):
        artefact.finish({"facts": {}})


def test_an_artefact_of_a_version_without_checksums_is_read_as_it_is(artefact):
    for path in (artefact.path / "units").iterdir():
        marker = json.loads(path.read_bytes())
        del marker["files"]
        path.write_text(json.dumps(marker))
    (artefact.path / "checksums.json").unlink()
    (artefact.path / "DONE").write_bytes(b"")
    read_everything(artefact)
    assert checksums.ledger(artefact.path) is None
    assert checksums.faults(artefact.path) == []


@pytest.mark.parametrize("damage", ["emptied", "zeroed", "cut"])
def test_without_checksums_a_chunk_that_cannot_be_decoded_is_one_message(damage, artefact):
    (artefact.path / "checksums.json").unlink()
    (artefact.path / "DONE").write_bytes(b"")
    for path in (artefact.path / "units").iterdir():
        path.unlink()
    DAMAGES[damage](artefact.data / "counts" / "c" / "2" / "0" / "0")
    with pytest.raises(ArtefactDamaged, match="counts: a chunk cannot be read"):
        arrays.read(artefact.data, "counts")


def test_a_reader_sees_an_artefact_that_was_made_anew(artefact):
    read_everything(artefact)
    model = covered(artefact)["model.bin"]
    artefact.reopen()
    artefact.finish({"facts": {"rows": 4}}, {"model.bin": model})
    assert read_json(artefact.path / "provenance.json")["facts"] == {"rows": 4}


def test_of_two_drivers_the_first_says_and_the_second_changes_nothing(artefact):
    files = {path: path.read_bytes() for path in artefact.path.rglob("*") if path.is_file()}
    artefact.mark("00001", {"rows": 1, "seconds": 2.5}, {"rows/00001.parquet": f"{0:064} 7"})
    artefact.finish({"facts": {"rows": 3}, "times": "later"}, {"model.bin": covered(artefact)["model.bin"]})
    assert {path: path.read_bytes() for path in artefact.path.rglob("*") if path.is_file()} == files
    read_everything(artefact)


def test_a_large_file_is_checked_before_a_library_reads_it(artefact):
    with checksums.checked_on_disk(artefact.path / "model.bin") as file:
        assert file.read_bytes() == b"onetwo"
    (artefact.path / "model.bin").write_bytes(b"onetwp")
    with pytest.raises(ArtefactDamaged, match=r"model\.bin"), checksums.checked_on_disk(artefact.path / "model.bin"):
        pytest.fail("it was read")


def test_a_record_carries_its_own_checksum(tmp_path):
    path = tmp_path / "tiny.json"
    write_record(path, {"name": "tiny", "steps": {"keys": "0" * 16}})
    assert read_record(path) == {"name": "tiny", "steps": {"keys": "0" * 16}}
    path.write_bytes(path.read_bytes()[:-1])  # the same JSON, and not what was written
    with pytest.raises(ArtefactDamaged, match=r"tiny\.json"):
        read_record(path)
    write_record(path, {"name": "tiny", "steps": {"keys": "0" * 16}})
    path.write_text(path.read_text().replace("0000", "0001"))
    with pytest.raises(ArtefactDamaged, match=r"tiny\.json"):
        read_record(path)
    path.write_text(json.dumps({"name": "old"}))
    assert read_record(path) == {"name": "old"}


def test_files_written_elsewhere_or_later_are_not_noted(tmp_path):
    with recording(tmp_path / "one") as files:
        write_atomic(tmp_path / "one" / "deep" / "file", b"x")
        write_atomic(tmp_path / "one-more", b"y")
    write_atomic(tmp_path / "one" / "late", b"z")
    assert files == {"deep/file": stamp(b"x")}


def test_the_same_holds_on_an_object_store(bucket):
    made = Artefact(places.place(f"{bucket}/root"), "counts", "0123456789abcdef")
    made.prepare({"step": "counts"})
    arrays.create(made.data, "counts", (3, 2, 5), dtype="uint16")
    made.declare(["00000"])
    with recording(made.path) as files:
        arrays.write(made.data, "counts", np.zeros((3, 2, 5), np.uint16))
    made.mark("00000", {}, files)
    made.finish({"facts": {}})
    assert arrays.read(made.data, "counts").shape == (3, 2, 5)
    assert checksums.faults(made.path) == []
    chunk = made.data / "counts" / "c" / "1" / "0" / "0"
    kept = chunk.read_bytes()
    remove(chunk)
    with pytest.raises(ArtefactDamaged, match="is missing"):
        arrays.read(made.data, "counts")
    chunk.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(ArtefactDamaged, match="does not hold"):
        arrays.read(made.data, "counts")
    assert len(checksums.faults(made.path)) == 1


def test_a_folder_that_is_made_for_a_file_is_on_the_disk_with_it(tmp_path, monkeypatch):
    synced: list[Path] = []
    monkeypatch.setattr(store_files, "sync_folder", synced.append)
    write_atomic(tmp_path / "a" / "b" / "file", b"x")
    assert synced == [tmp_path, tmp_path / "a", Path(tmp_path, "a", "b")]


def test_folders_of_one_relative_path_have_each_their_own_checksums(tmp_path, monkeypatch):
    for home, content in (("a", b"one"), ("b", b"two")):
        (tmp_path / home).mkdir()
        monkeypatch.chdir(tmp_path / home)
        made = Artefact(Path("root"), "counts", "0123456789abcdef")
        made.prepare({"step": "counts"})
        made.declare(["00000"])
        with recording(made.path) as files:
            write_atomic(made.path / "model.bin", content)
        made.mark("00000", {}, files)
        assert checksums.checked(made.path / "model.bin") == content
        assert checksums.checked(made.path.absolute() / "model.bin") == content
