"""The JSON Schema and docs/spec.md: as the spec's classes are now, and good for what an editor does with them."""

import re
import tomllib
from typing import Any

import jsonschema
import pytest

from jobs.errors import BadSpec
from jobs.spec.library import SHIPPED, shipped
from jobs.spec.mistakes import SCHEMA, schema, words
from jobs.spec.reading import build, load_specs
from jobs.spec.schema import Spec
from tests.extension import install
from tests.paths import REPOSITORY
from tests.spec_pages import EXAMPLES, LIKE, schema_text
from tests.tiny import changed

GOES_WITH: dict[str, dict[str, Any]] = {
    "backbone.library": {"backbone.name": "resnet18", "backbone.image_size": None},
    "backbone.name": {"backbone.library": "timm"},
    "backbone.weights": {"backbone.library": "timm", "backbone.name": "resnet18"},
    "backbone.layer": {"backbone.library": "timm", "backbone.name": "resnet18"},
    "images.train": {"images.kind": "webdataset"},
    "images.classes": {"images.kind": "webdataset"},
    "images.image": {"images.kind": "parquet"},
    "images.label": {"images.kind": "parquet"},
    "keys.method": {"keys.epochs": None, "keys.batch": None},
    "values.method": {"values.epochs": None},
    "values.shrinkage": {"values.epochs": None, "values.method": "lda"},
    "linear.method": {"linear.epochs": None},
    "linear.shrinkage": {"linear.epochs": None, "linear.method": "lda"},
    "linear.bits": {"linear.epochs": None, "linear.method": "lda"},
    "sweep.each": {"sweep.sizes": [1]},
    "sweep.draws": {"sweep.sizes": [1]},
    "sweep.set_seed": {"sweep.sizes": [1]},
    "sweep.uva.pairs": {"sweep.uva.shares": None, "bottleneck.m": 1000},
    "sweep.uve.shares": {"sweep.uve.examples": None},
}
"""What else a spec says where a key is used."""


def leaves(node, way=""):
    """Dotted keys that hold values, with what each may be."""
    for key, one in node["properties"].items():
        if key == "experiments":
            continue
        if "properties" in one:
            yield from leaves(one, f"{way}{key}.")
        else:
            yield f"{way}{key}", one


KEYS = dict(leaves(schema()))


def valid(table) -> bool:
    jsonschema.Draft7Validator.check_schema(schema())
    return jsonschema.Draft7Validator(schema()).is_valid(table)


def test_the_schema_is_made_of_the_classes_as_they_are():
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), "write it anew: python -m tests.pages"


@pytest.mark.parametrize("name", shipped())
def test_an_editor_takes_every_shipped_spec(name):
    assert valid(tomllib.loads((SHIPPED / f"{name}.toml").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "changes",
    [
        {"nmae": "x"},
        {"images.knid": "folder"},
        {"images.decode": "pill"},
        {"images.kind": ""},
        {"images.kind": None},
        {"images": None},
        {"images.expect": {"trian": 3}},
        {"name": "a/b"},
        {"seed": "0"},
        {"keys.decay": 1.5},
        {"values.lr": 0},
        {"linear.bits": 25},
        {"sweep.uva.shares": [0.5, 0.5]},
        {"sweep.uva.shares": [0.5, 1.5]},
        {"sweep.sizes": ["hal"]},
        {"sweep.sets": [[]]},
        {"compare.heads": ["lda"]},
        {"compare.lira_heads": -1},
        {"experiments": [{"seed": 1}]},
        {"experiments": [{"name": "a", "images": {"knid": "folder"}}]},
    ],
)
def test_an_editor_marks_what_dkvb_refuses(changes, asks, as_toml, tmp_path):
    assert valid(asks())
    assert not valid(asks(changes))
    if "experiments" not in changes:
        with pytest.raises(BadSpec):
            build(Spec, asks(changes), "")


def test_an_editor_leaves_to_experiments_what_the_spec_does_not_say(asks):
    assert valid(asks({"backbone.name": None, "experiments": [{"name": "a", "backbone": {"name": "lite0"}}]}))
    assert not valid(asks({"backbone.name": None}))
    assert valid(asks({"name": None, "experiments": [{"name": "a"}]}))


@pytest.mark.parametrize("dotted", [*KEYS])
def test_every_key_says_what_it_takes_means_and_looks_like(dotted):
    node = KEYS[dotted]
    assert re.match(r"[A-Z\"\[]|timm|open_clip|c \*|folder,", node["description"]), node["description"]
    assert words(node)
    assert "None" not in node["description"], "a spec has no None"
    if dotted != "linear.decay":  # of [values] alone
        assert len(node["examples"]) == 1


def examples():
    """Every key with its example, as [linear] and [other] have those of other tables."""
    for dotted, node in KEYS.items():
        if "examples" in node and not dotted.startswith("other."):
            yield dotted, node["examples"][0]


@pytest.mark.parametrize(("dotted", "example"), [*examples()])
def test_an_example_is_right_and_says_another_thing_than_the_default(dotted, example, asks, tmp_path, monkeypatch):
    points = {"dkvb.methods": {"ascent": "lab:ascent"}, "dkvb.metrics": {"agreement": "lab:agreement"}}
    monkeypatch.syspath_prepend(install(tmp_path, "lab", "1", points, {}))
    goes_with = GOES_WITH.get(dotted) or GOES_WITH.get(dotted.replace("linear.", "values."), {})
    around = changed(asks({"backbone.image_size": None} if "backbone.name" in goes_with else {}), goes_with)
    spec = build(Spec, changed(around, {dotted: example}), "")
    read: Any = spec
    for key in dotted.split("."):
        read = getattr(read, key)
    assert read == example
    assert example != KEYS[dotted].get("default")


def test_no_example_is_left_over():
    like = {
        f"{to}{dotted.removeprefix(start)}" for to, start in LIKE for dotted in EXAMPLES if dotted.startswith(start)
    }
    assert {*EXAMPLES, *like} - {*KEYS, "experiments"} <= like


def blocks() -> list[str]:
    return re.findall(r"```toml\n(.*?)```", (REPOSITORY / "docs" / "spec.md").read_text(encoding="utf-8"), flags=re.S)


def test_the_spec_of_the_page_is_one(tmp_path):
    (shortest,) = [block for block in blocks() if "[sweep.uva]" in block]
    (more,) = [block for block in blocks() if "[[experiments]]" in block]
    (tmp_path / "mine.toml").write_text(f"{shortest}\n{more}", encoding="utf-8")
    one, other = load_specs(str(tmp_path / "mine.toml"))
    assert (one.name, one.seed, other.name, other.bottleneck.m) == ("mine-seed1", 1, "mine-small", 256)
    for block in blocks():
        tomllib.loads(block)


def test_the_mistakes_of_the_page_are_told_so(tmp_path, asks, as_toml):
    page = (REPOSITORY / "docs" / "spec.md").read_text(encoding="utf-8")
    changes = {"images.kind": "foldr", "images.shard_items": None, "images.shard_item": 11, "keys.epochs": -1}
    (tmp_path / "mine.toml").write_text(as_toml(asks({**changes, "sweep.uva.shares": [0.5, 0.2]})), encoding="utf-8")
    with pytest.raises(BadSpec) as caught:
        load_specs(str(tmp_path / "mine.toml"))
    for line in str(caught.value).split("\n")[1:]:
        assert line.partition(": ")[2] in page
