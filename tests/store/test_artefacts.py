"""Artefact folders: whole files or none, digests that stay, roots that are refused, status read off the disk."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import files
from store.artefacts import (
    ROOT_FILE,
    ROOT_FORMAT,
    Artefact,
    digest,
    open_root,
    read_json,
    write_json,
)
from store.errors import ArtefactMissing, NotARoot, RootUnusable
from tests.store.made import every_name

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=11,
)


@pytest.fixture
def artefact(tmp_path):
    made = Artefact(tmp_path, "codes", "0123456789abcdef")
    made.prepare({"step": "codes"})
    return made


def test_a_digest_is_the_start_of_the_sha256_of_the_canonical_text():
    text = '{"a":[1,2.5,null,true],"b":"\\u00e9"}'
    assert digest({"b": "é", "a": [1, 2.5, None, True]}) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_digests_do_not_change_between_versions_of_the_code():
    assert digest({}) == "44136fa355b3678a"
    assert digest({"step": "codes", "version": 1, "spec": {}, "inputs": {}}) == "90522dc078b83b0f"


@given(st.dictionaries(st.text(), json_values, max_size=7))
def test_a_digest_ignores_the_order_of_keys_and_survives_writing(content):
    backwards = dict(reversed(content.items()))
    assert digest(backwards) == digest(content) == digest(json.loads(json.dumps(content)))
    assert re.fullmatch("[0-9a-f]{16}", digest(content))


@given(json_values, json_values)
def test_different_content_has_different_digests(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(one) == digest(other)) == same


@given(content=json_values)
def test_json_is_read_back_as_it_was_written(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("json") / "file.json"
    write_json(path, content)
    assert read_json(path) == content


def test_json_that_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(ArtefactMissing, match=r"gone\.json.*not there"):
        read_json(tmp_path / "gone.json")
    (tmp_path / "torn.json").write_bytes(b'{"a": 1')
    with pytest.raises(ArtefactMissing, match=r"torn\.json.*not readable as JSON"):
        read_json(tmp_path / "torn.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArtefactMissing, match=r"binary\.json.*not readable as JSON"):
        read_json(tmp_path / "binary.json")


@pytest.mark.parametrize("there", ["nothing", "an empty folder"])
def test_a_root_is_made_where_there_is(there, tmp_path):
    path = tmp_path / "new" / "root" if there == "nothing" else tmp_path
    assert open_root(path, create=True) == path
    assert read_json(path / ROOT_FILE) == {"format": ROOT_FORMAT}
    (path / "more").mkdir()
    assert open_root(path, create=True) == open_root(path, create=False) == path


def test_a_folder_of_other_files_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(NotARoot, match="other files"):
        open_root(tmp_path, create=True)
    assert every_name(tmp_path) == ["thesis.tex"]


def test_what_is_no_root_is_not_made_one_by_looking(tmp_path):
    with pytest.raises(NotARoot, match="not a root"):
        open_root(tmp_path / "absent", create=False)
    with pytest.raises(NotARoot, match="not a root"):
        open_root(tmp_path, create=False)
    assert every_name(tmp_path) == []


@pytest.mark.parametrize("create", [True, False])
def test_a_file_is_refused_as_root(create, tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(NotARoot, match="is a file"):
        open_root(path, create=create)


def test_a_root_whose_making_was_cut_off_can_be_made_again(tmp_path):
    (tmp_path / f".{ROOT_FILE}.0123456789abcdef").write_bytes(b'{"form')
    assert open_root(tmp_path, create=True) == tmp_path


def test_a_root_of_a_newer_format_is_refused(tmp_path):
    write_json(tmp_path / ROOT_FILE, {"format": "dkvb-root/3"})
    with pytest.raises(NotARoot, match=r"'dkvb-root/3', expected 'dkvb-root/1' or 'dkvb-root/2'; .* upgrade dkvb"):
        open_root(tmp_path, create=True)


def test_a_root_of_the_older_format_is_read_and_stays_as_it_is(tmp_path):
    write_json(tmp_path / ROOT_FILE, {"format": "dkvb-root/1"})
    assert open_root(tmp_path, create=True) == tmp_path
    assert read_json(tmp_path / ROOT_FILE) == {"format": "dkvb-root/1"}


def test_a_root_below_a_file_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RootUnusable, match=re.escape(str(tmp_path / "file" / "root"))) as caught:
        open_root(tmp_path / "file" / "root", create=True)
    assert isinstance(caught.value, PermissionError)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that nobody can write")
def test_a_root_where_nobody_may_write_cannot_be_used():
    with pytest.raises(RootUnusable, match="/proc/dkvb"):
        open_root(Path("/proc/dkvb"), create=True)


def test_a_finished_unit_is_one_that_was_marked(artefact):
    assert artefact.units() is None
    assert artefact.done_units() == set()
    artefact.declare(["00001", "00000", "00002"])
    artefact.mark("00002", {"rows": 5})
    artefact.mark("00000", {"rows": 7})
    assert artefact.units() == ["00001", "00000", "00002"]
    assert artefact.done_units() == {"00000", "00002"}
    assert artefact.marks() == {"00000": {"rows": 7}, "00002": {"rows": 5}}
    assert list(artefact.marks()) == ["00000", "00002"]


def test_a_marker_that_was_being_written_is_no_marker(artefact):
    artefact.declare(["00000"])
    (artefact.path / "units").mkdir()
    (artefact.path / "units" / ".00000.json.x7f").write_bytes(b'{"rows"')
    assert artefact.done_units() == set()
    assert artefact.marks() == {}


def test_an_artefact_is_done_only_at_its_very_end(artefact):
    artefact.declare(["00000"])
    artefact.mark("00000", {})
    assert not artefact.done
    artefact.finish({"facts": {"rows": 3}})
    assert artefact.done
    assert read_json(artefact.path / "provenance.json") == {"facts": {"rows": 3}}
    assert every_name(artefact.path) == [
        "DONE",
        "checksums.json",
        "provenance.json",
        "spec.json",
        "units",
        "units.json",
    ]


def test_two_looks_at_one_folder_see_the_same(artefact):
    other = Artefact(artefact.root, artefact.step, artefact.digest)
    artefact.declare(["00000"])
    artefact.mark("00000", {})
    assert other == artefact
    assert other.done_units() == {"00000"}


def test_events_come_back_in_order(artefact):
    assert list(artefact.events()) == []
    with artefact.journal() as journal:
        journal.write({"kind": "started", "unit": "0"})
        journal.write({"kind": "done", "unit": "0"})
    with artefact.journal() as journal:
        journal.write({"kind": "started", "unit": "1", "text": "odd\nname é"})
    assert [event["kind"] for event in artefact.events()] == ["started", "done", "started"]
    assert [event.get("text") for event in artefact.events()] == [None, None, "odd\nname é"]


def test_a_torn_last_event_is_left_out(artefact):
    artefact.journal().write({"kind": "started"})
    with (artefact.path / "events.jsonl").open("a") as file:
        file.write('{"kind": "do')
    assert list(artefact.events()) == [{"kind": "started"}]


def test_an_event_after_a_torn_one_is_kept(artefact):
    artefact.journal().write({"kind": "started"})
    with (artefact.path / "events.jsonl").open("a") as file:
        file.write('{"kind": "do')
    artefact.journal().write({"kind": "resumed"})
    artefact.journal().write({"kind": "done"})
    assert list(artefact.events()) == [{"kind": "started"}, {"kind": "resumed"}, {"kind": "done"}]


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


@pytest.mark.parametrize(("step", "digest"), [("../up", "0" * 16), ("codes", "../../etc"), ("codes", "0" * 15)])
def test_an_artefact_cannot_lie_outside_its_root(step, digest, tmp_path):
    with pytest.raises(NotARoot, match="which dkvb never writes"):
        Artefact(tmp_path, step, digest)


def test_a_unit_cannot_lie_outside_its_artefact(tmp_path):
    artefact = Artefact(tmp_path, "codes", "0" * 16)
    artefact.declare(["../../escape"])
    with pytest.raises(NotARoot, match="names a unit"):
        artefact.units()
