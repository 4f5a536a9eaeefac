"""Certificates of requests that others followed: what was destroyed on order is told from what was lost or hidden."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from cluster.unit_map import SerialExecutor
from jobs.certificate import LOG
from jobs.evidence import log
from jobs.exact import ExactRequest, forget_exactly
from jobs.purge import class_rows, purge
from jobs.results.experiment import Experiment, find
from jobs.run.run import run
from jobs.unlearn import Request, unlearn
from jobs.verification import verify
from store.artefacts import CERTIFICATE, ROOT_FILE, Artefact
from store.recording import sha256
from store.tombstones import TOMBSTONE, Tombstone, write_tombstone
from tests.jobs.test_certificate import pem
from tests.tiny import Watched


class Followed(NamedTuple):
    """A root with two requests and the purge of the second, all signed; and the public key."""

    root: Path
    key: Path
    first: Path
    """Entries of the log."""
    second: Path
    purge: Path


@pytest.fixture(scope="module", params=["masks", "exact"])
def followed(request, finished, solved, tmp_path_factory):
    folder = tmp_path_factory.mktemp("followed")
    private, public = pem(folder, "auditor")
    before = finished if request.param == "masks" else solved
    root = Path(shutil.copytree(before.root, folder / "root"))
    own = find(root, None)
    if request.param == "masks":
        unlearn(own, Request(classes=["cat"]), measured=False, key_file=private)
        done = unlearn(own, Request(classes=["bee"]), measured=False, key_file=private)
        of, rows = Artefact(own.root, "unlearned", Path(done.mask).parent.name), class_rows(own, ["bee"])
    else:
        forget_exactly(own, ExactRequest(items=["40"]), key_file=private)
        forget_exactly(own, ExactRequest(items=["0"], commit=True), key_file=private)
        of, rows = None, []
    run_them = partial(run, root=own.root, executor=SerialExecutor(), progress=Watched(), recorded=False)
    purge(own, run_them, of=of, rows=rows, key_file=private)
    return Followed(root, public, *sorted((root / LOG).iterdir()))


@pytest.fixture
def there(followed, tmp_path):
    root = Path(shutil.copytree(followed.root, tmp_path / "root"))
    return Followed(root, followed.key, *sorted((root / LOG).iterdir()))


EXACT = pytest.mark.parametrize("followed", ["exact"], indirect=True)


def failed(findings):
    return [finding.what for finding in findings if not finding.holds]


def destroyed(findings):
    return {finding.what: finding.says for finding in findings if finding.destroyed}


def destroyed_by(entry):
    return json.loads(entry.read_text())["certificate"]["request"]["destroyed"]


def folder_of(entry):
    return entry.stem.split("-")[1]


def rewritten(entry, **change):
    """An entry that somebody wrote anew, under a name that fits; the one after it, if any, no longer follows it."""
    whole = json.loads(entry.read_text())
    data = json.dumps({**whole, **change}).encode()
    entry.unlink()
    made = entry.with_name(f"{entry.stem.rpartition('-')[0]}-{sha256(data)}.json")
    made.write_bytes(data)
    return made


def test_what_was_destroyed_on_order_is_told_with_the_request_that_ordered_it(there, dkvb):
    findings = verify(there.first, key_file=there.key)
    assert failed(findings) == []
    gone = destroyed(findings)
    assert any(f"/{folder_of(there.first)}/" in name for name in gone)
    assert any(name.endswith("/DONE") for name in gone)
    for says in gone.values():
        assert ", says entry " in says
        assert says.endswith(f"signed with the key {there.key}")
    whole = next(says for name, says in gone.items() if name.endswith("/DONE"))
    assert f"by request {folder_of(there.purge)} (purge, " in whole
    assert "says entry 3 of the log" in whole
    for entry in (there.second, there.purge):
        assert failed(verify(entry, key_file=there.key)) == []
    ended = dkvb("verify", there.first)
    assert ended.code == 0
    assert "\ndestroyed " in ended.out
    assert "signed with the same key as this certificate" in ended.out
    rows = json.loads(dkvb("verify", there.first, "--json").out)
    assert [row["what"] for row in rows if row["destroyed"]] == [*gone]


def by_the_purge(there):
    """The files of the first request that the purge destroyed."""
    return {name for name, says in destroyed(verify(there.first)).items() if "(purge, " in says}


def test_an_order_counts_for_as_much_as_its_signature(there):
    purged = by_the_purge(there)
    rewritten(there.purge, signature=None)
    findings = verify(there.first)
    assert failed(findings) == []
    said = destroyed(findings)
    assert all("not signed: whoever can write to the root can write that" in said[name] for name in purged)
    asked = verify(there.first, key_file=there.key)
    assert {*failed(asked)} == purged
    assert all("destroyed it, and is not signed" in each.says for each in asked if not each.holds)


def test_an_order_whose_signature_does_not_fit_is_none(there):
    purged = by_the_purge(there)
    whole = json.loads(there.purge.read_text())
    whole["certificate"]["made"] = "2020-01-01T00:00:00Z"
    rewritten(there.purge, **whole)
    findings = verify(there.first)
    assert {*failed(findings)} == {"log", *purged}
    assert all("its signature does not fit" in each.says for each in findings if not each.holds)


@pytest.mark.parametrize("entry", ["first", "second", "purge"])
def test_what_was_destroyed_and_is_there_again_is_told_by_every_command(entry, there, dkvb, finished, solved):
    folder = next(name for name in destroyed_by(there.purge) if name.startswith("values/"))
    assert not (there.root / folder).exists()
    before = next(one.root for one in (finished, solved) if (one.root / folder).exists())
    shutil.copytree(before / folder, there.root / folder)
    findings = verify(getattr(there, entry), key_file=there.key)
    wrong = [finding for finding in findings if not finding.holds]
    assert {finding.what.partition("/bottleneck")[0] for finding in wrong} <= {folder}
    assert bool(wrong) == (folder in str(json.loads(getattr(there, entry).read_text())["certificate"]))
    assert all("entry 3 of the log says that it was destroyed, and it is there" in one.says for one in wrong)
    for words in (("log", there.root), ("status", there.root, "--verify")):
        told = dkvb(*words)
        assert told.code == 1
        assert f"says that {folder} was destroyed, and it is there" in " ".join((told.out + told.err).split())


@EXACT
def test_what_a_commit_destroyed_and_is_there_again_is_told(followed, there, dkvb, solved):
    name = next(name for name in destroyed_by(there.second) if name.startswith("sums/"))
    there.purge.unlink()  # as it was before that
    shutil.copytree(solved.root / name, there.root / name, dirs_exist_ok=True)
    told = dkvb("log", there.root)
    assert told.code == 1
    assert "1 item; the earlier state NOT destroyed" in told.out
    assert name in told.err


def test_an_entry_with_another_date_under_a_name_that_fits_is_not_called_signed(there, dkvb):
    whole = json.loads(there.purge.read_text())
    whole["certificate"]["made"] = "2020-01-01T00:00:00Z"
    rewritten(there.purge, **whole)
    told = dkvb("log", there.root)
    assert told.code == 1
    assert "its signature does not fit: the certificate was changed after it was signed" in " ".join(told.err.split())
    assert told.out.splitlines()[-1].endswith("signed, but something is wrong with it")


def test_what_destroys_the_files_of_a_signed_request_must_be_signed(own, tmp_path, dkvb):
    private, _ = pem(tmp_path, "auditor")
    words = ("unlearn", own.root, "--class", "bee", "--method", "uva")
    assert dkvb(*words, "--sign", private).code == 0
    before = sorted(own.root.rglob("*"))
    told = dkvb(*words, "--purge", "--serial")
    assert told.code == 2
    assert "is signed, and this one, which destroys what it certifies, would not be" in " ".join(told.err.split())
    assert sorted(own.root.rglob("*")) == before
    assert dkvb(*words, "--purge", "--serial", "--sign", private).code == 0


def test_without_the_entry_that_ordered_it_a_file_that_is_gone_is_a_loss(there):
    purged = by_the_purge(there)
    assert purged
    there.purge.unlink()
    findings = verify(there.first)
    assert {*failed(findings)} == purged
    assert all("no later entry of the log says that it was" in each.says for each in findings if not each.holds)


@EXACT
def test_what_a_purge_destroyed_later_is_no_excuse_in_its_own_folders(there):
    """A commit destroys parts of a step, by tombstone; one of the others that is gone was not destroyed by it."""
    for path in there.root.glob("unlearned/*/destroyed.json"):
        path.unlink()
    gone = [name for name in by_the_purge(there) if name.startswith("unlearned/")]
    assert gone == []
    assert any(name.startswith("unlearned/") for name in failed(verify(there.first)))


def test_a_tombstone_that_no_request_ordered_hides_nothing(own, dkvb):
    done = unlearn(own, Request(classes=["cat"]), measured=False)
    folder = Path(done.mask).parent
    Path(done.mask).unlink()
    write_tombstone(folder, Tombstone(folder.name, ("mask.safetensors",)))
    ended = dkvb("verify", folder / CERTIFICATE)
    assert ended.code == 1
    assert f"FAILS     unlearned/{folder.name}/mask.safetensors: is gone, and no later entry" in ended.out
    (folder / TOMBSTONE).unlink()
    assert failed(verify(folder / CERTIFICATE)) == [f"unlearned/{folder.name}/mask.safetensors"]


def test_an_earlier_request_cannot_have_destroyed_what_was_there_later(there):
    """The purge names the old checkpoint; the new one was made by it."""
    (checkpoint,) = (there.root / "values").glob("*/bottleneck.safetensors")
    checkpoint.unlink()
    assert failed(verify(there.purge)) == [str(checkpoint.relative_to(there.root))]


def test_a_request_says_whether_the_log_has_it_whole(there, dkvb):
    assert "this is entry 1 of 3, and none was changed or removed" in verify(there.first)[1].says
    there.second.unlink()
    for entry in (there.first, there.purge):
        ended = dkvb("verify", entry)
        assert ended.code == 1
        assert "FAILS     log: " in ended.out
        assert "was removed" in ended.out
    assert "keep a copy of all of it before anything else is done" in ended.err


def test_a_changed_file_of_a_request_is_kept_before_it_is_repaired(own, dkvb):
    done = unlearn(own, Request(classes=["cat"]), measured=False)
    Path(done.mask).write_bytes(b"other")
    ended = dkvb("verify", Path(done.certificate))
    assert ended.code == 1
    assert "keep a copy of all of it before anything else is done" in ended.err
    assert f"`dkvb log {own.root}` checks all requests, `dkvb status {own.root} --verify` every file" in ended.err
    looked = dkvb("status", own.root, "--verify")
    assert looked.code == 1
    assert looked.out.index("keep a copy of the root") < looked.out.index("dkvb repair")
    assert f"`dkvb status {own.root} --verify` reads every file" in dkvb("log", own.root).err


@EXACT
def test_purged_requests_are_not_said_never_to_have_been_made(there, dkvb):
    ended = dkvb("log", there.root, "--replay")
    assert ended.code == 0
    assert "no request" not in ended.out
    assert ended.out.count("\n") == 1
    assert f"tiny: purged   request {folder_of(there.purge)}, and those before it: the purge of " in ended.out
    assert "made the experiment anew without 2 training items, so nothing of them can be replayed" in ended.out
    (row,) = json.loads(dkvb("log", there.root, "--replay", "--json").out)["tiny"]
    assert (row["request"], row["items"], row["same"]) == (folder_of(there.purge), 2, None)
    forget_exactly(find(there.root, None), ExactRequest(items=["3"]))
    ended = dkvb("log", there.root, "--replay")
    assert ended.code == 0
    assert "tiny: 1 request replayed from embeddings and keys, all as recorded\n  purged " in ended.out


def test_requests_of_one_experiment_are_listed_also_those_before_a_purge(there, dkvb):
    rows = log(there.root)
    assert len(rows) == 3
    assert json.loads(dkvb("log", there.root, "--experiment", "tiny", "--json").out) == rows
    Experiment(there.root, "other", find(there.root, None).spec, {"values": "0" * 16}).write()
    ended = dkvb("log", there.root, "--experiment", "other")
    assert (ended.code, ended.out) == (
        0,
        f"{there.root}: no request to forget or to learn anything was made of other yet\n",
    )
    assert dkvb("log", there.root, "--experiment", "tinny").code == 2


def test_requests_of_a_linear_head_alone_are_not_said_never_to_have_been_made(run_tiny, images, tmp_path, dkvb):
    own = run_tiny(tmp_path / "root", images, {"linear": None, "linear.method": "lda"})
    done = forget_exactly(own, ExactRequest(items=["0"]))
    out = dkvb("log", own.root, "--replay").out
    what = "changed the linear head alone, of which nothing is replayed: the values are trained"
    assert out == f"tiny: request {Path(str(done.linear)).parent.name} {what}\n"


def test_a_certificate_that_is_gone_or_is_none_is_no_mistake_of_who_asks(own, dkvb, tmp_path):
    done = unlearn(own, Request(classes=["cat"]), measured=False)
    path = Path(done.mask).parent / CERTIFICATE
    whole = path.read_bytes()
    for text in (b"", b"[]", b'{"certificate": 1, "signature": null}', whole.replace(b"dkvb-certificate/1", b"x")):
        path.write_bytes(text)
        ended = dkvb("verify", path)
        assert (ended.code, ended.out.partition(":")[0]) == (1, "FAILS     certificate")
        assert f"as it was written it is {done.certificate}" in ended.out
    path.unlink()
    for asked in (path, path.parent):
        ended = dkvb("verify", asked)
        assert ended.code == 1
        assert "is missing, in the folder of a request: it was removed" in ended.out
        assert f"as it was written it is {done.certificate}" in ended.out
    for asked in (own.root / "unlearned" / "feed" / CERTIFICATE, own.root / LOG / "x.json", tmp_path / "x.json"):
        ended = dkvb("verify", asked)
        assert ended.code == 2
        assert "no such file" in ended.err


def test_a_certificate_elsewhere_asks_for_its_root(own, dkvb, tmp_path):
    done = unlearn(own, Request(classes=["cat"]), measured=False)
    copy = shutil.copy(done.certificate, tmp_path / "handed-over.json")
    ended = dkvb("verify", copy)
    assert ended.code == 2
    assert (
        f"does not lie in a root, and the files that it names do: say which root, `dkvb verify {copy} ROOT`"
        in ended.err
    )
    assert dkvb("verify", copy, own.root).code == 0
    ended = dkvb("verify", copy, tmp_path)
    assert ended.code == 1
    assert f"{tmp_path}: no dkvb-root.json there, so it is not a root" in ended.err
    ended = dkvb("verify", own.root)
    assert ended.code == 2
    assert f"is a root; `dkvb status {own.root} --verify`" in ended.err
    assert (own.root / ROOT_FILE).is_file()
