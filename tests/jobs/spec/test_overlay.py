"""Changes of a spec by dotted keys: read, made on the table, checked like the file, recorded with the run."""

import pytest

from jobs.errors import BadSpec
from jobs.spec.overlay import overlaid, read
from jobs.spec.reading import load_specs
from tests.tiny import TINY, changed


@pytest.mark.parametrize(
    ("change", "keys", "value"),
    [
        ("seed=3", ["seed"], 3),
        (" keys.sample = 5_000 ", ["keys", "sample"], 5000),
        ("values.lr=0.5", ["values", "lr"], 0.5),
        ("sweep.each=false", ["sweep", "each"], False),
        ('name="a=b"', ["name"], "a=b"),
        ("images.on_error=skip", ["images", "on_error"], "skip"),
        ("backbone.name=ViT-B-32-quickgelu", ["backbone", "name"], "ViT-B-32-quickgelu"),
        ("images.train=data/train-*.parquet", ["images", "train"], "data/train-*.parquet"),
        ('sweep.classes=["cat", "dog"]', ["sweep", "classes"], ["cat", "dog"]),
        ("images.expect={ train = 7 }", ["images", "expect"], {"train": 7}),
        ('compare.proxies."my cat"=lynx', ["compare", "proxies", "my cat"], "lynx"),
        ("images.train=''", ["images", "train"], ""),
    ],
)
def test_a_change_is_a_key_and_a_value_of_toml_or_a_text_without_quotes(change, keys, value):
    assert read(change) == (keys, value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("seed", "found no value"),
        ("seed=", "found no value"),
        ("=3", "is no key"),
        ("a b=3", "is no key"),
        ("a..b=3", "is no key"),
        ("seed=3\nname='x'", "more than one value"),
        ("a=1\nb=3", "more than one value"),
        ("sweep.classes=[cat, dog]", "in double quotes"),
        ("images.expect={train: 7}", "not valid TOML"),
        ('name="open', "not valid TOML"),
        ("a\nb=3", "is no key"),
    ],
)
def test_what_is_no_change_is_refused_with_an_example(change, said):
    with pytest.raises(BadSpec) as caught:
        read(change)
    assert str(caught.value).startswith(f"--set {change}: ")
    assert said in str(caught.value)


def test_a_table_is_changed_in_a_copy_and_the_last_change_of_a_key_holds():
    table = {"seed": 0, "keys": {"epochs": 2}}
    made = overlaid(table, ["seed=1", "keys.sample=5", "values.epochs=9", "seed=2"])
    assert made == {"seed": 2, "keys": {"epochs": 2, "sample": 5}, "values": {"epochs": 9}}
    assert table == {"seed": 0, "keys": {"epochs": 2}}


def test_a_key_below_what_is_no_table_is_refused():
    with pytest.raises(BadSpec, match=r"--set seed\.x=1: seed is 0 in the spec, expected a table"):
        overlaid({"seed": 0}, ["seed.x=1"])


def test_a_change_that_an_experiment_would_take_back_is_refused(spec_file):
    path = spec_file()
    path.write_text(path.read_text() + '\n[[experiments]]\nname = "b"\nkeys.epochs = 5\n')
    assert [spec.values.epochs for spec in load_specs(str(path), ["values.epochs=3"])] == [3]
    with pytest.raises(BadSpec, match=r"the experiment 'b' sets keys\.epochs itself, to 5"):
        load_specs(str(path), ["keys.epochs=1"])
    assert [spec.name for spec in load_specs(str(path), ["name=other"])] == ["other-b"]


def test_a_changed_spec_is_the_one_whose_file_says_so(spec_file, as_toml, tmp_path):
    same = tmp_path / "same.toml"
    same.write_text(as_toml(changed(TINY, {"keys.epochs": 3, "bottleneck.m": 17})))
    assert load_specs(str(spec_file()), ["keys.epochs=3", "bottleneck.m=17"]) == load_specs(str(same))


def test_a_change_is_checked_as_the_file_is_and_named(spec_file):
    path = spec_file()
    for change, said in (
        ("keys.epoch=3", "keys: unknown key 'epoch'; did you mean 'epochs'?"),
        ("seed=many", "seed: found 'many', expected a whole number"),
        ("bottleneck.m=0", "bottleneck.m: found 0, expected a whole number from 1 to"),
    ):
        with pytest.raises(BadSpec) as caught:
            load_specs(str(path), [change])
        assert str(caught.value).startswith(f"{path} with --set {change}: ")
        assert said in str(caught.value)
