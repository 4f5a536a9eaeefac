"""Purges: what was made of forgotten items is made anew without them; nothing of them is left on the root."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cluster.unit_map import SerialExecutor
from jobs import destroying
from jobs.errors import BadRequest
from jobs.evidence import entries, log
from jobs.exact import ExactRequest, forget_exactly
from jobs.excluded import item_digest, item_digests
from jobs.integrity import verify
from jobs.kept import kept_folders
from jobs.purge import purge
from jobs.results.experiment import find
from jobs.run.run import run
from store.manifest import Shard
from tests.jobs.forgotten import (
    SOLVED,
    decoded,
    embeddings_of,
    found,
    is_without,
    item_keys_of,
    labels_of,
    pieces_of_embeddings,
    pieces_of_sums,
    rows_of,
)
from tests.jobs.test_certificate import pem
from tests.tiny import TEST, Watched, without_checksums

BEE = 1
WORDS = ("--method", "exact", "--commit", "--purge", "--serial")


@pytest.fixture
def own(solved, tmp_path):
    return find(Path(shutil.copytree(solved.root, tmp_path / "root")), None)


def purged(experiment, progress=None):
    """Purge, with all steps done in this process."""
    watched = progress or Watched()
    return purge(experiment, lambda plans: run(plans, experiment.root, SerialExecutor(), watched, recorded=False))


def contents_of(experiment):
    folder = experiment.artefact("embeddings[train]").path / "contents"
    return np.concatenate([np.frombuffer(path.read_bytes(), np.uint64) for path in sorted(folder.iterdir())])


def test_nothing_of_the_items_is_left_and_all_is_made_anew_without_them(own, dkvb, tmp_path):
    gone, names = rows_of(own, BEE), item_keys_of(own)
    z, contents = embeddings_of(own), contents_of(own)
    kept = kept_folders(own)
    pieces = [*pieces_of_sums(own, gone), *pieces_of_embeddings(z, gone)]
    pieces += [contents[row].tobytes() for row in gone]
    assert decoded(own.root, z[gone])
    ended = dkvb("unlearn", own.root, *WORDS, "--class", "bee", "--json")
    assert ended.code == 0, ended.err
    assert "nothing left to forget: 1 of 3 classes (bee); 13 training items were forgotten for good" in ended.err
    assert "not forgotten" not in ended.err
    said = json.loads(ended.out)["purged"]
    assert (said["items"], said["experiments"]) == (13, ["tiny"])
    assert found(own.root, pieces) == []
    assert decoded(own.root, z[gone]) == []
    assert {*kept} <= {*said["destroyed"]}
    assert [folder for folder in kept if (own.root / folder).exists()] == []
    new = find(own.root, None)
    labels = labels_of(new)
    assert is_without(new, (), sums=None, checkpoint=said["checkpoint"])
    assert labels[gone].tolist() == [-1] * 13
    assert (labels != -1).sum() == 28
    rest = np.setdiff1d(np.arange(41), gone)
    assert np.array_equal(embeddings_of(new)[rest], z[rest])
    assert not embeddings_of(new)[gone].any()
    assert [name for row, name in enumerate(item_keys_of(new)) if name] == [names[row] for row in rest]
    looked = dkvb("status", own.root, "--verify")
    assert looked.code == 0, looked.out
    assert dkvb("table", own.root).code == 0
    assert log(own.root)[-1]["method"] == "purge"
    assert dkvb("verify", Path(said["certificate"])).code == 0


def test_an_export_after_a_purge_says_what_is_gone_and_has_its_certificate(own, dkvb, tmp_path):
    private, public = pem(tmp_path, "key")
    sign = ("--sign", private)
    (tmp_path / "items").write_text(item_keys_of(own)[0] + "\n")
    asked = dkvb("unlearn", own.root, "--method", "exact", "--class", "bee", "--items", tmp_path / "items", *sign)
    assert asked.code == 0, asked.err
    tests = f"test images   {TEST['bee']} of bee: no head was made of them"
    assert tests in asked.out
    ended = dkvb("unlearn", own.root, *WORDS, *sign)
    assert ended.code == 0, ended.err
    assert "made anew without 14 training items, all of bee among them\n" in ended.out
    assert tests in ended.out
    said = entries(own.root)[-1].said
    assert said is not None
    request = said["request"]
    assert (request["classes"], request["items"], request["test_items"]) == (["bee"], 14, {"bee": TEST["bee"]})
    assert [*request["requests"]] == sorted({one.folder for one in entries(own.root)})
    lines = dkvb("log", own.root).out.splitlines()
    assert "exact: no further items; the earlier state destroyed" in lines[1]
    assert "purge: 14 items, all of bee among them" in lines[2]
    for head in ("values", "linear"):
        folder = tmp_path / head
        exported = dkvb("export", own.root, folder, "--head", head)
        assert exported.code == 0, exported.err
        assert "without 14 items forgotten for good, to" in exported.out
        card = (folder / "README.md").read_text()
        assert "# tiny, without bee" in card
        assert "14 training items were forgotten" in card
        assert "- classes as a whole: bee" in card
        assert "Nothing was forgotten" not in card
        assert entries(own.root)[-1].data == (folder / "certificate.json").read_bytes()
        checked = dkvb("verify", folder, "--key", public)
        assert checked.code == 0, checked.out
    sound = (tmp_path / "values" / "model.safetensors").read_bytes()
    (tmp_path / "values" / "model.safetensors").write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    assert dkvb("verify", tmp_path / "values").code == 1


def test_what_was_purged_stays_away_whatever_is_run(own, dkvb, run_words, images):
    z = embeddings_of(own)
    assert dkvb("unlearn", own.root, *WORDS, "--class", "bee").code == 0
    before = find(own.root, None).steps
    assert dkvb(*run_words(SOLVED, root=own.root, images=images)).code == 0
    assert find(own.root, None).steps == before
    assert dkvb(*run_words({**SOLVED, "name": "other", "seed": 3}, root=own.root, images=images)).code == 0
    assert decoded(own.root, z[11:24]) == []  # the bees
    assert find(own.root, "other").steps["manifest[train]"] == before["manifest[train]"]
    again = dkvb("unlearn", own.root, "--experiment", "tiny", *WORDS, "--class", "bee")
    assert again.code == 2
    assert "class 'bee' has no training items to forget" in again.err


def test_images_that_changed_later_are_read_without_what_was_forgotten(own, dkvb, run_words, own_images):
    names = item_keys_of(own)
    z = embeddings_of(own)
    request = own.root.parent / "items"
    request.write_text(names[0] + "\n")
    assert dkvb("unlearn", own.root, *WORDS, "--items", request).code == 0
    (own_images / "train" / "ant" / "0003.png").unlink()
    assert dkvb(*run_words(SOLVED, root=own.root, images=own_images)).code == 0
    new = find(own.root, None)
    assert len(labels_of(new)) == 40
    assert labels_of(new)[0] == -1
    assert decoded(own.root, z[:1]) == []
    refused = dkvb("unlearn", own.root, *WORDS, "--items", request)
    assert refused.code == 2
    assert "forgotten already, and what was made of them is purged" in refused.err


def test_files_of_forgotten_items_may_go_and_a_run_that_misses_others_changes_nothing(own, dkvb, run_words, own_images):
    spec = {**SOLVED, "images.expect": {"train": 41, "classes": 3}}
    (own.root.parent / "items").write_text("\n".join(names := item_keys_of(own)[:2]) + "\n")
    ended = dkvb("unlearn", own.root, *WORDS, "--items", own.root.parent / "items")
    assert ended.code == 0, ended.err
    (own_images / "train" / names[0]).unlink()
    assert "a run would stop" not in dkvb("plan", *run_words(spec)[1:2], "--root", own.root, "--images", own_images).out
    ended = dkvb(*run_words(spec, root=own.root, images=own_images))
    assert ended.code == 0, ended.err
    before = find(own.root, None)
    assert len(labels_of(before)) == 40
    (own_images / "train" / "ant" / "0004.png").unlink()
    refused = dkvb(*run_words(spec, root=own.root, images=own_images))
    assert refused.code != 0
    assert "found 39 items, and 1 that were forgotten for good and are no longer there, the spec's" in refused.err
    assert "--set images.expect.train=40" in refused.err
    assert find(own.root, None) == before
    assert dkvb("log", own.root, "--replay").code == 0
    assert "waiting" not in dkvb("status", own.root).out


def test_requests_and_purges_follow_each_other(own, dkvb, tmp_path):
    names, z = item_keys_of(own), embeddings_of(own)
    for row in (40, 0):
        (tmp_path / "items").write_text(names[row] + "\n")
        ended = dkvb("unlearn", own.root, *WORDS, "--items", tmp_path / "items")
        assert ended.code == 0, ended.err
        assert "purged: tiny made anew without 1 training item\n" in ended.out
    assert decoded(own.root, z[[0, 40]]) == []
    new = find(own.root, None)
    assert len(new.spec["images"]["without"]) == 2
    assert (labels_of(new) >= 0).sum() == 39
    assert verify(own.root).sound


def test_all_models_of_the_same_images_are_made_anew(own, run_tiny, images):
    z = embeddings_of(own)
    other = run_tiny(
        own.root, images, {"name": "other", "keys.epochs": 3, "embeddings.batch": 11, "sweep.uve.examples": [1, 5]}
    )
    mine = find(own.root, "tiny")
    forget_exactly(mine, ExactRequest(items=["0"], commit=True))
    done = purged(mine)
    assert done.experiments == ["other", "tiny"]
    assert decoded(own.root, z[:1]) == []
    assert find(own.root, "other").steps["values"] != other.steps["values"]
    assert not (own.root / "values" / other.steps["values"]).exists()
    assert verify(own.root).sound


def test_what_other_models_of_the_same_images_forgot_stays_forgotten(own, run_tiny, images):
    run_tiny(own.root, images, {**SOLVED, "name": "other", "seed": 3})
    mine = find(own.root, "tiny")
    forget_exactly(find(own.root, "other"), ExactRequest(items=["40"]))
    forget_exactly(mine, ExactRequest(items=["0"], commit=True))
    assert purged(mine).items == 2
    for name in ("tiny", "other"):
        assert (labels_of(find(own.root, name))[[0, 40]] == -1).all()


def written_by_requests(root):
    return [path for name in ("unlearned", "requests", "destroying") for path in (root / name).rglob("*")]


def test_a_spec_that_would_ask_for_more_than_is_left_is_told_before_anything_is_written(own, dkvb, tmp_path):
    (tmp_path / "items").write_text("\n".join(item_keys_of(own)[:7]) + "\n")  # 4 of 11 ants are left
    ended = dkvb("unlearn", own.root, *WORDS, "--items", tmp_path / "items")
    assert ended.code == 2
    assert "nothing was changed: without the items the spec of tiny would ask for more than is left" in ended.err
    assert "N = 5 is larger than the 4 training items of class 'ant'" in ended.err
    assert written_by_requests(own.root) == []
    assert find(own.root, None) == own
    assert verify(own.root).sound


def test_a_root_without_keys_of_items_is_told_before_anything_is_written(own, dkvb):
    shutil.rmtree(own.artefact("manifest[train]").data / "item_key")
    without_checksums(own.root)
    ended = dkvb("unlearn", own.root, *WORDS, "--class", "bee")
    assert ended.code == 2
    assert "which recorded no keys of items, so none can be left out" in ended.err
    assert written_by_requests(own.root) == []


def test_without_a_request_there_is_nothing_to_purge(own):
    with pytest.raises(BadRequest, match="nothing to purge"):
        purged(own)


def test_a_purge_that_cannot_be_run_leaves_what_was_there(own):
    forget_exactly(own, ExactRequest(items=["0"], commit=True))
    before = own.path.read_bytes()

    def fail(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        purge(own, fail)
    assert own.path.read_bytes() == before
    assert destroying.pending(own.root) == []
    assert purged(own).items == 1


def test_a_purge_whose_destroying_was_cut_off_is_finished_by_the_same_command(own, dkvb, monkeypatch, tmp_path):
    z, names = embeddings_of(own), item_keys_of(own)
    (tmp_path / "items").write_text(names[0] + "\n")
    forget_exactly(own, ExactRequest(items=[names[0]], commit=True))

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(destroying, "shred", stop)
        with pytest.raises(KeyboardInterrupt):
            purged(own)
    assert decoded(own.root, z[:1])
    assert find(own.root, None).steps["values"] != own.steps["values"]
    ended = dkvb("unlearn", own.root, *WORDS, "--items", tmp_path / "items")
    assert ended.code == 0, ended.err
    assert "which was cut off, is finished" in ended.err
    assert decoded(own.root, z[:1]) == []
    assert verify(own.root).sound


def test_items_of_one_key_in_several_shards_are_told_apart():
    shards = [Shard(name=name, labels=(0, 1), keys="") for name in ("a", "b")]
    keys = ["row-0", "row-1", "row-0", "only"]
    assert item_digests(shards, keys, [2, 3]) == [item_digest("b#row-0"), item_digest("only")]


def test_a_digest_in_a_spec_that_is_none_is_told(spec_file, dkvb):
    ended = dkvb("plan", spec_file({"images.without": ["cat"]}))
    assert ended.code == 2
    assert "images.without[0]: found 'cat', expected the digest of an item" in ended.err
