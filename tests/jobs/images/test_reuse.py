"""What has not changed is not embedded again; copies of images are counted and told."""

import shutil

import numpy as np
import pytest

from store import arrays


def taken(done, split):
    return done.facts(f"embeddings[{split}]")["taken"]


def rows(done, split, name="embeddings"):
    return arrays.read_shards(done.artefact(f"embeddings[{split}]").data, name)


def test_one_more_training_image_embeds_its_shard_alone_and_says_what_changed(
    own, run_tiny, own_images, painted, watched, tmp_path
):
    painted(own_images / "train", {"ant": 0, "bee": 0, "cat": 1}, first=17)
    done = run_tiny(own.root, own_images, progress=watched)
    earlier = "shards are as in an earlier run on this root and were taken from there"
    assert sorted(watched.notes) == [
        f"embeddings[test]: 2 of 2 {earlier}",
        f"embeddings[train]: 3 of 4 {earlier}",
        "tiny ran here before with another spec or other images: the files of [train], in names or sizes",
    ]
    assert (taken(done, "test"), taken(done, "train")) == (["00000", "00001"], ["00000", "00001", "00002"])
    calm = run_tiny(tmp_path / "calm", own_images)
    for split in ("train", "test"):
        for name in ("embeddings", "labels"):
            np.testing.assert_array_equal(rows(done, split, name), rows(calm, split, name))
    assert done.steps == calm.steps


@pytest.mark.parametrize("changes", [{"embeddings.batch": 7}, {"images.alpha": "white"}, {"backbone.image_size": 64}])
def test_nothing_is_taken_from_a_run_that_was_asked_otherwise(changes, own, run_tiny, images):
    done = run_tiny(own.root, images, {"name": "other", **changes})
    assert taken(done, "train") == taken(done, "test") == []


def test_an_image_of_another_size_is_embedded_again(own, run_tiny, own_images, painted):
    painted(own_images / "train", {"ant": 1}, first=5, size=40)
    done = run_tiny(own.root, own_images)
    assert taken(done, "train") == ["00001", "00002", "00003"]
    before = rows(own, "train")
    assert (rows(done, "train") != before).any(1).nonzero()[0].tolist() == [5]


def test_nothing_is_taken_from_another_environment(own, run_tiny, own_images, painted, unsealed):
    import json

    unsealed(own.root)
    for path in (own.artefact("embeddings[train]").path / "units").iterdir():
        mark = json.loads(path.read_text())
        mark["backbone"]["precision"] = "bfloat16"
        path.write_text(json.dumps(mark))
    painted(own_images / "train", {"ant": 0, "bee": 0, "cat": 1}, first=17)
    assert taken(run_tiny(own.root, own_images), "train") == []


def test_a_damaged_shard_is_embedded_again_and_not_taken(own, run_tiny, own_images, painted):
    before = own.artefact("embeddings[train]")
    for name in ("data.zarr/embeddings/00000/c/0/0", "units/00001.json"):
        (before.path / name).write_bytes((before.path / name).read_bytes()[:-1])
    painted(own_images / "train", {"ant": 0, "bee": 0, "cat": 1}, first=17)
    assert taken(run_tiny(own.root, own_images), "train") == ["00002"]


def test_choices_that_are_not_made_leave_the_digests_of_older_roots(make_spec, images):
    from jobs.plan.plan import make_plan

    plain = make_plan(make_spec(), str(images)).digests()
    assert (
        make_plan(make_spec({"images.alpha": "drop", "images.orientation": "ignore"}), str(images)).digests() == plain
    )
    turned = make_plan(make_spec({"images.orientation": "apply"}), str(images)).digests()
    same = {label for label in plain if plain[label] == turned[label]}
    assert same == {"manifest[train]", "manifest[test]"}


def test_copies_within_a_split_and_across_are_counted_and_told(run_tiny, own_images, tmp_path, watched):
    train, test = own_images / "train", own_images / "test"
    shutil.copy(train / "ant" / "0000.png", train / "ant" / "copy.png")
    shutil.copy(train / "ant" / "0000.png", train / "bee" / "copy.png")
    shutil.copy(train / "cat" / "0003.png", test / "cat" / "copy.png")
    shutil.copy(train / "cat" / "0004.png", test / "ant" / "copy.png")
    done = run_tiny(tmp_path / "root", own_images, progress=watched)
    assert sorted(watched.notes) == [
        "embeddings[train]: 2 of 43 images are copies of another one in this split, byte for byte; 1 of them with "
        "another label",
        "linear: 2 test images are copies of training images, byte for byte; 1 of them with another label: they "
        "flatter accuracy",
    ]
    assert done.facts("embeddings[train]")["copies"] == done.facts("linear")["copies"] == 2
    assert done.facts("embeddings[test]")["copies"] == 0


def test_what_decoding_lost_is_counted_and_told_once(run_tiny, own_images, tmp_path, watched):
    from PIL import Image

    for number in range(3):
        path = own_images / "train" / "bee" / f"{number:04d}.png"
        with Image.open(path) as image:
            clear = image.convert("RGBA")
        clear.putalpha(100)
        clear.save(path)
    done = run_tiny(tmp_path / "root", own_images, progress=watched)
    (note,) = watched.notes
    assert note.startswith("embeddings[train]: 3 of 41 images are transparent in parts, which was dropped")
    assert done.facts("embeddings[train]")["lost"] == {"alpha": 3}
    again = run_tiny(tmp_path / "root", own_images, {"images.alpha": "white"}, progress=watched)
    assert again.facts("embeddings[train]")["lost"] == {}
    assert (rows(again, "train") != rows(done, "train")).any(1).nonzero()[0].tolist() == [11, 12, 13]


def test_what_heads_of_several_seeds_have_to_say_of_their_images_is_told_once(own_images, make_spec, tmp_path, watched):
    from cluster.unit_map import SerialExecutor
    from jobs.plan.plan import make_plan
    from jobs.run.run import run_steps
    from store.artefacts import open_root

    shutil.copy(own_images / "train" / "cat" / "0003.png", own_images / "test" / "cat" / "copy.png")
    root = open_root(tmp_path / "root", create=True)
    first, second = (make_plan(make_spec({"seed": seed}), str(own_images)) for seed in (0, 1))
    for kind in ("manifest", "embeddings"):
        run_steps({step.label: step for step in first.steps if step.kind == kind}, root, SerialExecutor(), watched)
    heads = {"linear": first.step("linear"), "linear[@1]": second.step("linear")}
    run_steps(heads, root, SerialExecutor(), watched)
    assert watched.ended.keys() >= heads.keys()
    assert [note for note in watched.notes if "flatter" in note] == [
        "linear: 1 test images are copies of training images, byte for byte: they flatter accuracy"
    ]
