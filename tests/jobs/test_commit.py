"""Requests that commit: what was before is destroyed, wherever they are cut off, and stays destroyed."""

import json
import shutil
from pathlib import Path

import pytest

from dkvb.bottleneck import Bottleneck
from jobs import destroying
from jobs.chain import state
from jobs.destroying import destroyed
from jobs.errors import BadRequest
from jobs.evidence import UNLEARNED
from jobs.exact import ExactRequest, forget_exactly
from jobs.integrity import repair, verify
from jobs.replay import replay
from jobs.results.experiment import Experiment, find
from jobs.summed import read_summed
from jobs.verification import verify as verify_certificate
from store.artefacts import Artefact, digest
from store.errors import ArtefactDamaged, ArtefactDestroyed
from store.files import write_atomic
from store.places import place
from store.tombstones import Tombstone, check_stands, write_tombstone
from tests.jobs.forgotten import (
    SOLVED,
    cut_off,
    draws,
    found,
    is_without,
    item_keys_of,
    of_root,
    pieces_of_sums,
    rows_of,
    without,
)
from tests.tiny import without_checksums

BEE = 1
WORDS = ("--method", "exact", "--class", "bee", "--commit")


@pytest.fixture
def own(solved, tmp_path):
    return find(Path(shutil.copytree(solved.root, tmp_path / "root")), None)


def commit(experiment, *classes, items=()):
    return forget_exactly(experiment, ExactRequest(classes=classes, items=items, commit=True))


def test_nothing_of_the_sums_and_checkpoints_before_is_left(own):
    gone = rows_of(own, BEE)
    pieces = pieces_of_sums(own, gone)
    assert len(found(own.root, pieces)) > 2
    done = commit(own, "bee")
    assert is_without(own, gone, sums=done.sums, checkpoint=done.checkpoint)
    assert found(own.root, pieces) == []
    assert {*done.destroyed} == {f"{step}/{own.steps[step]}" for step in ("sums", "values", "linear")}
    assert {*done.destroyed} & {*done.still_there} == {f"sums/{own.steps['sums']}"}  # its whole keys
    assert f"embeddings/{own.steps['embeddings[train]']}" in done.still_there
    _, still_there = done.text().split("still there")
    assert f"sums/{own.steps['sums']} (its whole keys)" in " ".join(still_there.split())


def test_later_requests_begin_with_what_is_left_and_destroy_that_too(own):
    names = item_keys_of(own)
    first = commit(own, "bee")
    middle = Path(first.sums).read_bytes(), Path(first.checkpoint).read_bytes()
    second = forget_exactly(own, ExactRequest(items=[names[0]]))
    last = commit(own, items=[names[40]])
    gone = {*rows_of(own, BEE), 0, 40}
    assert is_without(own, gone, sums=last.sums, checkpoint=last.checkpoint)
    assert found(own.root, [*middle]) == []
    folders = [f"unlearned/{Path(str(one.sums)).parent.name}" for one in (first, second)]
    assert {*last.destroyed} == {*folders}
    assert not Path(str(second.sums)).exists()
    assert verify(own.root).sound


def test_what_earlier_requests_left_can_be_destroyed_by_itself(own):
    pieces = pieces_of_sums(own, rows_of(own, BEE))
    with pytest.raises(BadRequest, match="nothing was forgotten yet"):
        commit(own)
    forget_exactly(own, ExactRequest(classes=["bee"]))
    assert found(own.root, pieces)
    done = commit(own)
    assert (done.spec.items, done.left) == (0, 28)
    assert is_without(own, rows_of(own, BEE), sums=done.sums, checkpoint=done.checkpoint)
    assert found(own.root, pieces) == []
    with pytest.raises(BadRequest, match="nothing is left of what was before"):
        commit(own)


def test_a_request_that_is_asked_again_with_commit_destroys_what_was_before_it(own):
    pieces = pieces_of_sums(own, rows_of(own, BEE))
    forget_exactly(own, ExactRequest(classes=["bee"]))
    done = commit(own, "bee")
    assert (done.spec.items, done.left) == (0, 28)
    assert found(own.root, pieces) == []
    with pytest.raises(BadRequest, match="all 13 were forgotten already"):
        commit(own, "bee")


def test_a_run_of_the_same_spec_does_not_bring_the_items_back(own, run_tiny, images, watched):
    pieces = pieces_of_sums(own, rows_of(own, BEE))
    request = Path(commit(own, "bee").sums).parent.name
    run_tiny(own.root, images, SOLVED, progress=watched)
    assert not watched.units
    told = "\n".join(watched.notes)
    assert f"sums: its sums were destroyed by request {request}; later requests begin with that one's" in told
    assert f"values: its checkpoint was destroyed by request {request}" in told
    assert found(own.root, pieces) == []
    shutil.rmtree(own.artefact("sums").path)
    with pytest.raises(BadRequest, match=f"the items that request {request} forgot"):
        run_tiny(own.root, images, SOLVED)
    assert list((own.root / "sums").iterdir()) == []


def test_another_model_of_the_same_images_is_told_that_it_is_made_of_the_items_again(own, run_tiny, images, watched):
    request = Path(commit(own, "bee").sums).parent.name
    run_tiny(own.root, images, {**SOLVED, "name": "other", "seed": 3}, progress=watched)
    assert any(
        f"request {request} forgot bee of these images in another model, and what it left" in text
        for text in watched.notes
    )


def test_what_took_the_place_of_what_was_destroyed_is_what_is_there_now(tmp_path):
    first, second, third = (Artefact(tmp_path, UNLEARNED, digit * 16) for digit in "123")
    for one in (first, second, third):
        one.path.mkdir(parents=True)
    write_tombstone(first.path, Tombstone(second.digest, ("mask.safetensors",)))
    assert destroyed(first).endswith(f"by request {second.digest}; later requests begin with that one's")
    write_tombstone(second.path, Tombstone(third.digest, ("sums.safetensors",)))
    assert destroyed(first).endswith(f"{second.digest}; later requests begin with those of request {third.digest}")
    with pytest.raises(ArtefactDestroyed, match=f"by request {second.digest}; .* is in {third.path}"):
        check_stands(first.path, "mask.safetensors")
    write_tombstone(third.path, Tombstone(third.digest, ("sums.safetensors",)))
    assert destroyed(first).endswith(f"by request {second.digest}; experiments were made anew without its items since")


def test_what_finishes_a_commit_names_the_experiment_where_a_root_holds_several(own, dkvb, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(destroying, "shred", stop)
        with pytest.raises(KeyboardInterrupt):
            commit(own, "bee")
    assert f"`dkvb unlearn {own.root} --method exact --commit` finishes it" in dkvb("status", own.root, "--verify").out
    Experiment(own.root, "another", own.spec, {**own.steps, "values": "0" * 16}).write()
    asked = dkvb("status", own.root, "--verify").out
    (told,) = [line for line in asked.splitlines() if "is not all destroyed" in line]
    words = told.split("`dkvb ")[1].split("`")[0].split()
    assert words[2:4] == ["--experiment", "tiny"]
    finished = dkvb(*words)
    assert finished.code == 0, finished.err
    assert destroying.pending(own.root) == []


def test_whoever_reads_what_was_destroyed_is_told_by_what(own, dkvb):
    done = commit(own, "bee")
    request = Path(done.sums).parent.name
    with pytest.raises(ArtefactDestroyed, match=f"destroyed on purpose, by request {request}"):
        read_summed(own.artefact("sums"))
    asked = dkvb("query", own.root, "item", "test:0")
    assert asked.code == 1
    assert f"was destroyed on purpose, by request {request}" in asked.err
    looked = dkvb("status", own.root, "--verify")
    assert looked.code == 0
    assert f"its sums were destroyed by request {request}; later requests begin with that one's" in looked.out
    assert dkvb("repair", own.root).out.endswith("nothing is damaged\n")
    assert dkvb("verify", Path(done.sums).parent / "certificate.json").code == 0
    assert "exact: bee; the earlier state destroyed" in dkvb("log", own.root).out


def test_certificates_of_earlier_requests_hold_and_say_what_is_gone(own):
    first = forget_exactly(own, ExactRequest(classes=["bee"]))
    commit(own)
    findings = verify_certificate(Path(str(first.sums)).parent / "certificate.json")
    assert all(finding.holds for finding in findings)
    # Heads before; sums and heads after.
    assert sum(finding.destroyed for finding in findings) == 6


def test_sums_that_another_model_begins_with_are_not_destroyed(own):
    other = Experiment(own.root, "other", own.spec, {**own.steps, "values": "0" * 16})
    other.write()
    mine = find(own.root, own.name)
    with pytest.raises(BadRequest, match="a head of other is made of the same sums"):
        commit(mine, "bee")
    assert read_summed(own.artefact("sums")).sums.n == 41
    assert not (own.root / "unlearned").exists() or not list((own.root / "unlearned").iterdir())


def test_what_a_request_left_that_was_cut_off_is_destroyed_as_a_whole(own):
    spec = {"method": "exact", "sums": own.steps["sums"], "bottleneck": own.steps["values"]}
    folder = own.root / "unlearned" / digest(spec)
    write_atomic(folder / "spec.json", json.dumps(spec).encode())
    write_atomic(folder / ".sums.safetensors.0123456789abcdef", b"what a killed process was writing")
    commit(own, "bee")
    assert not folder.exists()


def test_what_was_being_written_is_destroyed_too(own):
    path = own.artefact("values").path / ".bottleneck.safetensors.0123456789abcdef"
    path.write_bytes(b"half of a checkpoint")
    commit(own, "bee")
    assert not path.exists()


def test_a_request_whose_destroying_was_cut_off_is_finished_when_it_is_asked_again(own, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    pieces = pieces_of_sums(own, rows_of(own, BEE))
    with monkeypatch.context() as patched:
        patched.setattr(destroying, "shred", stop)
        with pytest.raises(KeyboardInterrupt):
            commit(own, "bee")
    looked = verify(own.root)
    assert not looked.sound
    assert "is not all destroyed" in looked.text(own.root)
    assert found(own.root, pieces), "the test needs something to destroy"
    with pytest.raises(ArtefactDestroyed):
        read_summed(own.artefact("sums"))
    done = commit(own, "bee")
    assert done.spec.classes == ["bee"]
    assert len(list((own.root / "requests").iterdir())) == 1
    assert found(own.root, pieces) == []
    assert verify(own.root).sound
    with pytest.raises(BadRequest, match="all 13 were forgotten already"):
        commit(own, "bee")


@pytest.mark.parametrize("by", ["run", "repair", "request"])
def test_the_next_command_finishes_what_was_cut_off(by, own, monkeypatch, run_tiny, images):
    def stop(*_):
        raise KeyboardInterrupt

    pieces = pieces_of_sums(own, rows_of(own, BEE))
    with monkeypatch.context() as patched:
        patched.setattr(destroying, "write_tombstone", stop)
        with pytest.raises(KeyboardInterrupt):
            commit(own, "bee")
    if by == "run":
        run_tiny(own.root, images, SOLVED)
    elif by == "repair":
        repair(own.root, lambda _: None)
    else:
        forget_exactly(own, ExactRequest(items=["0"]))
    assert found(own.root, pieces) == []
    assert verify(own.root).sound


def test_a_request_that_was_not_done_destroys_nothing(own, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    before = read_summed(own.artefact("sums")).sums.to_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("jobs.exact.certificate.write", stop)
        with pytest.raises(KeyboardInterrupt):
            commit(own, "bee")
    assert list((own.root / "destroying").iterdir())
    assert destroying.finish(own.root) == []
    assert read_summed(own.artefact("sums")).sums.to_bytes() == before
    assert verify(own.root).sound
    done = forget_exactly(own, ExactRequest(items=["0"]))
    assert is_without(own, [0], sums=done.sums, checkpoint=done.checkpoint)


def test_two_requests_at_once_are_refused(own):
    with destroying.one_at_a_time(own.root), pytest.raises(BadRequest, match="another request is at work"):
        commit(own, "bee")


@pytest.mark.parametrize("content", ["{}", '{"parts": {"sums/x": []}}', "[", '{"by": "a", "parts": {"a/b": ["../c"]}}'])
def test_an_order_that_is_damaged_is_told_and_nothing_is_destroyed(content, own):
    (own.root / "destroying").mkdir()
    path = own.root / "destroying" / f"{'0' * 16}.json"
    path.write_text(content)
    with pytest.raises(ArtefactDamaged, match="delete it, and order it anew"):
        commit(own, "bee")
    path.unlink()
    commit(own, "bee")


def test_a_damaged_tombstone_is_told(own):
    commit(own, "bee")
    path = own.artefact("sums").path / "destroyed.json"
    path.write_text(path.read_text().replace("moments", "momenta"))
    looked = verify(own.root)
    assert not looked.sound
    assert "which files of the folder were destroyed on purpose" in looked.text(own.root)


def check_before_or_after(root, gone, sums):
    """What must hold whenever a request was cut off: either all is as before, or the new state is there and usable."""
    own = of_root(root)
    past = state(own, 41)
    if past.previous is None:
        assert read_summed(own.artefact("sums")).sums.to_bytes() == sums
        Bottleneck.load(own.artefact("values").path / "bottleneck.safetensors")
        return
    made = past.previous.path
    assert is_without(own, gone, sums=made / "sums.safetensors", checkpoint=made / "bottleneck.safetensors")


@pytest.mark.slow
def test_a_request_that_is_killed_anywhere_is_before_or_after(solved, dkvb, tmp_path):
    gone, sums = rows_of(solved, BEE), without(solved, ())[0].to_bytes()
    pieces = pieces_of_sums(solved, gone)
    root = Path(shutil.copytree(solved.root, tmp_path / "whole"))
    code, writes = cut_off(root, 0, "unlearn", root, *WORDS)
    assert (code, found(root, pieces)) == (0, [])
    assert writes > 20
    for at in draws(15, writes, 3):
        root = Path(shutil.copytree(solved.root, tmp_path / str(at)))
        assert cut_off(root, at, "unlearn", root, *WORDS)[0] == -9
        check_before_or_after(root, gone, sums)
        again = dkvb("unlearn", root, *WORDS)
        assert again.code == 0 or "all 13 were forgotten already" in again.err, again.err
        check_before_or_after(root, gone, sums)
        assert found(root, pieces) == []
        assert verify(root).sound


def test_the_chain_of_requests_is_replayed(own, dkvb):
    assert dkvb("log", own.root, "--replay").out == "tiny: no request to forget exactly was made yet\n"
    forget_exactly(own, ExactRequest(items=["0", "33"]))
    commit(own, "bee")
    replayed = replay(own)
    assert [(one.items, one.left, one.same) for one in replayed] == [(2, 39, True), (13, 26, True)]
    assert replayed[0].after == replayed[1].before
    ended = dkvb("log", own.root, "--replay")
    assert ended.code == 0
    assert "tiny: 2 requests replayed from embeddings and keys, all as recorded" in ended.out
    assert [one["same"] for one in json.loads(dkvb("log", own.root, "--replay", "--json").out)["tiny"]] == [True, True]
    assert len(json.loads(dkvb("log", own.root, "--experiment", "tiny", "--json").out)) == 2


def test_a_replay_names_the_request_that_differs(own, dkvb):
    done = forget_exactly(own, ExactRequest(items=["0", "33"]))
    commit(own, "bee")
    folder = Path(str(done.sums)).parent
    (folder / "forgotten.json").write_text(json.dumps({"rows": [1, 33]}))
    without_checksums(folder)
    ended = dkvb("log", own.root, "--replay")
    assert ended.code == 1, ended.err
    assert f"DIFFERS  {folder.name}" in ended.out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--class", "bee", "--commit"), "--commit: only with --method exact"),
        (
            ("--method", "retrain", "--class", "bee", "--purge"),
            "--purge: only with masks, or with --method exact and --commit",
        ),
        (("--class", "bee", "--workers", "2"), "--workers: only with --purge"),
        (("--method", "exact", "--class", "bee", "--purge"), "needs --commit"),
        (("--method", "exact", "--class", "bee", "--serial"), "--serial: only with --purge"),
        (("--method", "exact", "--commit"), "nothing was forgotten yet"),
    ],
)
def test_a_mistake_on_the_command_line_is_told(words, text, solved, dkvb):
    ended = dkvb("unlearn", solved.root, *words)
    assert ended.code == 2
    assert text in ended.err
    assert not (solved.root / "unlearned").exists()


def test_on_an_object_store_the_objects_are_removed(own, bucket):
    import s3fs

    remote = s3fs.S3FileSystem()
    remote.put(f"{own.root}/", f"{bucket}/root", recursive=True)
    there = find(place(f"{bucket}/root"), None)
    old = [f"{bucket}/root/{path.relative_to(own.root)}" for path in own.artefact("sums").path.rglob("moments/c/*/*/*")]
    old.append(f"{bucket}/root/values/{own.steps['values']}/bottleneck.safetensors")
    assert len(old) > 1
    assert all(remote.exists(path) for path in old)
    done = commit(there, "bee")
    assert not any(remote.exists(path) for path in old)
    local = commit(own, "bee")
    assert remote.cat_file(done.sums) == Path(local.sums).read_bytes()
    assert remote.cat_file(done.checkpoint) == Path(local.checkpoint).read_bytes()
    assert verify(there.root).sound
    with pytest.raises(ArtefactDestroyed):
        read_summed(there.artefact("sums"))
