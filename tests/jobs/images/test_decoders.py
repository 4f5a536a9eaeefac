"""Decoders: torchvision's gives what Pillow's does, or says what it cannot read; nobody falls back in silence."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from dkvb.bottleneck import Bottleneck
from dkvb.recorded import backbone_of
from jobs.errors import BadRequest
from jobs.images.decoders import by_torchvision, load_by
from jobs.query.images import measure_images
from jobs.query.measure import measure
from jobs.query.stored import Stored
from store.decoding import Decoding, by_pillow, decode
from store.errors import ImageDataError
from store.layout import CHECKPOINT


def encoded(form, mode="RGB", **how):
    pixels = np.random.default_rng(3).integers(0, 256, (11, 7, 4), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if mode not in ("RGBA", "LA"):
        image = image.convert("RGB")
    image.convert(mode).save(file := io.BytesIO(), form, **how)
    return file.getvalue()


@pytest.mark.parametrize(
    ("form", "mode", "how"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("PNG", "RGB", {}),
        ("PNG", "1", {}),
        ("PNG", "P", {}),
        ("PNG", "P", {"transparency": 3}),
        ("PNG", "RGBA", {}),
        ("PNG", "LA", {}),
        ("WEBP", "RGBA", {"lossless": True}),
    ],
)
@pytest.mark.parametrize("alpha", ["drop", "white"])
def test_pixels_and_what_is_lost_are_those_of_pillow(form, mode, how, alpha):
    data, decoding = encoded(form, mode, **how), Decoding(alpha=alpha)
    here, there = decode(data, decoding, by_torchvision), decode(data, decoding)
    assert (here.problem, here.lost) == (None, there.lost)
    np.testing.assert_array_equal(np.asarray(here.image), np.asarray(there.image))


def test_exif_is_followed_as_asked():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded("JPEG", exif=exif)
    for orientation in ("ignore", "apply"):
        here, there = (decode(data, Decoding(orientation=orientation), load) for load in (by_torchvision, by_pillow))
        assert here.lost == there.lost
        np.testing.assert_array_equal(np.asarray(here.image), np.asarray(there.image))


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF", "PPM"])
def test_what_torchvision_does_not_read_is_a_problem_with_its_remedy(form):
    made = decode(encoded(form), load=by_torchvision)
    assert made.image is None
    assert f'this is {form}; convert it, or set images.decode = "pil"' in str(made.problem)
    assert decode(encoded(form)).problem is None


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_an_image_that_is_cut_off_is_a_problem(form):
    made = decode(encoded(form)[:-30], load=by_torchvision)
    assert re.fullmatch(r"image cannot be decoded: torchvision: [A-Z][^\n/]*", str(made.problem))


def test_a_torchvision_without_decoders_is_refused_with_the_remedy(monkeypatch):
    import torchvision.io

    def missing(*_, **__):
        raise RuntimeError("decode_jpeg: torchvision not compiled with libjpeg support\nmore")

    monkeypatch.setattr(torchvision.io, "decode_image", missing)
    with pytest.raises(BadRequest, match=r"cannot decode JPEG \(.* libjpeg support\): .*images.decode = \"pil\""):
        load_by("torchvision")
    assert load_by("pil") is by_pillow


def test_the_choices_are_recorded_and_measured_images_go_the_same_way(run_tiny, images, tmp_path):
    changes = {"images.decode": "torchvision", "backbone.precision": "bfloat16"}
    done = run_tiny(tmp_path / "root", images, changes)
    header = Bottleneck.load(done.artefact("values").path / CHECKPOINT).header
    recorded = header["backbone"]
    assert (recorded["decode"], recorded["precision"]) == ("torchvision", "bfloat16")
    assert backbone_of(header).facts["precision"] == "bfloat16"
    stored = Stored(done)
    mask = stored.rule_mask([2])
    seen = measure_images(stored, mask, [2], str(images / "test"))
    assert seen.forget["images"] == measure(stored, mask, [2]).forget["test"]
    picture = next((images / "test" / "ant").iterdir())
    own = tmp_path / "own" / "ant"
    own.mkdir(parents=True)
    with Image.open(picture) as image:
        image.save(own / "still.gif")
    with pytest.raises(ImageDataError, match=r"ant/still\.gif: .*this is GIF; convert it"):
        measure_images(stored, stored.rule_mask([0]), [0], str(tmp_path / "own"))
