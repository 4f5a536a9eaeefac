"""What is measured on images that were given, against what is measured of the same images as stored."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from jobs.errors import BadRequest
from jobs.opened import OpenExperiment
from jobs.query.images import measure_images
from jobs.query.measure import measure
from jobs.query.stored import Stored
from store.errors import ImageDataError
from tests.tiny import TEST


@pytest.fixture
def stored(finished):
    return Stored(finished)


@pytest.fixture
def mask(stored):
    return stored.rule_mask([2])


def test_the_test_images_give_what_their_stored_codes_give(stored, mask, images):
    told: list[str] = []
    seen = measure_images(stored, mask, [2], str(images / "test"), tell=told.append)
    expected = measure(stored, mask, [2])
    assert told == [f"{sum(TEST.values())} images of 3 of 3 classes in {images / 'test'}"]
    for side in ("forget", "retain", "among_retain"):
        assert getattr(seen, side)["images"] == getattr(expected, side)["test"]
    names = [f"test_{name}" for name in ("items", "before", "after")]
    stored_columns = expected.classes.select("class", "name", "forget", *names)
    assert seen.classes.rename(lambda name: name.replace("images_", "test_")).equals(stored_columns)
    assert set(seen.to_json()["forget"]) == {"images"}
    assert seen.to_json()["membership_auc"] == {}
    assert "images; before" in seen.lines()[0]
    assert any("accuracy on their 10 images" in line for line in seen.lines())


def test_some_classes_suffice_and_others_are_refused_with_counts(stored, mask, own_images):
    folder = own_images / "test"
    shutil.rmtree(folder / "ant")
    assert measure_images(stored, mask, [2], str(folder)).classes["images_items"].to_list() == [0, TEST["bee"], 5]
    with pytest.raises(BadRequest, match="8 images of 2 classes, none of ant"):
        measure_images(stored, mask, [0], str(folder))
    with pytest.raises(BadRequest, match=r"2 of 2 folders are no class of the model \(test, train\), which has 3"):
        measure_images(stored, mask, [2], str(own_images))
    with pytest.raises(BadRequest, match="no class"):
        measure_images(stored, mask, [], str(folder))


def test_what_is_no_image_is_refused(stored, mask, own_images):
    broken = next((own_images / "test" / "cat").iterdir())
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(ImageDataError, match=broken.name):
        measure_images(stored, mask, [2], str(own_images / "test"))
    (own_images / "test" / "bee" / "dangling.png").symlink_to("nowhere")
    with pytest.raises(BadRequest, match=r"1 files or folders are not as expected .*dangling\.png"):
        measure_images(stored, mask, [2], str(own_images / "test"))


def test_the_command_measures_images(dkvb, finished, mask, images, tmp_path):
    header = {"format": "dkvb-mask/1", "model": finished.model, "classes": ["cat"]}
    save_file({"mask": mask}, tmp_path / "mask.safetensors", {"dkvb": json.dumps(header)})
    words = ("measure", finished.root, "--mask", tmp_path / "mask.safetensors", "--images", images / "test")
    ended = dkvb(*words, "--json")
    assert ended.code == 0, ended.err
    assert "15 images of 3 of 3 classes" in ended.err
    asked = OpenExperiment(finished).query.measure(mask, "cat", images=str(images / "test"))
    assert json.loads(ended.out) == asked.to_json()
    ended = dkvb("measure", finished.root, "--mask", tmp_path / "mask.safetensors", "--weights", "w")
    assert ended.code == 2
    assert "which only --images need" in ended.err
    assert np.array_equal(mask, Stored(finished).rule_mask([2]))
