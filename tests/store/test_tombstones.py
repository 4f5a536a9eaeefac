"""What is destroyed: overwritten before it is removed, and told as such by whoever would read it."""

import pytest

from store.artefacts import Artefact
from store.checksums import checked, faults, forget_ledger
from store.errors import ArtefactDamaged, ArtefactDestroyed
from store.files import write_atomic
from store.recording import recording
from store.tombstones import Tombstone, left, read_tombstone, shred, write_tombstone

BY = "ab" * 8


@pytest.fixture
def artefact(tmp_path):
    made = Artefact(tmp_path, "sums", "0123456789abcdef")
    made.prepare({})
    with recording(made.path) as files:
        for name in ("one.bin", "part/two.bin", "part/deep/three.bin", "kept.bin"):
            write_atomic(made.path / name, name.encode() * 100)
    made.finish({}, files)
    return made


def test_what_is_shredded_was_overwritten_and_is_gone(tmp_path):
    path, secret = tmp_path / "file", b"secret" * 400_000
    path.write_bytes(secret)
    other = tmp_path / "link"
    other.hardlink_to(path)  # shows what the blocks of the file hold afterwards
    shred(tmp_path, ["file"])
    assert not path.exists()
    found = other.read_bytes()
    assert len(found) == len(secret)
    assert b"secret" not in found
    assert b"\0" * 64 not in found


def test_folders_and_what_was_being_written_go_too_and_the_rest_stays(artefact):
    (artefact.path / ".one.bin.0123456789abcdef").write_bytes(b"half")
    (artefact.path / "part" / ".two.bin.0123456789abcdef").write_bytes(b"half")
    (artefact.path / "part" / "empty").write_bytes(b"")
    shred(artefact.path, ["one.bin", "part", "missing"])
    assert not left(artefact.path, ["one.bin", "part", "missing"])
    assert not [path for path in artefact.path.rglob("*") if "one" in path.name or "two" in path.name]
    assert (artefact.path / "kept.bin").is_file()
    shred(artefact.path, ())
    assert not artefact.path.exists()


def test_a_link_is_removed_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "elsewhere")
    shred(tmp_path, ["folder"])
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"
    assert not (tmp_path / "folder").exists()


def test_a_destroyed_file_is_told_as_such_even_before_it_is_gone(artefact):
    assert checked(artefact.path / "one.bin")
    write_tombstone(artefact.path, Tombstone(BY, ("one.bin", "part")))
    forget_ledger(artefact.path)
    for name in ("one.bin", "part/deep/three.bin"):
        with pytest.raises(ArtefactDestroyed, match=f"destroyed on purpose, by request {BY}"):
            checked(artefact.path / name)
    assert checked(artefact.path / "kept.bin")
    shred(artefact.path, ("one.bin", "part"))
    assert faults(artefact.path) == []
    (artefact.path / "kept.bin").unlink()
    assert [name for name, _ in faults(artefact.path)] == ["kept.bin"]


def test_a_process_that_read_the_checksums_before_is_told_too(artefact):
    assert checked(artefact.path / "one.bin")
    write_tombstone(artefact.path, Tombstone(BY, ("one.bin",)))
    shred(artefact.path, ("one.bin",))
    with pytest.raises(ArtefactDestroyed):
        checked(artefact.path / "one.bin")


def test_what_was_destroyed_before_stays_so(artefact):
    write_tombstone(artefact.path, Tombstone("1" * 16, ("one.bin",)))
    write_tombstone(artefact.path, Tombstone("2" * 16, ("part",)))
    stone = read_tombstone(artefact.path)
    assert stone is not None
    assert stone == Tombstone("2" * 16, ("one.bin", "part"))
    assert [stone.covers(name) for name in ("one.bin", "one", "part/x", "partly", "kept.bin")] == [1, 0, 1, 0, 0]


@pytest.mark.parametrize("content", ["", "{}", '{"by": "a", "parts": 3}', '{"by": "../x", "parts": []}'])
def test_a_damaged_tombstone_is_told(content, artefact):
    (artefact.path / "destroyed.json").write_text(content)
    with pytest.raises(ArtefactDamaged, match="restore it from a backup"):
        read_tombstone(artefact.path)
    assert [name for name, _ in faults(artefact.path)] == ["destroyed.json"]
