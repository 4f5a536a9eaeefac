"""Purges after masks: what was made of the items of masked classes is made anew without them, the masks go too."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dkvb.bottleneck import Bottleneck
from jobs import destroying
from jobs.evidence import log
from jobs.integrity import verify
from jobs.results.experiment import find
from tests.jobs.forgotten import (
    decoded,
    embeddings_of,
    found,
    item_keys_of,
    labels_of,
    pieces_of_embeddings,
    rows_of,
)
from tests.jobs.requested import counts_of, forget

BEE = 1
WORDS = ("--class", "bee", "--purge", "--serial")


def test_what_was_made_of_a_masked_class_is_made_anew_without_it(own, dkvb):
    gone, z, names = rows_of(own, BEE), embeddings_of(own), item_keys_of(own)
    model, linear = (own.artefact(label).path for label in ("values", "linear"))
    models = [(model / "bottleneck.safetensors").read_bytes(), (linear / "linear.safetensors").read_bytes()]
    pieces = [*models, *pieces_of_embeddings(z, gone)]
    assert decoded(own.root, z[gone])
    ended = dkvb("unlearn", own.root, *WORDS, "--json")
    assert ended.code == 0, ended.err
    said = json.loads(ended.out)
    assert (said["method"], said["purged"]["items"], said["purged"]["experiments"]) == ("uva", 13, ["tiny"])
    assert found(own.root, pieces) == []
    assert decoded(own.root, z[gone]) == []
    assert not Path(said["mask"]).exists()
    assert not Path(said["checkpoint"]).exists()
    assert [folder for folder in said["still_there"] if (own.root / folder).exists()] == []
    new = find(own.root, None)
    assert labels_of(new)[gone].tolist() == [-1] * 13
    assert [name for name in item_keys_of(new) if name] == [name for row, name in enumerate(names) if row not in gone]
    assert not counts_of(new)[BEE].any()
    assert counts_of(new)[0].sum() == 11 * 11
    Bottleneck.load(said["purged"]["checkpoint"])
    looked = dkvb("status", own.root, "--verify")
    assert looked.code == 0, looked.out
    assert "its mask and checkpoint were destroyed when experiments were made anew without its items" in looked.out
    assert [entry["method"] for entry in log(own.root)] == ["uva", "purge"]
    assert dkvb("verify", Path(said["purged"]["certificate"])).code == 0
    request = Path(said["mask"]).parent.name
    for words in (("measure", own.root, request), ("export", own.root, own.root.parent / "x", "--request", request)):
        asked = dkvb(*words)
        assert asked.code == 1
        assert f"was destroyed on purpose, by request {request}; experiments were made anew" in asked.err
    for question in ("why cat --forgot bee", "keys bee", "overlap ant bee"):
        asked = dkvb("query", own.root, *question.split())
        assert asked.code == 2, asked.out
        assert "class 'bee' hits no pair: it has no training items left: 13 items were forgotten for good" in asked.err
    again = dkvb("unlearn", own.root, *WORDS)
    assert again.code == 2
    assert "class 'bee' hits no pair: it has no training items to forget" in again.err


def test_a_spec_that_asks_for_more_than_is_left_is_told_before_the_mask_is_made(own, dkvb):
    replace(own, spec={**own.spec, "sweep": {**own.spec["sweep"], "classes": ["ant", "bee"]}}).write()
    ended = dkvb("unlearn", own.root, *WORDS)
    assert ended.code == 2
    assert "sweep.classes: class 'bee' has no training items to forget; leave it out" in ended.err
    assert "run tiny with a spec that asks for less, then ask again" in ended.err
    assert not (own.root / "unlearned").exists()
    assert not (own.root / "requests").exists()


def test_all_classes_cannot_be_purged(own, dkvb):
    ended = dkvb("unlearn", own.root, "--class", "ant", "--class", "cat", *WORDS)
    assert ended.code == 2
    assert "these are the last training items" in ended.err
    assert not (own.root / "unlearned").exists()


def test_a_purge_whose_destroying_was_cut_off_is_finished_by_the_same_command(own, dkvb, monkeypatch):
    gone, z = rows_of(own, BEE), embeddings_of(own)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(destroying, "shred", stop)
        assert dkvb("unlearn", own.root, *WORDS).code == 130
    assert decoded(own.root, z[gone])
    ended = dkvb("unlearn", own.root, *WORDS)
    assert ended.code == 0, ended.err
    assert "which was cut off, is finished" in ended.err
    assert decoded(own.root, z[gone]) == []
    assert verify(own.root).sound


CUTS = {"run": "jobs.cli.purging.execute", "order": "jobs.purge.destroying.order", "records": "jobs.purge.remove"}


@pytest.mark.parametrize("at", [*CUTS])
def test_a_purge_that_was_cut_off_before_goes_on_from_there(at, own, dkvb, monkeypatch, tmp_path):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(CUTS[at], stop)
        ended = dkvb("unlearn", own.root, *WORDS)
        assert ended.code == 130
        assert "interrupted: the purge itself has destroyed nothing yet" in ended.err
    assert find(own.root, None) == own
    told = " ".join(verify(own.root).evidence.values())
    assert ("they are there: put back since, or the command was cut off before it counted" in told) == (at == "records")
    masked = Path(shutil.copytree(own.root / "unlearned", tmp_path / "unlearned"))
    ended = dkvb("unlearn", own.root, *WORDS)
    assert ended.code == 0, ended.err
    assert find(own.root, None).steps["values"] != own.steps["values"]
    assert verify(own.root).sound
    assert found(own.root, [path.read_bytes() for path in masked.rglob("mask.safetensors")]) == []


def test_a_request_to_a_model_that_was_run_again_on_other_files_is_purged_too(own, own_images, run_tiny, painted, dkvb):
    before = forget(own, "cat")
    model = Path(before.checkpoint).read_bytes()
    painted(own_images / "train", {"ant": 0, "bee": 0, "cat": 1}, first=17)
    run_tiny(own.root, own_images)
    ended = dkvb("unlearn", own.root, *WORDS, "--json")
    assert ended.code == 0, ended.err
    assert f"unlearned/{Path(before.checkpoint).parent.name}" in json.loads(ended.out)["purged"]["destroyed"]
    assert found(own.root, [model]) == []
    assert not Path(before.mask).exists()
    assert verify(own.root).sound
