"""The base, installed without extras: it runs, serves, asks and unlearns without Ray, and says what is missing."""

import json
import shutil
from pathlib import Path

import pytest

from jobs.queue.files import add
from tests.base_environment import Environment, base_environment
from tests.jobs.queue.waiting import assignment

EXTRAS = ("cryptography", "duckdb", "gcsfs", "jinja2", "jsonschema", "matplotlib", "psutil", "ray", "s3fs", "xarray")

LOOK = """
from importlib.util import find_spec
import sys
print(*[name for name in sys.argv[1:] if find_spec(name)])
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """An environment with the base alone."""
    return base_environment(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def root(finished, tmp_path_factory):
    """A finished root that the tests of this module may add requests to."""
    return Path(shutil.copytree(finished.root, tmp_path_factory.mktemp("own") / "root"))


def test_the_environment_has_the_base_and_nothing_that_an_extra_brings(base):
    here = ("click", "dkvb", "jobs", "numba", "polars", "timm", "torch", "zarr")
    ended = base.run("-c", LOOK, *here, *EXTRAS)
    assert set(ended.out.split()) >= {*here}, ended.err
    # Libraries of the base may need some of these themselves; Ray, and what reaches a cluster or a store, never.
    assert not set(ended.out.split()) & {"ray", "s3fs", "gcsfs", "jsonschema", "duckdb", "cryptography"}


def test_a_run_is_one_process_says_so_and_makes_what_ray_makes(base, spec_file, images, tmp_path, finished, unlike):
    words = ("run", spec_file(), "--root", tmp_path / "root", "--images", images)
    ended = base.dkvb(*words)
    assert ended.code == 0, ended.err
    note = "note: without Ray, one unit after the other in this process; several at once: pip install "
    assert f"{note}'dkvb-unlearning[cluster]'" in ended.err
    assert "tiny: train accuracy" in ended.out
    assert unlike(tmp_path / "root", finished.root) == []
    again = base.dkvb(*words, "--workers", "2")
    assert again.code == 0, "nothing is left to do, so nothing needs Ray"
    assert "note: without Ray" not in again.err


def test_a_request_is_made_measured_verified_and_logged(base, root):
    ended = base.dkvb("unlearn", root, "--class", "cat", "--json")
    assert ended.code == 0, ended.err
    done = json.loads(ended.out)
    assert Path(done["checkpoint"]).is_file()
    assert base.dkvb("unlearn", root, "--class", "ant", "--method", "uve", "--mask-only").code == 0
    assert "train" in base.dkvb("measure", root, "--mask", done["mask"]).out
    verified = base.dkvb("verify", Path(done["mask"]).with_name("certificate.json"))
    assert (verified.code, "FAILS" in verified.out) == (0, False), verified.err
    assert "cat" in base.dkvb("log", root).out


@pytest.mark.parametrize(
    "words",
    [
        ("query", "ROOT", "keys", "cat"),
        ("query", "ROOT", "why", "ant", "--forgot", "bee"),
        ("query", "ROOT", "item", "test:cat/1000.png"),
        ("table", "ROOT", "--table", "classes"),
        ("status", "ROOT", "--verify"),
        ("diff", "ROOT", "ROOT"),
        ("plan", "digits"),
        ("jobs", "list", "--offline", "--queue", "QUEUE"),
        ("--help",),
    ],
    ids=" ".join,
)
def test_what_asks_needs_no_extra(words, base, root, tmp_path):
    add(tmp_path / "queue", assignment())
    ended = base.dkvb(*({"ROOT": root, "QUEUE": tmp_path / "queue"}.get(word, word) for word in words))
    assert ended.code == 0, ended.err
    assert ended.out
    assert "Ray" not in ended.err


SERVE = """
import sys
import dkvb
import torch
from dkvb.torch import load

study = dkvb.open(sys.argv[1])
done = study.unlearn("cat")
model, whole = load(done["checkpoint"]), load(sys.argv[2])
z = torch.randn(7, len(whole.projection[0]))
assert torch.equal(whole.mask(done["mask"])(z), model(z))
assert not torch.equal(whole(z), model(z))
print(study.query.keys("ant", limit=3).height, "ray" in sys.modules)
"""


def test_python_opens_a_root_unlearns_and_serves_with_a_mask(base, root, finished):
    whole = finished.artefact("values").path / "bottleneck.safetensors"
    ended = base.run("-c", SERVE, root, whole)
    assert ended.code == 0, ended.err
    assert ended.out.split() == ["3", "False"]


NEEDS = {
    ("run", "digits", "--root", "new", "--workers", "2"): "cluster",
    ("run", "digits", "--root", "new", "--address", "127.0.0.1:6379"): "cluster",
    ("submit", "digits", "--root", "new", "--address", "auto"): "cluster",
    ("cluster", "render"): "cluster",
    ("cluster", "check", "FILE"): "cluster",
    ("status", "s3://bucket/root"): "s3",
    ("status", "gs://bucket/root"): "gcs",
    ("run", "cifar10", "--root", "new", "--images", "s3://bucket/images"): "s3",
    ("unlearn", "ROOT", "--class", "bee", "--mask-only", "--sign", "key.pem"): "sign",
    ("query", "ROOT", "sql", "select 1"): "sql",
    ("figure", "ROOT", "--kind", "along"): "report",
    ("report", "ROOT", "--tensorboard", "logs"): "tensorboard",
}


@pytest.mark.parametrize("words", NEEDS, ids=" ".join)
def test_what_needs_an_extra_says_which(words, base: Environment, root, tmp_path):
    file = tmp_path / "file.yaml"
    file.write_text("cluster_name: a\n")
    ended = base.dkvb(*({"ROOT": root, "FILE": file}.get(word, word) for word in words))
    assert ended.code == 2
    assert ended.out == ""
    assert f"pip install 'dkvb-unlearning[{NEEDS[words]}]'" in ended.err
    assert "Traceback" not in ended.err
    assert ended.err.count("\n") == 1 or ended.err.startswith("Usage: ")
