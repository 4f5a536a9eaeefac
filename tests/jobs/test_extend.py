"""Extensions of another distribution, really installed: those of docs/extend.md, newer ones, and bad ones."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise

import polars as pl
import pytest
import torch

from dkvb import extensions
from dkvb.backbones import BackboneSpec, embed, load_backbone
from dkvb.errors import BackboneSpecError, ExtensionFailed, ExtensionMissing
from dkvb.extensions import releases
from dkvb.recorded import backbone_of
from jobs.comparison.extended import Extended
from jobs.comparison.methods import ForgetItems
from jobs.errors import BadSpec, StepFailed
from jobs.plan.plan import make_plan
from jobs.results import compare_tables
from tests.dkvb.models import batch
from tests.docs.blocks import blocks
from tests.extension import install
from tests.jobs.comparison import small
from tests.jobs.comparison.small import HITS, OTHERS
from tests.paths import REPOSITORY
from tests.tiny import TINY, changed, toml

PAGE = [block for block in blocks(REPOSITORY / "docs" / "extend.md") if block.language != "console"]
PYPROJECT, METHODS, COMPARE, BACKBONES, BACKBONE, *_ = PAGE
PROJECT = tomllib.loads(PYPROJECT.text)["project"]
POINTS = PROJECT["entry-points"]
MODULES = {"lab_methods": METHODS.text, "lab_backbones": BACKBONES.text}

ASKED = {
    "backbone": None,
    **{f"backbone.{key}": value for key, value in tomllib.loads(BACKBONE.text)["backbone"].items()},
    "compare.methods": tomllib.loads(COMPARE.text)["compare"]["methods"],
    "compare.seeds": [0],
    "compare.classes": ["ant", "bee"],
    "compare.trials": 2,
    "compare.tuning_classes": 2,
    "compare.oracle_kv": [],
    "compare.lira_heads": 0,
}


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Install a distribution, for this process and those that it starts."""
    before = set(sys.modules)

    def do(points=POINTS, modules=MODULES, *, version=PROJECT["version"], name=PROJECT["name"]):
        folder = tmp_path / f"{name}-{version}"
        shutil.rmtree(folder, ignore_errors=True)
        for module in modules:
            sys.modules.pop(module, None)
        monkeypatch.syspath_prepend(install(folder, name, version, points, modules))
        monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{REPOSITORY}")
        return folder

    yield do
    for module in set(sys.modules) - before:
        if module.startswith("lab_"):
            del sys.modules[module]


def one(put, source, *, group=extensions.METHODS):
    """A distribution with one extension, "odd", which is what the source calls `odd`; of methods, loaded."""
    put(
        {group: {"odd": "lab_odd" if group == extensions.BACKBONES else "lab_odd:odd"}}, {"lab_odd": source}, name="odd"
    )
    return Extended.of(releases(extensions.METHODS, ["odd"])) if group == extensions.METHODS else None


# The examples of the page.


@pytest.mark.slow
def test_the_comparison_takes_up_the_methods_of_the_page_on_its_backbone(put, run_tiny, images, tmp_path):
    put()
    made = run_tiny(tmp_path / "root", images, ASKED)
    table = compare_tables.compare_table(made).select("head", "method", "chosen by", "runs", "ToW").to_dicts()
    found = {(row["head"], row["method"]): row for row in table}
    assert {key for key in found if key[1] in ("ascent", "rare")} == {
        ("linear", "ascent"),
        ("values", "ascent"),
        ("values", "rare"),
    }
    assert found["values", "ascent"]["chosen by"] == found["values", "scrub"]["chosen by"]
    assert found["values", "rare"]["chosen by"] == found["values", "uva"]["chosen by"]
    attacked = pl.read_parquet(made.root / "compare" / made.steps["compare"] / "attacks.parquet")
    assert {"ascent", "rare"} < set(attacked.filter(pl.col("attack").str.starts_with("recovery"))["method"])
    asked = json.loads((made.root / "compare" / made.steps["compare"] / "spec.json").read_text())["spec"]
    assert asked["extensions"] == {"ascent": "lab-unlearning 1.2.0", "rare": "lab-unlearning 1.2.0"}
    tried = json.loads((made.root / "tuning" / made.steps["tuning[extensions]"] / "spec.json").read_text())["spec"]
    assert tried["extensions"] == {"ascent": "lab-unlearning 1.2.0"}


def test_the_backbone_of_the_page_embeds_and_is_loaded_from_what_a_checkpoint_records(put):
    put()
    spec = BackboneSpec(library="thumbnails", name="grey")
    backbone = load_backbone(spec)
    z = embed(backbone, batch(backbone, 3))
    assert (z.shape, backbone.d_z, backbone.facts["extension"]) == ((3, 64), 64, "lab-unlearning 1.2.0")
    assert backbone.facts["resize"] == [8, 8]
    again = backbone_of({"backbone": backbone.facts})
    assert torch.equal(embed(again, batch(again, 3)), z)
    put(version="1.3.0")
    with pytest.raises(Exception, match=r"extension 'lab-unlearning 1.3.0', expected 'lab-unlearning 1.2.0'"):
        backbone_of({"backbone": backbone.facts})


# Digests.


def test_a_version_changes_the_digests_of_what_it_computes_and_no_others(put, make_spec, images):
    methods_alone = {key: value for key, value in ASKED.items() if not key.startswith("backbone")}
    without = make_plan(make_spec(methods_alone | {"compare.methods": None}), str(images))
    put()
    first = make_plan(make_spec(methods_alone), str(images))
    put(version="1.2.1")
    second = make_plan(make_spec(methods_alone), str(images))
    digests = [{step.label: step.digest for step in plan.steps} for plan in (without, first, second)]
    assert set(digests[1]) - set(digests[0]) == {"tuning[extensions]"}
    differ = [{label for label in one if one[label] != other.get(label)} for one, other in pairwise(digests)]
    assert differ == [{"compare"}, {"compare", "tuning[extensions]"}]


def test_a_version_of_a_backbone_changes_all_that_follows_from_its_embeddings(put, make_spec, images):
    digests = []
    for version in ("1.2.0", "1.2.1"):
        put(version=version)
        steps = make_plan(make_spec(ASKED | {"compare": None}), str(images)).steps
        digests.append({step.label: step.digest for step in steps})
    same = {label for label, digest in digests[0].items() if digests[1][label] == digest}
    assert same == {"manifest[train]", "manifest[test]"}


# What a worker has.


def test_a_worker_without_the_planned_version_says_which_it_has(put, monkeypatch):
    folder = put()
    planned = releases(extensions.METHODS, ["ascent"])
    put(version="1.3.0")
    with pytest.raises(
        ExtensionMissing, match=r"^method 'ascent' of lab-unlearning 1.2.0: found lab-unlearning 1.3.0 where"
    ):
        Extended.of(planned)
    monkeypatch.setattr(sys, "path", [part for part in sys.path if str(folder.parent) not in part])
    with pytest.raises(
        ExtensionMissing, match=r"^method 'ascent' of lab-unlearning 1.2.0: not installed where .*install"
    ):
        Extended.of(planned)


# Names.


def test_an_unknown_name_says_what_is_installed_and_what_is_near(put, make_spec):
    put()
    with pytest.raises(BadSpec) as caught:
        make_spec({"compare.methods": ["ascend"]})
    assert str(caught.value) == (
        "compare.methods[0]: found 'ascend', expected an installed method ('ascent' of lab-unlearning 1.2.0, "
        "'rare' of lab-unlearning 1.2.0); did you mean 'ascent'?"
    )
    with pytest.raises(BadSpec, match=r"or an installed backbone library .*did you mean 'thumbnails'"):
        make_spec({"backbone.library": "thumbnail"})
    with pytest.raises(BackboneSpecError, match="name = 'rbg' is unknown; the nearest known: rgb"):
        BackboneSpec(library="thumbnails", name="rbg")
    with pytest.raises(BackboneSpecError, match="only timm ResNets"):
        BackboneSpec(library="thumbnails", name="rgb", layer="layer3")


def test_without_any_distribution_the_message_names_the_group(make_spec):
    with pytest.raises(
        BadSpec, match=r"expected an installed method \(no distribution here has entry points 'dkvb.met"
    ):
        make_spec({"compare.methods": ["ascent"]})


def test_two_distributions_with_one_name_are_told_apart_by_no_guess(put, make_spec):
    put()
    put(name="other-lab", version="3")
    with pytest.raises(BadSpec, match=r"is given by other-lab 3 and by lab-unlearning 1.2.0; uninstall one"):
        make_spec({"compare.methods": ["ascent"]})


def test_nothing_is_imported_unless_a_spec_names_it(put, make_spec, images):
    put({group: dict.fromkeys(some, "lab_broken") for group, some in POINTS.items()}, {"lab_broken": "1 / 0"})
    assert make_plan(make_spec(), str(images)).steps
    spec = make_spec({key: value for key, value in ASKED.items() if not key.startswith("backbone")})
    assert "lab_broken" not in sys.modules
    with pytest.raises(
        ExtensionFailed, match=r"^method 'ascent' of lab-unlearning 1.2.0: ZeroDivisionError: division by"
    ):
        make_plan(spec, str(images))


# Mistakes of methods.

BASELINE = """
from dataclasses import dataclass
import torch
from dkvb.baselines import Baseline

@dataclass(frozen=True)
class Odd(Baseline):
    def unlearn(self, task, *, seed, important=None):
        {unlearn}
    def trials(self, count, *, decades, codebooks):
        {trials}
    def flops(self, item, **more):
        return item

odd = Odd()
"""


@pytest.mark.parametrize(
    ("unlearn", "said"),
    [
        ("yield 1 / 0", r"ZeroDivisionError: division by zero \(lab_odd.py:9\)$"),
        (
            "yield task.weights.double()",
            r"unlearn: found weights \(6, 3\) torch.float64 after epoch 1, expected finite \(6",
        ),
        ("yield task.weights[1:]", r"found weights \(5, 3\) torch.float32"),
        ("yield task.weights / 0", r"expected finite \(6, 3\) torch.float32"),
        ("return []", r"found weights None after epoch 1"),
        ("return None", r"TypeError: 'NoneType' object is not iterable"),
    ],
)
def test_a_baseline_that_goes_wrong_is_named_in_one_line(unlearn, said, put):
    (method,) = one(put, BASELINE.format(unlearn=unlearn, trials="return [self] * count")).gradient
    head = small.head()
    request = head.forget_task(torch.tensor([0, 3]))
    with pytest.raises(ExtensionFailed, match=said) as caught:
        list(method.unlearn(method.baseline, request, seed=0))
    assert str(caught.value).startswith("method 'odd' of odd 1.2.0: ")
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value), "a worker's error travels"


def test_what_a_baseline_changes_in_place_is_its_own(put):
    spoil = "for _ in range(2): task.weights.add_(1); yield task.weights"
    (method,) = one(put, BASELINE.format(unlearn=spoil, trials="return [self] * count")).gradient
    head = small.head()
    before = head.weights.clone()
    epochs = list(method.unlearn(method.baseline, head.forget_task(torch.tensor([0, 3])), seed=0))
    assert torch.equal(head.weights, before)
    assert [torch.equal(weights, before + i) for i, weights in enumerate(epochs, start=1)] == [True, True]


@pytest.mark.parametrize("trials", ["return [self]", "return [1, 2]", "return None"])
def test_trials_that_are_none_are_named(trials, put):
    (method,) = one(put, BASELINE.format(unlearn="yield task.weights", trials=trials)).gradient
    with pytest.raises(ExtensionFailed, match=r"^method 'odd' of odd 1.2.0: "):
        method.trials(small.head(), 2)


ITEMS = ForgetItems(codes=small.by_split([[0, 0]], [])["train"].numpy(), hits=HITS, others=OTHERS, seed=0)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("items.nothing", r"AttributeError: .*nothing.* \(lab_odd.py:3\)"),
        ("items.hits", r"found a ndarray, expected a dkvb.orders.RemovalOrder"),
        (
            "replace(good(items), position=items.hits[1:])",
            r"order.position: found \(1, 3\) int64, expected \(2, 3\) int64",
        ),
        ("replace(good(items), hits=items.hits / 2)", r"order.hits: found \(2, 3\) float64, expected \(2, 3\) int64"),
        ("replace(good(items), available=7)", r"7 available, expected places from 0 on, and from 0 to 6 available"),
        ("replace(good(items), position=items.hits - 9)", r"found places from -\d on"),
    ],
)
def test_a_ranking_that_goes_wrong_is_named_in_one_line(body, said, put):
    head = "from dataclasses import replace; from dkvb.orders import by_activation\n"
    source = f"{head}good = lambda items: by_activation(items.hits)\nodd = lambda items: {body}\n"
    (method,) = one(put, source).masks
    with pytest.raises(ExtensionFailed, match=said) as caught:
        method.order(ITEMS)
    assert str(caught.value).startswith("method 'odd' of odd 1.2.0: ")


def test_what_is_no_method_and_a_name_of_our_own_are_refused(put):
    with pytest.raises(ExtensionFailed, match="found 7, expected an instance of a dataclass"):
        one(put, "odd = 7")
    put({extensions.METHODS: {"scrub": "lab_odd:odd"}}, {"lab_odd": "odd = print"})
    with pytest.raises(ExtensionFailed, match="the name of a method of our own"):
        Extended.of(releases(extensions.METHODS, ["scrub"]))


@pytest.mark.slow
def test_a_failing_method_ends_a_run_in_one_line_and_keeps_what_is_done(put, run_tiny, own, images):
    put(
        {extensions.METHODS: {"odd": "lab_odd:odd"}},
        {"lab_odd": "def odd(items):\n    raise KeyError('cat')\n"},
        name="odd",
    )
    asked = {key: value for key, value in ASKED.items() if not key.startswith("backbone")}
    with pytest.raises(StepFailed) as caught:
        run_tiny(own.root, images, asked | {"compare.methods": ["odd"]})
    assert "method 'odd' of odd 1.2.0: KeyError: 'cat' (lab_odd.py:2)" in str(caught.value)
    assert "Traceback" not in str(caught.value)


# Mistakes of backbones.

MODULE = """
import torch
names = ("a",)
def width(name):
    return {width}
def load(name, *, weights, image_size):
    return {load}
class Fails(torch.nn.Module):
    def forward(self, images):
        {forward}
def pixels(image):
    return torch.zeros(3, 5, 7)
"""
GOOD = {"width": "105", "load": "Fails(), pixels", "forward": "return images.flatten(1)"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"forward": "return images.missing"}, r"AttributeError: .*missing.* \(lab_odd.py:10\)"),
        (
            {"forward": "return images"},
            r"embeddings: found \(1, 3, 5, 7\) torch.float32, expected \(1, 105\) torch.float32",
        ),
        ({"width": "104"}, r"embeddings: found \(1, 105\) torch.float32, expected \(1, 104\)"),
        ({"forward": "return images.flatten(1).long()"}, r"embeddings: found \(1, 105\) torch.int64"),
        ({"width": "None"}, r"width\('a'\): found None, expected a whole number"),
        ({"load": "Fails()"}, r"load\('a'\): found a Fails, expected \(torch.nn.Module, transform\)"),
        (
            {"load": "Fails(), lambda image: torch.zeros(5, 7)"},
            r"transform: found \(5, 7\) torch.float32, expected \(3, h, w\)",
        ),
        ({"load": "open('weights')"}, r"FileNotFoundError: .*weights"),
    ],
)
def test_a_backbone_that_goes_wrong_is_named_in_one_line(wrong, said, put):
    one(put, MODULE.format(**GOOD), group=extensions.BACKBONES)
    assert load_backbone(BackboneSpec(library="odd", name="a")).d_z == 105
    one(put, MODULE.format(**GOOD | wrong), group=extensions.BACKBONES)
    with pytest.raises(ExtensionFailed, match=said) as caught:
        load_backbone(BackboneSpec(library="odd", name="a"))
    assert str(caught.value).startswith("backbone library 'odd' of odd 1.2.0: ")


# The command.


def test_the_command_plans_with_what_pythonpath_holds(put, images, tmp_path):
    put()
    spec = tmp_path / "spec.toml"
    spec.write_text(toml(changed(TINY, ASKED)))
    words = [sys.executable, "-P", "-m", "jobs.cli", "plan", str(spec), "--images", str(images)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "tuning[extensions]" in ended.stdout
