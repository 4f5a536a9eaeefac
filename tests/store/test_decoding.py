"""Pixels out of encoded bytes: what is asked of orientation and transparency, and what is lost and said."""

import io
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps

from store.decoding import MOST_STRETCHED, Decoding, by_pillow, decode
from store.images import open_images
from tests.store.made import picture, write_folder


def encoded(image, form="PNG", **how):
    buffer = io.BytesIO()
    image.save(buffer, form, **how)
    return buffer.getvalue()


def noise(height=5, width=3, channels=3):
    pixels = np.random.default_rng(7).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation_is_applied_as_pillow_does_or_counted_as_lost(turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(noise(), "PNG", exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        turned = ImageOps.exif_transpose(image)
    applied, ignored = decode(data, Decoding(orientation="apply")), decode(data)
    np.testing.assert_array_equal(np.asarray(applied.image), np.asarray(turned))
    np.testing.assert_array_equal(np.asarray(ignored.image), np.asarray(noise()))
    assert (applied.lost, ignored.lost) == ((), ("orientation",) if turn > 1 else ())


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_dropped_and_said_or_gets_a_ground(mode):
    if mode == "P":
        image = noise().convert("P")
        data = encoded(image, transparency=image.getpixel((0, 0)))
    else:
        image = noise(channels=4).convert(mode)
        image.putalpha(Image.fromarray(np.array([[0, 128, 255]] * 5, np.uint8)))
        data = encoded(image)
    with Image.open(io.BytesIO(data)) as stored:
        plain = np.asarray(stored.convert("RGB")).astype(int)
        alpha = np.asarray(stored.convert("RGBA"))[..., 3:] / 255
    dropped = decode(data)
    assert dropped.lost == ("alpha",)
    np.testing.assert_array_equal(np.asarray(dropped.image), plain)
    for ground, shade in (("white", 255), ("black", 0)):
        laid = decode(data, Decoding(alpha=ground))
        assert laid.lost == ()
        np.testing.assert_allclose(np.asarray(laid.image), alpha * plain + (1 - alpha) * shade, atol=1)


def test_an_alpha_channel_that_hides_nothing_is_no_loss():
    image = noise(channels=4)
    image.putalpha(255)
    for ground in ("drop", "white"):
        made = decode(encoded(image), Decoding(alpha=ground))
        assert made.lost == ()
        np.testing.assert_array_equal(np.asarray(made.image), np.asarray(image)[..., :3])


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_further_frames_are_said_to_be_left_out(form):
    one, other = Image.new("RGB", (5, 3), (9, 9, 9)), Image.new("RGB", (5, 3), (200, 9, 9))
    moving = decode(encoded(one, form, save_all=True, append_images=[other]))
    assert moving.lost == ("frames",)
    assert np.asarray(moving.image).shape == (3, 5, 3)
    assert decode(encoded(one, form)).lost == ()


def test_sixteen_bits_a_channel_are_said_to_be_halved_in_colour_and_refused_in_grey():
    deep = b"P6 2 1 65535\n" + np.arange(6, dtype=">u2").tobytes()
    assert decode(deep).lost == ("depth",)
    grey = encoded(Image.fromarray(np.arange(15, dtype=np.uint16).reshape(5, 3)))
    assert "more than 8 bits" in str(decode(grey).problem)


def test_a_side_a_hundred_times_the_other_is_the_limit():
    most = Image.new("RGB", (MOST_STRETCHED * 3, 3))
    assert decode(encoded(most)).problem is None
    for size in ((MOST_STRETCHED * 3 + 1, 3), (1, 4000)):
        made = decode(encoded(Image.new("RGB", size)))
        assert made.image is None
        assert f"{size[0]} x {size[1]} pixels: one side is more than 100 times the other" in str(made.problem)


def test_broken_exif_costs_no_pixel():
    data = encoded(noise(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)
    made = decode(data)
    assert (made.problem, made.lost) == (None, ())


def test_images_come_as_rgb_with_their_own_pixels_and_no_exif_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees
    forms = {
        "rgb.png": picture(10), "grey.png": picture(20, mode="L"), "palette.png": picture(30, mode="P"),
        "alpha.png": picture(40, mode="RGBA"),
        "cmyk.jpg": picture(50, "JPEG", "CMYK"), "turned.jpeg": picture(60, "JPEG", exif=exif),
        "old.bmp": picture(70, "BMP"), "new.webp": picture(80, "WEBP", lossless=True), "png-inside.JPEG": picture(90),
    }  # fmt: skip
    write_folder(tmp_path, {f"c/{name}": content for name, content in forms.items()})
    images = open_images("folder", str(tmp_path), pattern="")
    items = {item.key[2:]: item for item in images.read(images.scan(on_error="fail").shards[0])}
    assert items.keys() == forms.keys()
    for name, content in forms.items():
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        assert items[name].problem is None
        assert expected.shape == (3, 5, 3)
        np.testing.assert_array_equal(np.asarray(items[name].image), expected)
    assert np.asarray(items["rgb.png"].image)[2, 4].tolist() == [10, 5, 7]


def test_images_that_cannot_be_decoded_stay_in_place_with_the_reason(tmp_path, monkeypatch):
    jpeg, png = io.BytesIO(), io.BytesIO()
    Image.effect_noise((43, 31), 80).save(jpeg, "JPEG")
    Image.effect_noise((43, 31), 80).save(png, "PNG")
    deep, large = io.BytesIO(), io.BytesIO()
    Image.new("I;16", (5, 3)).save(deep, "PNG")
    Image.new("L", (131, 17)).save(large, "PNG")
    files = {
        "0.png": picture(1), "1.jpg": jpeg.getvalue()[:-300], "2.png": b"no image", "3.png": b"",
        "4.png": deep.getvalue(),
        "5.png": large.getvalue(), "6.png": png.getvalue()[:-300], "7.png": picture(7, "PCX"), "8.png": picture(8),
    }  # fmt: skip
    write_folder(tmp_path, {f"c/{name}": content for name, content in files.items()})
    images = open_images("folder", str(tmp_path), pattern="")
    shard = images.scan(on_error="fail").shards[0]
    for limit in (131 * 17 - 1, 131 * 17 // 2 - 1):  # Pillow warns above its limit and raises above twice its limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        items = list(images.read(shard))
        assert [item.image is None for item in items] == [False, True, True, True, True, True, True, True, False]
        assert "decompression bomb" in str(items[5].problem)
    monkeypatch.undo()
    found = [item.problem or "" for item in images.read(shard)]
    assert [found[0], found[5], found[8]] == ["", "", ""]
    assert "truncated" in found[1]
    assert "not a readable image" in found[2]
    assert "(0 bytes)" in found[3]
    assert "I;16" in found[4]
    assert found[6]
    assert "JPEG, PNG, BMP, WEBP, TIFF, GIF, AVIF, PPM" in found[7]


def test_an_image_is_judged_alike_though_another_thread_ends_in_the_middle_of_it(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 131 * 17 - 1)  # above it Pillow only warns
    small, large, opened = encoded(noise()), encoded(noise(17, 131)), Image.open
    inside, entered, leave = threading.Event(), threading.Event(), threading.Event()

    def slow(_, image):
        inside.set()
        assert entered.wait(10)
        return by_pillow(_, image)

    def late(file, formats):
        if file.getbuffer().nbytes == len(large):
            entered.set()
            assert leave.wait(10)
        return opened(file, formats=formats)

    monkeypatch.setattr(Image, "open", late)
    with warnings.catch_warnings(), ThreadPoolExecutor(2) as threads:
        warnings.simplefilter("ignore")
        filters = list(warnings.filters)
        first = threads.submit(decode, small, load=slow)
        assert inside.wait(10)
        second = threads.submit(decode, large)
        assert first.result(10).problem is None
        leave.set()
        assert "decompression bomb" in str(second.result(10).problem)
        assert list(warnings.filters) == filters
