"""Of the log of requests and the certificates nothing is changed or removed unnoticed."""

import json
import shutil

import pytest

from jobs import evidence
from jobs.certificate import LOG
from jobs.integrity import repair, verify
from jobs.results.experiment import find
from jobs.unlearn import Request, unlearn
from store.artefacts import CERTIFICATE
from store.recording import sha256


@pytest.fixture(scope="module")
def asked(finished, tmp_path_factory):
    """A root with three requests: cat, ant, cat again."""
    root = shutil.copytree(finished.root, tmp_path_factory.mktemp("asked") / "root")
    for name in ("cat", "ant", "cat"):
        unlearn(find(root, None), Request(classes=[name]), measured=False)
    return root


@pytest.fixture
def root(asked, tmp_path):
    return shutil.copytree(asked, tmp_path / "root")


def log_of(root):
    return sorted((root / LOG).iterdir())


def told(root):
    return [str(path.relative_to(root)) for path in evidence.faults(root)]


def test_each_entry_names_what_it_holds_and_the_one_before_it(root):
    before = None
    for path in log_of(root):
        assert path.stem.split("-")[2] == sha256(path.read_bytes())
        assert json.loads(path.read_text())["certificate"]["previous"] == before
        before = sha256(path.read_bytes())
    assert told(root) == []
    assert [row["classes"] for row in evidence.log(root)] == [["cat"], ["ant"], ["cat"]]
    assert verify(root).sound


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("damage", ["changed", "emptied", "other certificate"])
def test_a_changed_entry_is_told_by_its_name(damage, at, root):
    path = log_of(root)[at]
    whole = path.read_bytes()
    changed = {"changed": whole.replace(b"uva", b"uve"), "emptied": b""}
    path.write_bytes(changed.get(damage, log_of(root)[(at + 1) % 3].read_bytes()))
    found = evidence.faults(root)
    assert list(found) == [path]
    assert str(path) in found[path]
    assert "has changed since it was written" in found[path]
    assert "backup" in found[path]


def test_an_entry_that_was_removed_is_told_by_what_is_left(root):
    first, second, third = log_of(root)
    first.unlink()
    assert told(root) == [str(second.relative_to(root))]
    second.unlink()
    ant = next(path for path in (root / "unlearned").iterdir() if path.name in second.name)
    assert told(root) == [str(third.relative_to(root)), str((ant / CERTIFICATE).relative_to(root))]


def test_the_last_entry_that_was_removed_is_told_by_the_certificate_beside_the_model(root):
    first, _, third = log_of(root)
    third.unlink()
    (path, text) = next(iter(evidence.faults(root).items()))
    assert path.name == CERTIFICATE
    assert str(first) in text


def test_a_certificate_that_is_gone_or_changed_is_copied_from_the_log(root):
    cat, ant = (root / "unlearned" / log_of(root)[at].stem.split("-")[1] / CERTIFICATE for at in (0, 1))
    whole = {path: path.read_bytes() for path in (cat, ant)}
    cat.unlink()
    ant.write_bytes(whole[cat])
    assert {*evidence.faults(root)} == {cat, ant}
    assert all("dkvb repair" in text for text in evidence.faults(root).values())
    lines: list[str] = []
    repair(root, lines.append)
    assert lines == [f"copied {path} from the log of requests" for path in sorted((cat, ant))]
    assert {path: path.read_bytes() for path in (cat, ant)} == whole
    assert verify(root).sound


def test_repair_leaves_the_log_as_it_is_and_says_so(root):
    path = log_of(root)[0]
    path.write_bytes(b"{}")
    lines: list[str] = []
    assert not repair(root, lines.append).sound
    assert path.read_bytes() == b"{}"
    assert "restore it from a backup" in lines[0]


def test_the_commands_tell_it(root, dkvb):
    assert dkvb("log", root).code == 0
    path = log_of(root)[1]
    path.write_bytes(path.read_bytes()[:-1])
    for words in (("status", root, "--verify"), ("log", root)):
        shown = dkvb(*words)
        assert shown.code == 1
        assert str(path) in shown.out + shown.err
        assert "keep a copy of" in shown.out + shown.err
        assert "Traceback" not in shown.err
    about = json.loads(dkvb("status", root, "--verify", "--json").out)
    assert about["damaged"] == []
    assert len(about["evidence"]) == 1


def test_a_request_goes_on_where_the_log_is_damaged(root):
    log_of(root)[2].write_bytes(b"")
    unlearn(find(root, None), Request(classes=["bee"]), measured=False)
    assert len(log_of(root)) == 4
    assert told(root)[0] == str(log_of(root)[2].relative_to(root))


def test_logs_and_models_of_earlier_versions_are_not_blamed(root):
    for path in log_of(root):  # names without a checksum, entries without the one before
        said = json.loads(path.read_text())
        del said["certificate"]["previous"]
        data = json.dumps(said).encode()
        folder = path.stem.split("-")[1]
        (root / "unlearned" / folder / CERTIFICATE).write_bytes(data)
        (root / LOG / f"{path.stem.rpartition('-')[0]}.json").write_bytes(data)
        path.unlink()
    assert told(root) == []
    assert len(evidence.log(root)) == 3


@pytest.mark.parametrize("name", ["x.json", "-.json", "a-b-c-d.json"])
def test_a_file_that_is_not_ours_is_told(name, root):
    (root / LOG / name).write_text('{"certificate": {"request": 1}}')
    assert f"{LOG}/{name}" in told(root)
    assert len(evidence.log(root)) == 3
