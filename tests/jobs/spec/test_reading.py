"""Specs: what ships loads; what is wrong is refused with file, table, key, and the nearest that is known."""

import json
import re

import pytest

from dkvb.limits import nearest
from jobs.errors import BadSpec
from jobs.spec.library import shipped
from jobs.spec.reading import as_table, build, load_specs
from jobs.spec.schema import Spec, UvaSpec
from tests.jobs.spec.refusal import refusal


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_spec_loads(name):
    (spec,) = load_specs(name)
    assert spec.name == name
    assert spec.sweep.uva is not None
    assert spec.sweep.uve is not None
    assert spec.images.expect.keys() == {"train", "test", "classes"}


def test_the_specs_that_readme_and_demo_rely_on_are_shipped():
    assert {
        "digits",
        "cifar10",
        "cifar100",
        "lacuna100",
        "cifar10-compare",
        "digits-compare",
        "imagenet1k-clip",
        "imagenet1k-resnet50",
    } <= set(shipped())


def test_a_file_says_what_was_asked(spec_file):
    (spec,) = load_specs(str(spec_file()))
    assert spec.name == "tiny"
    assert (spec.bottleneck.c, spec.bottleneck.m, spec.bottleneck.d_k) == (11, 13, 3)
    assert spec.backbone.image_size == 32
    assert spec.sweep.uva == UvaSpec(shares=[0.2, 0.5, 1.0])
    assert spec.sweep.uve is not None
    assert spec.sweep.uve.seeds == [0, 3]
    assert spec.seed == 0
    assert spec.keys.decay == 0.95


def test_a_whole_number_does_for_a_float(spec_file):
    (spec,) = load_specs(str(spec_file({"sweep.uva.shares": [0.5, 1], "values.lr": 2})))
    assert spec.sweep.uva == UvaSpec(shares=[0.5, 1.0])


@pytest.mark.parametrize(
    ("dotted", "table", "near"),
    [
        ("sead", "", "seed"),
        ("images.shard_item", "images", "shard_items"),
        ("backbone.image_sise", "backbone", "image_size"),
        ("embeddings.batches", "embeddings", "batch"),
        ("bottleneck.dk", "bottleneck", "d_k"),
        ("keys.epoch", "keys", "epochs"),
        ("values.momentun", "values", "momentum"),
        ("linear.optimiser", "linear", "optimizer"),
        ("sweep.class", "sweep", "classes"),
        ("sweep.uva.share", "sweep.uva", "shares"),
        ("sweep.uve.example", "sweep.uve", "examples"),
        ("images.expect.trian", "images.expect", "train"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(dotted, table, near, spec_file):
    text = refusal(spec_file({dotted: 1}))
    key = dotted.rpartition(".")[2]
    assert text.startswith(f"{table}: unknown key '{key}'" if table else f"unknown key '{key}'")
    assert near in text


def test_an_unknown_table_is_refused_with_the_nearest(spec_file):
    text = refusal(spec_file({"bottlenek": {"c": 3}}))
    assert text.startswith("unknown key 'bottlenek'; did you mean 'bottleneck'?")


@pytest.mark.parametrize(
    ("dotted", "value", "expected"),
    [
        ("name", 3, "a text"),
        ("seed", "0", "a whole number"),
        ("seed", 0.5, "a whole number"),
        ("seed", True, "a whole number"),
        ("images.kind", ["folder"], "a text"),
        ("images.expect", 5, "a table"),
        ("images.expect.train", "many", "a whole number"),
        ("backbone", "lite0", "a table"),
        ("backbone.image_size", "64", "a whole number"),
        ("keys.decay", "slow", "a number"),
        ("keys.decay", False, "a number"),
        ("keys.sample", 1.5, "a whole number"),
        ("sweep.classes", "ant", "a list, each a text"),
        ("sweep.classes", [3], "a text"),
        ("sweep.uva.shares", 0.5, "a list, each a number"),
        ("sweep.uve.examples", [1, 2.5], "a whole number"),
        ("sweep.uve.seeds", ["a"], "a whole number"),
    ],
)
def test_a_value_of_another_type_is_refused(dotted, value, expected, spec_file):
    text = refusal(spec_file({dotted: value}))
    assert text.startswith(dotted)
    assert f"expected {expected}" in text


@pytest.mark.parametrize(
    ("dotted", "where", "expected"),
    [
        ("name", "", "a text: up to 100 letters, digits, '.', '_' and '-', a letter or digit first"),
        ("images", "", "a table"),
        ("backbone", "", "a table"),
        ("sweep", "", "a table"),
        (
            "images.kind",
            "images: ",
            'a text: "folder", "webdataset", "parquet", "cifar10", "cifar100", "digits" or the name of an installed '
            "reader",
        ),
        (
            "backbone.library",
            "backbone: ",
            'a text: "timm", "open_clip", "efficientnet-lite" or the name of an installed backbone library',
        ),
        ("backbone.name", "backbone: ", "a text"),
    ],
)
def test_a_missing_key_is_named_with_what_it_takes(dotted, where, expected, spec_file):
    text = refusal(spec_file({dotted: None}))
    assert text == f"{where}key '{dotted.rpartition('.')[2]}' is missing, expected {expected}"


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.toml").write_text("")
    text = refusal(tmp_path / "empty.toml")
    assert text.startswith("4 mistakes\n")
    for key in ("name", "images", "backbone", "sweep"):
        assert f"\n  key '{key}' is missing, expected a " in text


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"sweep.uva.shares": [0.5, 0.2]}, "sweep.uva.shares"),
        ({"sweep.uva.shares": [0.2, 0.2]}, "sweep.uva.shares"),
        ({"sweep.uva.shares": [0, 0.2]}, "sweep.uva.shares"),
        ({"sweep.uva.shares": [-0.1, 0.2]}, "sweep.uva.shares"),
        ({"sweep.uva.shares": [0.5, 1.01]}, "sweep.uva.shares"),
        ({"sweep.uva.shares": []}, "sweep.uva.shares"),
        ({"sweep.uva.shares": None}, "sweep.uva: found no grid, expected exactly one of shares or pairs"),
        ({"sweep.uva.pairs": [3]}, "sweep.uva: found shares and pairs, expected exactly one"),
        ({"sweep.uva.scope": "local"}, "sweep.uva.scope: found 'local'"),
        ({"sweep.uve.examples": [0, 5]}, "sweep.uve.examples"),
        ({"sweep.uve.examples": []}, "sweep.uve.examples"),
        ({"sweep.uve.examples": None}, "sweep.uve: found no grid, expected exactly one of shares or examples"),
        ({"sweep.uve.seeds": []}, "sweep.uve.seeds"),
        ({"sweep.uva": None, "sweep.uve": None}, "sweep: found no method"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(changes, where, spec_file):
    assert refusal(spec_file(changes)).startswith(where)


def test_nan_in_a_grid_is_refused(spec_file):
    path = spec_file()
    path.write_text(path.read_text().replace("[0.2, 0.5, 1.0]", "[0.2, nan]"))
    assert refusal(path).startswith("sweep.uva.shares")


def test_an_image_size_without_measure_is_refused(spec_file):
    assert "backbone.image_size: found 4097, expected a whole number from 32 to 4096" in refusal(
        spec_file({"backbone.image_size": 4097})
    )


@pytest.mark.parametrize("number", ["inf", "-inf", "nan"])
def test_a_float_is_finite(number, spec_file):
    path = spec_file({"values.lr": 2.5})
    path.write_text(path.read_text().replace("2.5", number))
    assert refusal(path) == f"values.lr: found {number}, expected a finite number"


@pytest.mark.parametrize("number", ["1" * 5000, "0x" + "f" * 5000])
def test_a_number_of_thousands_of_digits_is_refused(number, spec_file):
    path = spec_file({"seed": 77})
    path.write_text(path.read_text().replace("77", number))
    assert re.match(r"not valid TOML|seed: found a number of 20000 bits", refusal(path))


def test_a_name_that_is_a_list_is_refused(spec_file, several):
    assert refusal(spec_file({"name": []})).startswith("name: found [], expected a text: up to 100")


def test_a_byte_order_mark_before_a_spec_is_no_part_of_it(spec_file):
    path = spec_file()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_specs(str(path))[0].name == "tiny"
    path.write_bytes(path.read_text(encoding="utf-8-sig").encode("utf-16"))
    assert refusal(path).endswith("write it as UTF-8")


def test_the_nearest_kind_of_images_is_suggested(spec_file):
    assert "did you mean 'folder'?" in refusal(spec_file({"images.kind": "foldr"}))


@pytest.mark.parametrize(
    ("changes", "near"),
    [
        ({"backbone.library": "tim", "backbone.name": "resnet18"}, "timm"),
        ({"backbone.name": "lite9"}, "lite0"),
        ({"backbone.library": "timm", "backbone.name": "resnet180"}, "resnet18"),
        ({"backbone.library": "open_clip", "backbone.name": "ViT-B-33", "backbone.image_size": None}, "ViT-B-32"),
    ],
)
def test_an_unknown_backbone_is_refused_with_the_nearest(changes, near, spec_file):
    text = refusal(spec_file(changes))
    assert re.match(r"backbone(: |\.library: )", text)
    assert near in text


@pytest.mark.parametrize("layer", ["layer2", "layer5"])
def test_a_layer_that_is_not_offered_is_refused(layer, spec_file):
    asked = {"backbone.library": "timm", "backbone.name": "resnet18", "backbone.layer": layer}
    assert refusal(spec_file(asked)).startswith(f'backbone.layer: found \'{layer}\', expected "layer3" or "layer4"')


def test_broken_toml_is_refused_with_the_place(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text('name = "tiny"\n[images\n')
    assert re.match(r"not valid TOML: .*line 2", refusal(path))


def test_a_key_given_twice_is_refused(spec_file):
    path = spec_file()
    path.write_text("seed = 1\nseed = 2\n" + path.read_text())
    assert refusal(path).startswith("not valid TOML")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    assert refusal(tmp_path / "absent.toml").startswith("neither a file nor a shipped spec")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    assert refusal(path).startswith("cannot be read")


def test_a_folder_is_refused(tmp_path):
    path = tmp_path / "folder.toml"
    path.mkdir()
    assert refusal(path).startswith("neither a file nor a shipped spec")


def test_an_unknown_name_is_refused_with_the_nearest():
    text = refusal("cifar11")
    assert text.startswith("neither a file nor a shipped spec; did you mean 'cifar10'?")
    for name in shipped():
        assert name in text


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_spec(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_specs("digits")[0].name == "digits"


def test_a_file_need_not_end_in_toml(spec_file, tmp_path):
    path = tmp_path / "plain"
    path.write_text(spec_file().read_text())
    assert load_specs(str(path))[0].name == "tiny"


def test_a_table_is_built_into_the_same_spec_as_its_file(spec_file, asks):
    assert build(Spec, asks(), "") == load_specs(str(spec_file()))[0]


def test_nothing_is_suggested_for_what_is_like_nothing():
    assert nearest("zzzz", ["seed", "name"]) == ""
    assert nearest("sead", ["seed", "name"]) == "; did you mean 'seed'?"


# Several experiments in a spec.


@pytest.fixture
def several(tmp_path, asks, as_toml):
    """The tiny spec as a file, with what is written below it."""

    def write(more):
        path = tmp_path / "several.toml"
        path.write_text(f"{as_toml(asks())}\n{more}", encoding="utf-8")
        return path

    return write


def test_each_experiment_is_the_spec_with_some_keys_set_anew(several, make_spec):
    path = several("""
        [[experiments]]
        name = "small"
        bottleneck = { m = 7 }
        [[experiments]]
        name = "one"
        seed = 3
        [experiments.sweep]
        classes = ["ant"]
        uve = { seeds = [5] }
    """)
    small, one = load_specs(str(path))
    assert small == make_spec({"name": "tiny-small", "bottleneck.m": 7})
    changes = {"name": "tiny-one", "seed": 3, "sweep.classes": ["ant"], "sweep.uve.seeds": [5]}
    assert one == make_spec(changes)


def test_a_spec_without_experiments_is_one(spec_file):
    assert [spec.name for spec in load_specs(str(spec_file()))] == ["tiny"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("[[experiments]]\nseed = 3", "experiments[0]: key 'name' is missing, expected a text"),
        ("[[experiments]]\nname = 7", "experiments[0]: key 'name' is missing, expected a text"),
        ("[experiments]\nname = 'a'", "experiments: expected tables, each headed [[experiments]]"),
        (
            "[[experiments]]\nname = 'a'\n[[experiments]]\nname = 'a'",
            "experiments: found the names ['tiny-a', 'tiny-a']",
        ),
        ("[[experiments]]\nname = 'a/b'", "experiments[0]: name: found 'tiny-a/b', expected up to 100 letters"),
        (
            "[[experiments]]\nname = 'a'\n[[experiments]]\nname = 'b'\nkeys = { epoch = 3 }",
            "experiments[1]: keys: unknown key 'epoch'; did you mean 'epochs'?",
        ),
        ("[[experiments]]\nname = 'a'\nseeds = 3", "experiments[0]: unknown key 'seeds'; did you mean 'seed'?"),
        ("[[experiments]]\nname = 'a'\nkeys = 3", "experiments[0]: keys: found 3, expected a table"),
        ("[[experiments]]\nname = 'a'\n[[experiments.experiments]]\nname = 'b'", "unknown key 'experiments'"),
    ],
)
def test_a_mistake_in_an_experiment_is_told_with_its_place(more, expected, several):
    with pytest.raises(BadSpec) as caught:
        load_specs(str(several(more)))
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", shipped())
def test_a_spec_travels_as_a_table(name):
    for spec in load_specs(name):
        assert build(Spec, json.loads(json.dumps(as_table(spec))), "") == spec
