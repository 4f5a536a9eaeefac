"""Numbers and lists of a spec: what lies outside its bounds is refused with key, found and expected."""

import pytest

from tests.jobs.spec.refusal import refusal


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"name": "a/b"}, "name: found 'a/b'"),
        ({"name": ""}, "name: found ''"),
        ({"name": "../up"}, "name: found '../up'"),
        ({"images.kind": "foldr"}, "images.kind: found 'foldr'"),
        ({"images.test": "train"}, "images.train and images.test: both are 'train'"),
        ({"images.on_error": "ignore"}, "images.on_error: found 'ignore'"),
        ({"images.shard_items": 0}, "images.shard_items: found 0"),
        ({"bottleneck.c": 0}, "bottleneck.c: found 0"),
        ({"bottleneck.m": -1}, "bottleneck.m: found -1"),
        ({"bottleneck.m": 32769}, "bottleneck.m: found 32769"),
        ({"bottleneck.d_k": 0}, "bottleneck.d_k: found 0"),
        ({"bottleneck.selectable": "some"}, "bottleneck.selectable: found 'some'"),
        ({"values.optimizer": "adam"}, "values.optimizer: found 'adam'"),
        ({"linear.epochs": 0}, "linear.epochs: found 0, expected 1 or more"),
        ({"values.validation": 1.0}, "values.validation: found 1.0"),
    ],
)
def test_a_value_outside_what_there_is_is_refused(changes, where, spec_file):
    assert refusal(spec_file(changes)).startswith(where)


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("embeddings.batch", 0),
        ("embeddings.batch", -3),
        ("keys.batch", 0),
        ("keys.epochs", -1),
        ("keys.sample", 0),
        ("keys.sample", -5),
        ("keys.decay", 1.5),
        ("values.label_smoothing", 1.5),
        ("sweep.classes", []),
        ("sweep.classes", ["ant", "ant"]),
        ("sweep.uve.seeds", [0, 0]),
        ("sweep.uve.seeds", [-1, 0]),
    ],
)
def test_a_number_or_list_that_cannot_be_meant_is_refused_before_anything_runs(dotted, value, spec_file):
    assert dotted.rpartition(".")[2] in refusal(spec_file({dotted: value}))


WHOLE_NUMBERS = [
    *("seed", "images.shard_items", "images.expect.train", "images.expect.classes", "embeddings.batch"),
    *(
        "bottleneck.c",
        "bottleneck.m",
        "bottleneck.d_k",
        "backbone.image_size",
        "keys.sample",
        "keys.epochs",
        "keys.batch",
    ),
    *("values.epochs", "values.batch", "linear.epochs", "compare.trials", "compare.lira_heads", "compare.lira_items"),
    *("compare.lira_classes", "compare.tuning_classes"),
]


@pytest.mark.parametrize("dotted", WHOLE_NUMBERS)
@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 10**40, -(10**40)])
def test_every_whole_number_has_bounds(dotted, value, spec_file):
    text = refusal(spec_file({dotted: value}))
    assert text.startswith(dotted)
    found = value if abs(value) < 10**30 else "a number of 133 bits"
    assert f"found {found}, expected a number from -2147483648 to 2147483647" in text


@pytest.mark.parametrize("dotted", ["sweep.uve.seeds", "sweep.uve.examples", "compare.seeds"])
def test_every_whole_number_of_a_list_has_bounds(dotted, spec_file):
    assert refusal(spec_file({dotted: [2**32]})).startswith(f"{dotted}[0]: found 4294967296, expected a number from")


@pytest.mark.parametrize(
    ("dotted", "value", "expected"),
    [
        *((key, -1, "0 or more") for key in ("seed", "sweep.set_seed")),
        ("images.shard_items", 1_000_001, "a whole number from 1 to 1000000"),
        ("images.expect.train", 0, "1 or more"),
        ("images.expect.test", -1, "1 or more"),
        ("embeddings.batch", 65537, "a whole number from 1 to 65536"),
        ("bottleneck.c", 65537, "a whole number from 1 to 65536"),
        ("bottleneck.d_k", 65537, "a whole number from 1 to 65536"),
        ("images.orientation", "turn", '"ignore" or "apply"'),
        ("images.alpha", "grey", '"drop", "white" or "black"'),
        ("images.decode", "gpu", '"pil" or "torchvision"'),
        ("images.label", "label", "the name of a column, of images of kind 'parquet' alone"),
    ],
)
def test_what_lies_outside_its_bounds_is_told_with_key_found_and_expected(dotted, value, expected, spec_file):
    text = refusal(spec_file({dotted: value}))
    assert f"{dotted}: found {value!r}, expected {expected}" in text


def test_a_decoder_of_images_that_come_as_pixels_is_refused(spec_file):
    text = refusal(spec_file({"images.decode": "torchvision", "images.kind": "digits"}))
    assert "images.decode: found 'torchvision', expected \"pil\": images of kind 'digits' come as pixels" in text


def test_a_precision_that_is_not_known_is_refused_with_the_nearest(spec_file):
    text = refusal(spec_file({"backbone.precision": "float16"}))
    expected = 'expected "float32" or "bfloat16"; did you mean \'bfloat16\'?'
    assert text == f"backbone.precision: found 'float16', {expected}"


def test_more_pairs_than_there_are_can_never_be_masked(spec_file):
    text = refusal(spec_file({"sweep.uva.shares": None, "sweep.uva.pairs": [5, 11 * 13 + 1]}))
    assert text == "sweep.uva.pairs[1]: found 144, expected a whole number from 1 to 143"
