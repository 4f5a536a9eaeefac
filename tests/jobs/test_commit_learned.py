"""Requests that commit after others learned: what was kept of the forgotten items is destroyed, and nothing else."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs import destroying
from jobs.chain import state
from jobs.errors import BadRequest
from jobs.exact import ExactRequest, forget_exactly
from jobs.integrity import verify
from jobs.learned import Learned, left_of, read_learned
from jobs.replay import replay
from jobs.results.experiment import find
from store.artefacts import Artefact
from store.errors import ArtefactDestroyed, NotARoot
from tests.jobs.exactly import BEE, ITEMS, anew, check, keys_of, learned_items, rows_of, teach
from tests.jobs.forgotten import cut_off, draws, found, of_root
from tests.tiny import without_checksums

WORDS = ("--method", "exact", "--class", "dog", "--commit")


@pytest.fixture
def own(solved, tmp_path):
    return find(Path(shutil.copytree(solved.root, tmp_path / "root")), None)


def commit(experiment, *classes, items=()):
    return forget_exactly(experiment, ExactRequest(classes=classes, items=items, commit=True))


def forget(experiment, *classes, items=()):
    return forget_exactly(experiment, ExactRequest(classes=classes, items=items))


def folder_of(done):
    return Path(done.linear).parent


def pieces_of(items, keys, places):
    """Bytes that only what a request kept of some items holds: their embeddings and keys."""
    assert items[1][places].any(1).all(), "rows of zeros are everywhere"
    return [*(items[1][place].numpy().tobytes() for place in places), *(keys[place].encode() for place in places)]


def some_of(items, places):
    return tuple(part[places] for part in items)


def test_what_is_kept_of_forgotten_items_is_destroyed_and_of_the_others_stays(own, photos):
    taught = teach(own, photos)
    keys, items = read_learned(own_request(taught)).keys, learned_items(taught)
    dogs, others = list(range(5, 10)), list(range(5))
    gone, left = pieces_of(items, keys, dogs), pieces_of(items, keys, others)
    assert found(own.root, gone) == found(own.root, left) == [f"unlearned/{folder_of(taught).name}/learned.safetensors"]
    done = commit(own, "dog")
    check(done, anew(own, learned=[some_of(items, others)], v=4))
    assert found(own.root, gone) == []
    assert found(own.root, left) == [f"unlearned/{folder_of(done).name}/learned.safetensors"]
    assert f"unlearned/{folder_of(taught).name}" in done.destroyed
    assert f"unlearned/{folder_of(taught).name}" not in done.still_there
    with pytest.raises(ArtefactDestroyed):
        read_learned(own_request(taught))
    assert verify(own.root).sound
    with pytest.raises(BadRequest, match=r"item 'dog/0001.png' is forgotten already, by request"):
        forget(own, items=["dog/0001.png"])
    with pytest.raises(BadRequest, match="'dog' has no training items to forget: all 5 were forgotten already"):
        forget(own, "dog")
    with pytest.raises(BadRequest, match=r"items 'bee/2000.png', .* are learned already"):
        teach(own, photos, "bee")


def own_request(done):
    folder = folder_of(done)
    return Artefact(folder.parents[1], "unlearned", folder.name)


def test_requests_go_on_after_what_was_kept_was_written_anew(own, photos):
    items = learned_items(teach(own, photos))
    bees = rows_of(own, BEE)
    commit(own, items=["dog/0001.png", "ant/2000.png"])
    check(forget(own, "bee"), anew(own, bees, learned=[some_of(items, [1, 5, 7, 8, 9])], v=4))
    again = learned_items(teach(own, photos, "bee"))
    assert torch.equal(again[1], items[1][2:5])
    two = some_of(items, [1, 5, 7, 8, 9]), again
    check(commit(own, items=[keys_of(own)[0]]), anew(own, [0, *bees], learned=two, v=4))
    last = commit(own, items=["bee/2001.png", "dog/0004.png"])
    check(last, anew(own, [0, *bees], learned=[some_of(items, [1, 5, 7, 8]), some_of(again, [0, 2])], v=4))
    kept = read_learned(own_request(last))
    assert [place for place, key in enumerate(kept.keys) if key] == [1, 5, 7, 8, 10, 12]
    assert found(own.root, [items[1][row].numpy().tobytes() for row in (0, 3, 6, 9)]) == []  # others are there again
    assert verify(own.root).sound
    assert all(one.same for one in replay(own))


def test_what_is_not_forgotten_stays_where_it_is(own, photos):
    taught = teach(own, photos, "dog")
    before = (folder_of(taught) / "learned.safetensors").read_bytes()
    done = commit(own, "bee")
    assert not (folder_of(done) / "learned.safetensors").exists()
    assert (folder_of(taught) / "learned.safetensors").read_bytes() == before
    assert f"unlearned/{folder_of(taught).name}" in done.still_there
    assert f"unlearned/{folder_of(taught).name}" in forget(own, items=[keys_of(own)[0]]).still_there
    check(commit(own, "dog"), anew(own, [0, *rows_of(own, BEE)], v=4))
    assert verify(own.root).sound


def test_what_was_forgotten_before_is_destroyed_by_a_commit_alone(own, photos):
    taught = teach(own, photos, "dog")
    forget(own, items=["dog/0003.png"])
    gone = pieces_of(learned_items(taught), read_learned(own_request(taught)).keys, [3])
    assert found(own.root, gone)
    commit(own)
    assert found(own.root, gone) == []


def test_requests_that_learned_are_replayed_as_far_as_their_items_are_there(own, photos, dkvb):
    teach(own, photos)
    forget(own, items=["bee/2001.png", keys_of(own)[0]])
    replayed = replay(own)
    assert [(one.items, one.left, one.same, one.learned) for one in replayed] == [
        (10, ITEMS + 10, True, True),
        (2, ITEMS + 8, True, False),
    ]
    assert None not in [one.before_found for one in replayed]
    assert replayed[0].after == replayed[1].before
    commit(own, items=["dog/0000.png"])
    replayed = replay(own)
    assert [one.left for one in replayed] == [ITEMS + 10, ITEMS + 8, ITEMS + 7]
    assert [one.same for one in replayed] == [True] * 3
    assert [one.before_found is None for one in replayed] == [False, True, True]
    assert [one.after_found is None for one in replayed] == [True, True, False]
    text = dkvb("log", own.root, "--replay").out
    assert "10 items learned, 51 left, as far as can be found: sums after it are of learned items" in text
    assert "2 items forgotten, 49 left, as far as can be found: sums before and after it are of learned items" in text
    commit(own, "ant")
    assert [(one.left, one.same) for one in replay(own)][2:] == [(ITEMS + 7, True), (ITEMS + 7 - 12, True)]


def test_a_replay_of_learned_items_names_the_request_that_differs(own, photos):
    taught = teach(own, photos)
    folder = folder_of(taught)
    read = read_learned(own_request(taught))
    z = read.embeddings.copy()
    z[3] = -z[3]
    other = Learned(read.keys, read.new, read.labels, read.codes, z)
    (folder / "learned.safetensors").write_bytes(other.to_bytes())
    recorded = json.loads((folder / "checksums.json").read_text())["files"]["sums.safetensors"]
    without_checksums(own.root)
    facts = json.loads((folder / "provenance.json").read_text())
    facts["facts"]["after"] = recorded
    (folder / "provenance.json").write_text(json.dumps(facts))
    assert [one.same for one in replay(own)] == [False]


def test_a_request_that_was_cut_off_is_finished_when_it_is_asked_again(own, photos, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    taught = teach(own, photos)
    gone = pieces_of(learned_items(taught), read_learned(own_request(taught)).keys, range(5, 10))
    with monkeypatch.context() as patched:
        patched.setattr(destroying, "shred", stop)
        with pytest.raises(KeyboardInterrupt):
            commit(own, "dog")
    assert found(own.root, gone)
    assert len(state(own, ITEMS).learned) == 1
    done = commit(own, "dog")
    assert (done.spec.classes, done.left) == (["dog"], ITEMS + 5)
    assert found(own.root, gone) == []
    assert verify(own.root).sound


@pytest.mark.slow
def test_a_request_that_is_killed_anywhere_is_before_or_after(solved, photos, dkvb, tmp_path):
    start_root = Path(shutil.copytree(solved.root, tmp_path / "start"))
    start = find(start_root, None)
    taught = teach(start, photos)
    items, keys = learned_items(taught), read_learned(own_request(taught)).keys
    gone = pieces_of(items, keys, range(5, 10))
    before, after = anew(start, learned=[items], v=4), anew(start, learned=[some_of(items, range(5))], v=4)

    def reached(root):
        """Whether all is as before; otherwise the new state is there and usable."""
        own = of_root(root)
        past = state(own, ITEMS)
        made = past.requests[-1].path
        expected = before if len(past.requests) == 1 else after
        assert (made / "sums.safetensors").read_bytes() == expected.sums
        assert (made / "linear.safetensors").read_bytes() == expected.linear
        there = Learned.joined(past.learned)
        assert np.array_equal(there.embeddings[:5], items[1][:5].numpy())
        assert there.labels.tolist() == items[2].tolist()
        return len(past.requests) == 1

    root = Path(shutil.copytree(start_root, tmp_path / "whole"))
    code, writes = cut_off(root, 0, "unlearn", root, *WORDS)
    assert (code, found(root, gone)) == (0, [])
    assert writes > 20
    for at in draws(16, writes, 6):
        root = Path(shutil.copytree(start_root, tmp_path / str(at)))
        assert cut_off(root, at, "unlearn", root, *WORDS)[0] == -9
        reached(root)
        again = dkvb("unlearn", root, *WORDS)
        assert again.code == 0 or "all 5 were forgotten already" in again.err, again.err
        assert not reached(root)
        assert found(root, gone) == []
        assert verify(root).sound
        assert dkvb("log", root, "--replay").code == 0


def test_nothing_is_blank_in_items_that_are_all_there(own, photos):
    read = read_learned(own_request(teach(own, photos)))
    assert b"blank" not in read.to_bytes()
    assert left_of([], []) is None
    assert left_of([read], []) is None
    blank = read.without([2, 0])
    assert blank.without([2]).to_bytes() == blank.to_bytes()
    assert (
        [key == "" for key in blank.keys] == [bool(text) for text in blank.blanks] == [True, False, True] + [False] * 7
    )
    assert blank.labels.tolist() == read.labels.tolist()
    assert not blank.embeddings[[0, 2]].any()
    assert not blank.codes[[0, 2]].any()
    assert left_of([blank], [0, 2]) is None


@pytest.mark.parametrize("blank", [["x"], [1] * 10])
def test_items_whose_blanks_cannot_be_are_told(blank, own, photos):
    taught = teach(own, photos)
    read = read_learned(own_request(taught))
    odd = Learned(read.keys, read.new, read.labels, read.codes, read.embeddings, blank)
    (folder_of(taught) / "learned.safetensors").write_bytes(odd.to_bytes())
    without_checksums(own.root)
    with pytest.raises(NotARoot, match="not items that were learned"):
        forget(own, "ant")
