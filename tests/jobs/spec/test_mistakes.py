"""Mistakes of a spec: all are told at once, each with its line, key, what was found and expected, and what is near."""

import json

import pytest

from jobs.errors import BadSpec
from jobs.spec.mistakes import Mistakes
from jobs.spec.reading import build, load_specs
from jobs.spec.schema import Spec
from tests.jobs.spec.refusal import refusal

MANY = """\
name = "a/b"
sede = 3

[images]
kind = "foldr"
shard_items = 0
expect = { trian = 5, test = 0 }

[backbone]
library = "tim"
image_size = "32"

[keys]
epoch = 3
decay = 2

[values]
lr = -1.0
epochs = true
momentum = nan

[sweep]
classes = ["ant", "ant"]
sizes = [0, "hal", 1.5]

[sweep.uva]
shares = [0.5, 0.2]

[sweep.uve]
examples = [1, 2.5]
seeds = []
seed = 1
"""


@pytest.fixture
def told(tmp_path):
    def of(text):
        path = tmp_path / "spec.toml"
        path.write_text(text, encoding="utf-8")
        return refusal(path)

    return of


def test_all_mistakes_are_told_at_once_each_with_its_line(told):
    head, *lines = told(MANY).split("\n")
    assert head == f"{len(lines)} mistakes"
    for line, begins in (
        (1, "name: found 'a/b', expected up to 100 letters, digits"),
        (2, "unknown key 'sede'; did you mean 'seed'? (known: name, images, backbone, sweep, seed, "),
        (5, "images.kind: found 'foldr', expected \"folder\", "),
        (6, "images.shard_items: found 0, expected a whole number from 1 to 1000000"),
        (7, "images.expect: unknown key 'trian'; did you mean 'train'? (known: train, test, classes)"),
        (7, "images.expect.test: found 0, expected 1 or more"),
        (9, "backbone: key 'name' is missing, expected a text"),
        (10, 'backbone.library: found \'tim\', expected "timm", "open_clip" or "efficientnet-lite"; did you mean'),
        (11, "backbone.image_size: found '32', expected a whole number from 32 to 4096"),
        (14, "keys: unknown key 'epoch'; did you mean 'epochs'?"),
        (15, "keys.decay: found 2.0, expected a number in [0, 1]"),
        (18, "values.lr: found -1.0, expected a number above 0"),
        (19, "values.epochs: found True, expected a whole number, 1 or more"),
        (20, "values.momentum: found nan, expected a finite number"),
        (23, "sweep.classes: found ['ant', 'ant'], expected one or more different names"),
        (24, "sweep.sizes[0]: found 0, expected 1 or more"),
        (24, "sweep.sizes[1]: found 'hal', expected a whole number or \"half\""),
        (24, 'sweep.sizes[2]: found 1.5, expected a whole number or "half"'),
        (27, "sweep.uva.shares: found [0.5, 0.2], expected increasing numbers above 0"),
        (30, "sweep.uve.examples[1]: found 2.5, expected a whole number, 1 or more"),
        (31, "sweep.uve.seeds: found [], expected one or more, all different"),
        (32, "sweep.uve: unknown key 'seed'; did you mean 'seeds'?"),
    ):
        assert [one for one in lines if one.startswith(f"  line {line}: {begins}")], (line, begins, lines)


def test_more_than_thirty_are_counted(told):
    text = "\n".join(f"x{i} = 1" for i in range(40))
    lines = told(text).split("\n")
    assert lines[0] == "44 mistakes"
    assert lines[-1] == "  and 14 more"
    assert len(lines) == 32


def test_a_key_that_another_table_has_is_said_to_be_known_there(told, as_toml, asks):
    assert "such a key is known in [embeddings], in [keys], in [values] and in [linear]" in told(
        as_toml(asks({"images.batch": 3}))
    )
    text = told(as_toml(asks({"sweep.uve.seed": 3})))
    assert "did you mean 'seeds'?" in text
    assert text.endswith("; such a key is known above the first table")


def test_a_table_that_is_misspelt_is_not_missing_too(told, as_toml, asks):
    changes = {"images": None, "image": {"kind": "folder"}}
    assert told(as_toml(asks(changes))).startswith("unknown key 'image'; did you mean 'images'?")


def test_keys_that_do_not_go_together_are_all_told(told, as_toml, asks):
    changes = {"linear": {"method": "lda", "lr": 0.5, "epochs": 3}, "images.decode": "torchvision"}
    changes |= {"images.kind": "digits", "images.train": "test", "images.classes": "names.txt", "images.label": "y"}
    text = told(as_toml(asks(changes)))
    for one in (
        "linear.lr: found 0.5, but lda trains nothing: leave it out",
        "linear.epochs: found 3, but lda trains nothing: leave it out",
        "images.decode: found 'torchvision', expected \"pil\"",
        "images.train and images.test: both are 'test', expected two splits",
        "images.classes: found 'names.txt', but images of kind 'digits' bring their class names",
        "images.label: found 'y', expected the name of a column, of images of kind 'parquet' alone",
    ):
        assert f": {one}" in text
    assert text.startswith("6 mistakes\n")


def test_a_split_that_published_images_do_not_have_is_refused(told, as_toml, asks):
    text = told(as_toml(asks({"images.kind": "digits", "images.train": "tarin"})))
    assert text.startswith("images.train: found 'tarin', expected \"train\" or \"test\": images of kind 'digits'")


def test_a_mistake_of_all_experiments_is_told_once_and_that_of_one_with_its_number(told, as_toml, asks):
    more = "[[experiments]]\nname = 'a'\n[[experiments]]\nname = 'b'\nkeys = { epoch = 3 }\n"
    text = f"{as_toml(asks({'embeddings.batch': 0}))}{more}"
    number = {line: i for i, line in enumerate(text.split("\n"), 1)}
    head, first, second = told(text).split("\n")
    assert head == "2 mistakes"
    assert first == f"  line {number['batch = 0']}: embeddings.batch: found 0, expected a whole number from 1 to 65536"
    assert second.startswith(f"  line {number['keys = { epoch = 3 }']}: experiments[1]: keys: unknown key 'epoch'")


def test_a_password_is_not_repeated_by_any_message(told, as_toml, asks):
    secret = "https://me:s3cr3t@host/x"
    for changes in (
        {"seed": {"x": secret}},
        {"sweep.classes": [secret, 3]},
        {"sweep.sets": [[secret], [secret]]},
        {"nmae": secret},
        {"images.train": secret, "images.test": secret},
    ):
        assert "s3cr3t" not in told(as_toml(asks(changes)))


def test_a_key_with_a_line_break_forges_no_line(told):
    text = told('[compare.proxies]\n"a\\n  line 9: all is well" = 3\n')
    assert "\n  line 9: all" not in text
    assert "compare.proxies.a\\n  line 9: all is well: found 3, expected a text" in text


@pytest.mark.parametrize("text", ["x = 2020-01-01", "seed = 12:00:00"])
def test_a_date_is_no_value(text, told):
    assert "a date or time, which no key takes" in told(text) or "unknown key 'x'" in told(text)


def test_deep_lists_are_no_spec(told, as_toml, asks):
    deep = "[" * 60 + "]" * 60
    assert "nested too deeply for a spec" in told(as_toml(asks()).replace("name = ", f"seed = {deep}\nname = ", 1))
    dots = f"{'a.' * 2000}a = 1\n"
    assert "unknown key 'a'" in told(dots)
    assert "nested too deeply" in told(f"[seed]\n{dots}")
    assert "nested too deeply" in told(f"{dots}[[experiments]]\nname = 'b'\n{dots}")


def test_a_table_without_a_file_is_refused_with_all_of_it_too(asks):
    with pytest.raises(Mistakes) as caught:
        build(Spec, asks({"seed": 0.5, "keys.epoch": 3}), "job-1")
    assert isinstance(caught.value, BadSpec)
    assert sorted(str(caught.value).split("\n"))[1] == "job-1: seed: found 0.5, expected a whole number, 0 or more"
    assert "job-1: keys: unknown key 'epoch'" in str(caught.value)
    with pytest.raises(Mistakes, match="found 3, expected a table"):
        build(Spec, 3, "")


def test_numbers_are_taken_as_they_are_written(asks):
    """What is read passes through JSON: no digit may be lost."""
    shares = [1e-300, 0.1, 0.30000000000000004, 1 / 3, 0.9999999999999999]
    spec = build(Spec, asks({"sweep.uva.shares": shares}), "")
    assert spec.sweep.uva is not None
    assert spec.sweep.uva.shares == shares
    with pytest.raises(Mistakes, match=r"found 2\.0, expected a whole number"):
        build(Spec, asks({"keys.epochs": 2.0}), "")


def test_a_spec_of_elsewhere_that_json_cannot_hold_is_refused(asks):
    with pytest.raises(Mistakes, match="not a spec"):
        build(Spec, json.loads(json.dumps(asks({"name": "\ud800"}))), "")


def test_what_is_right_is_read(tmp_path, as_toml, asks):
    path = tmp_path / "spec.toml"
    path.write_text(as_toml(asks()), encoding="utf-8")
    assert load_specs(str(path))[0].name == "tiny"
