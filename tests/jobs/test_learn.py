"""Requests to learn exactly: what they make equals heads that always had the items, and can be taken back."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from dkvb.bottleneck import Bottleneck
from jobs.errors import BadRequest
from jobs.exact import ExactRequest, forget_exactly
from jobs.opened import OpenExperiment
from jobs.results.experiment import find
from store import arrays
from store.errors import ArtefactDamaged, ImageDataError, ImagesMissing, NotARoot
from store.recording import stamp
from tests.jobs.exactly import (
    ANT,
    BEE,
    CAT,
    DOG,
    ITEMS,
    LDA,
    anew,
    check,
    keys_of,
    learned_items,
    linear_of,
    rows_of,
    teach,
    written,
)
from tests.tiny import picture, without_checksums


@pytest.fixture
def own(solved, tmp_path):
    return copied(solved, tmp_path / "root")


def copied(experiment, folder):
    return find(Path(shutil.copytree(experiment.root, folder)), None)


def forget(experiment, *classes, items=()):
    return forget_exactly(experiment, ExactRequest(classes=classes, items=items))


def test_images_of_the_test_split_are_embedded_to_the_bits_of_its_step(own, images):
    codes, z, labels = learned_items(teach(own, images / "test"))
    data = own.artefact("embeddings[test]").data
    assert torch.equal(z, torch.from_numpy(arrays.read_shards(data, "embeddings")))
    assert labels.tolist() == arrays.read_shards(data, "labels").tolist()
    assert codes.shape == (15, 11)


def test_the_bits_of_an_image_depend_on_no_others(run_tiny, images, tmp_path):
    own = run_tiny(tmp_path / "root", images, LDA)  # batches of 64
    for number in range(21):
        for folder in ("all", f"one/{number}"):
            (tmp_path / folder / "dog").mkdir(parents=True, exist_ok=True)
            picture(DOG, number, 32).save(tmp_path / folder / "dog" / f"{number:04d}.png")
    together = learned_items(teach(copied(own, tmp_path / "together"), tmp_path / "all"))[1]
    for number in (0, 13, 20):
        alone = learned_items(teach(own, tmp_path / "one" / str(number)))[1]
        assert torch.equal(alone[0], together[number])


def test_what_was_forgotten_and_is_learned_again_gives_the_first_sums_back(own, images, tmp_path):
    first = anew(own)
    bees, ants = rows_of(own, BEE), rows_of(own, ANT)[3:5]
    names = keys_of(own)
    check(forget(own, "bee", items=[names[row] for row in ants]), anew(own, [*bees, *ants]))
    for row in (*bees, *ants):
        (tmp_path / "again" / names[row]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(images / "train" / names[row], tmp_path / "again" / names[row])
    done = teach(own, tmp_path / "again")
    assert (done.left, done.spec.new, done.spec.classes, done.spec.differs) == (ITEMS, [], ["ant", "bee"], [])
    check(done, first)


def test_learning_equals_a_fit_that_had_the_images_from_the_beginning(own, photos):
    done = teach(own, photos)
    assert (done.left, done.spec.items, done.spec.new) == (ITEMS + 10, 10, ["dog"])
    more = learned_items(done)
    assert more[2].tolist() == [ANT] * 2 + [BEE] * 3 + [DOG] * 5
    check(done, anew(own, learned=[more], v=4))
    model = Bottleneck.load(done.checkpoint)
    assert model.header["classes"] == ["ant", "bee", "cat", "dog"]
    assert model.header["unlearned"]["method"] == "learn"
    assert (model.logits(more[1]).argmax(1) == more[2]).float().mean() > 0.7  # it knows what it learned


def test_learning_and_forgetting_gives_the_state_back(own, photos):
    before = forget(own, "cat")
    teach(own, photos, "ant", "bee")
    after = forget(own, items=sorted(f"{path.parent.name}/{path.name}" for path in photos.glob("[ab]*/*.png")))
    assert after.left == before.left
    check(after, written(before))


def test_the_order_of_requests_does_not_matter(solved, photos, tmp_path):
    acts = [
        lambda own: teach(own, photos, "dog"),
        lambda own: teach(own, photos, "bee"),
        lambda own: forget(own, "ant"),
        lambda own: forget(own, items=keys_of(own)[30:33]),
    ]
    made = []
    for number, order in enumerate(itertools.permutations(acts)):
        if number % 7 == 0:
            own = copied(solved, tmp_path / str(number))
            made.append([act(own) for act in order][-1])
    assert len(made) == 4
    for other in made[1:]:
        check(other, written(made[0]))


def test_a_class_that_was_learned_and_forgotten_is_never_said_again(own, photos):
    teach(own, photos, "dog")
    done = forget(own, "dog")
    check(done, anew(own, v=4))
    model = Bottleneck.load(done.checkpoint)
    logits = model.logits(torch.from_numpy(np.random.default_rng(0).normal(size=(17, 1280))))
    assert model.header["classes"][DOG] == "dog"
    assert (logits[:, DOG] == -1e4).all()
    head = linear_of(done)
    assert head["bias"][DOG] == -1e4
    assert not head["weight"][:, DOG].any()
    with pytest.raises(BadRequest, match="'dog' has no training items to forget: all 5 were forgotten already"):
        forget(own, "dog")
    again = teach(own, photos, "dog")  # which is no new class then
    assert again.spec.new == []
    check(again, anew(own, learned=[learned_items(again)], v=4))


def test_a_learned_item_is_forgotten_by_its_key_and_learned_again(own, photos):
    more = learned_items(teach(own, photos, "dog"))
    left = torch.tensor([0, 2, 3, 4])
    first = forget(own, items=["dog/0001.png"])
    check(first, anew(own, learned=[tuple(part[left] for part in more)], v=4))
    with pytest.raises(BadRequest, match=r"'dog/0001.png' is forgotten already"):
        forget(own, items=["dog/0001.png"])
    alone = photos.parent / "alone" / "dog"
    alone.mkdir(parents=True, exist_ok=True)
    shutil.copy(photos / "dog" / "0001.png", alone)
    check(teach(own, alone.parent), anew(own, learned=[more], v=4))
    check(forget(own, items=["dog/0001.png"]), written(first))  # the one that is there now
    assert forget(own, "dog").left == ITEMS


def test_some_class_folders_are_learned_whatever_lies_in_the_others(own, photos, tmp_path):
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    (folder / "bee" / "broken.png").write_bytes(b"no image")
    (folder / "empty").mkdir()
    done = teach(own, folder, "dog", "ant")
    assert (done.spec.classes, done.spec.items) == (["ant", "dog"], 7)
    check(done, anew(own, learned=[learned_items(done)], v=4))
    with pytest.raises(
        BadRequest, match=r"no class folder 'dgo'; did you mean 'dog'\? \(there: ant, bee, dog, empty\)"
    ):
        teach(own, folder, "dgo")


def broken(folder):
    path = folder / "dog" / "0001.png"
    path.write_bytes(path.read_bytes()[:60])


def known_key(folder):
    shutil.copy(folder / "bee" / "2000.png", folder / "bee" / "0003.png")


def stray(folder):
    (folder / "loose.png").write_bytes((folder / "bee" / "2000.png").read_bytes())


def nothing(folder):
    for path in folder.rglob("*.png"):
        path.unlink()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (broken, ImageDataError, r"1 images cannot be read \(dog/0001\.png: .*mend them, or take them out"),
        (lambda folder: (folder / "empty").mkdir(), BadRequest, r"not as expected \(empty/: no image in it\)"),
        (known_key, BadRequest, "item 'bee/0003.png' is learned already: forget what is there first"),
        (stray, BadRequest, r"loose\.png: is not in a class folder"),
        (nothing, ImagesMissing, "class folders"),
        (shutil.rmtree, ImagesMissing, "folder"),
    ],
)
def test_what_cannot_be_learned_is_told_and_nothing_is_written(change, error, text, solved, photos, tmp_path):
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    change(folder)
    with pytest.raises(error, match=text):
        teach(solved, folder)
    assert not (solved.root / "unlearned").exists()


def test_the_same_images_are_refused_the_second_time(own, photos):
    teach(own, photos)
    with pytest.raises(
        BadRequest, match=r"items 'ant/2000.png', 'ant/2001.png', 'bee/2000.png' and 7 more are learned"
    ):
        teach(own, photos)
    assert len(list((own.root / "unlearned").iterdir())) == 1


def test_trained_heads_are_refused_with_what_to_do(finished, photos):
    with pytest.raises(BadRequest, match=r'a spec with \[values\] method = "lda"'):
        teach(finished, photos)


def test_what_was_learned_is_checked_as_it_is_read(own, photos):
    path = Path(teach(own, photos).linear).parent / "learned.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ArtefactDamaged, match="does not hold what was written"):
        forget(own, "ant")
    path.write_bytes(b"nothing of the kind")
    without_checksums(own.root)
    with pytest.raises(NotARoot, match=r"learned\.safetensors: not readable"):
        forget(own, "ant")


def test_the_command_learns_and_its_certificate_and_log_hold(own, photos, dkvb):
    (photos / "ant" / "notes.csv").touch()
    ended = dkvb("learn", own.root, "--images", photos, "--ticket", "11", "--json")
    assert ended.code == 0, ended.err
    assert "10 images of 3 classes: 'dog' is new; left alone, as no data: 1 .csv" in ended.err
    said = json.loads(ended.out)
    assert (said["items"], said["left"], said["new"], said["trained"]) == (10, ITEMS + 10, ["dog"], [])
    assert dkvb("verify", Path(said["checkpoint"]).parent / "certificate.json").code == 0
    assert "11  learn: ant, bee, dog" in dkvb("log", own.root).out
    assert dkvb("status", own.root, "--verify").code == 0
    text = dkvb("unlearn", own.root, "--method", "exact", "--class", "dog").out
    assert "forgotten exactly: 5 training items (all of dog); 46 are left" in text
    text = dkvb("learn", own.root, "--images", photos, "--class", "dog").out
    assert "learned exactly: 5 images of dog; heads are of 51 items now" in text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "Missing option '--images'"),
        (("--images", "nowhere"), "nowhere"),
        (("--images", ".", "--sign", "no"), "no"),
    ],
)
def test_a_mistake_on_the_command_line_is_told(words, text, solved, dkvb):
    ended = dkvb("learn", solved.root, *words)
    assert ended.code != 0
    assert text in ended.err
    assert "Traceback" not in ended.err


def test_certificates_say_the_digests_of_sums_before_and_after(own, photos):
    bees = [f"bee/{number}.png" for number in (2000, 2001, 2002)]
    done = [teach(own, photos, "bee"), forget(own, items=bees), forget(own, "cat")]
    said = [json.loads(Path(each.certificate).read_text())["certificate"]["request"] for each in done]
    for head in ("", "linear_"):
        assert said[0][f"{head}after"] == said[1][f"{head}before"]
        assert said[1][f"{head}after"] == said[2][f"{head}before"]
        assert said[0][f"{head}before"] == said[1][f"{head}after"]
        assert said[0][f"{head}before"] != said[0][f"{head}after"]
    assert said[2]["after"] == stamp(Path(done[2].sums or "").read_bytes())


def test_python_learns_too(own, photos):
    done = OpenExperiment(own).learn(photos, "dog")
    assert (done["items"], done["new"]) == (5, ["dog"])
    study = OpenExperiment(own)
    assert study.unlearn(items=["dog/0000.png"], method="exact")["left"] == ITEMS + 4
    assert study.unlearn("dog", items=pl.DataFrame({"item_key": keys_of(own)[:2]}), method="exact")["items"] == 6
    with pytest.raises(BadRequest, match="budget, scope: only with masks"):
        study.unlearn("ant", method="exact", budget=3, scope="per-codebook")
    with pytest.raises(BadRequest, match='only with method = "exact"'):
        study.unlearn("ant", items=["0"])


def test_classes_that_are_not_asked_for_keep_what_they_learned(own, photos):
    more = learned_items(teach(own, photos, "bee"))
    check(forget(own, "cat"), anew(own, rows_of(own, CAT), learned=[more]))
