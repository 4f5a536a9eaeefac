"""How many images a plan is for, and what it says of how that is known."""

import pytest

from jobs.images.counted import count
from jobs.plan.cost import look_ahead, plans_text

SIZES = {"train": 41, "test": 15, "classes": 3}
EXPECT = {"train": 40, "test": 15, "classes": 3}


def test_images_that_are_there_are_counted(make_spec, images):
    planned = look_ahead(make_spec(), str(images), None)
    assert planned.found.sizes == SIZES
    assert planned.found.source == "counted"
    text = plans_text([planned])
    assert "  3 classes, 41 training images, 15 test images: counted just now" in text
    assert planned.needs is not None
    assert "unknown" not in text
    assert "to do" not in text, "without a root nobody can say what is done"


def test_what_is_done_on_the_root_tells_the_sizes(make_spec, finished, own_images):
    planned = look_ahead(make_spec(), str(own_images), finished.root)
    assert planned.found.sizes == SIZES
    assert planned.found.source == "root"
    assert planned.is_done
    assert planned.found.counted is None


def test_without_images_the_spec_tells_them(make_spec):
    planned = look_ahead(make_spec({"images.expect": EXPECT}), None, None)
    assert (planned.found.sizes, planned.found.source) == (EXPECT, "spec")
    assert "40 training images" in plans_text([planned])
    part = look_ahead(make_spec({"images.expect": {"train": 40}}), None, None)
    assert (part.found.source, part.needs) == ("spec", None)


def test_where_nobody_tells_them_it_is_said_what_would(make_spec):
    planned = look_ahead(make_spec(), None, None)
    assert (planned.found.source, planned.sizes, planned.cost) == ("none", None, None)
    text = plans_text([planned])
    assert "give --images DIR, and they are counted; or say images.expect" in text


def test_what_a_run_would_stop_at_is_said(make_spec, own_images):
    (own_images / "train" / "ant" / "notes.txt").write_text("")
    (own_images / "train" / "ant" / "phone.heic").write_bytes(b"")
    text = plans_text([look_ahead(make_spec({"images.expect": EXPECT}), str(own_images), None)])
    assert "a run would stop: there are 41 training images, and images.expect says 40" in text
    assert "problems: 1, a run would stop there" in text
    assert "left alone, as no data: 1 .txt" in text
    skipped = look_ahead(make_spec({"images.on_error": "skip"}), str(own_images), None)
    assert "they are left out" in plans_text([skipped])


@pytest.mark.parametrize("expect", [None, EXPECT])
def test_what_takes_too_long_to_count_is_taken_from_the_spec_or_estimated(expect, make_spec, images):
    spec = make_spec({"images.expect": expect} if expect else None)
    counted = count(spec.images, str(images), seconds=0.0)
    assert (counted.train.read, counted.train.shards) == (1, 4)
    found = look_ahead(spec, str(images), None, counted=counted).found
    if expect:
        assert (found.sizes, found.source) == (EXPECT, "spec")
        assert "files were read in" in found.how
    else:
        assert found.source == "estimated"
        assert abs(found.sizes["train"] - 41) < 8
        assert "about" in found.lines()[0]
