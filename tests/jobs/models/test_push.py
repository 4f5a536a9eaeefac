"""Pushing to a hub and loading from it, by the real client over HTTP; the far end is tests/hub.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.models.export import Wanted, export
from jobs.unlearn import Request, unlearn
from store import arrays
from tests.hub import local_hub

REPOSITORY = "my-lab/bee-free"


@pytest.fixture(scope="module")
def hub():
    with local_hub() as made:
        yield made


@pytest.fixture
def folders(own, tmp_path):
    """A model as it was trained, and one that has forgotten."""
    export(own, tmp_path / "whole", Wanted())
    made = unlearn(own, Request(classes=["bee"]), measured=False)
    export(own, tmp_path / "bee-free", Wanted(request=Path(made.mask).parent.name))
    return tmp_path / "whole", tmp_path / "bee-free"


@pytest.fixture
def do(hub, tmp_path):
    """`dkvb ...`, or a program, in a process of its own that finds the hub."""

    def run(*words, code=None, token=None, endpoint=None):
        environment = {**os.environ, **hub.environment(tmp_path / "hf", **({"token": token} if token else {}))}
        if endpoint:
            environment["HF_ENDPOINT"] = endpoint
        begin = ["-c", code] if code else ["-m", "jobs.cli"]
        line = [sys.executable, *begin, *map(str, words)]
        return subprocess.run(line, capture_output=True, text=True, env=environment, check=False, timeout=300)

    return run


LOAD = """
import sys
import numpy as np
import torch
from dkvb.pretrained import from_pretrained

place, digest, items, *revision = sys.argv[1:]
model = from_pretrained(place, digest=digest, revision=revision[0] if revision else None, backbone=False)
print([model.classes[k] for k in model(torch.from_numpy(np.load(items))).argmax(1)])
print([name for name in ("ray", "zarr", "numba", "polars", "jobs", "store") if name in sys.modules])
"""


def test_a_model_is_pushed_and_loaded_from_the_hub(hub, folders, do, own, tmp_path):
    import numpy as np
    import torch

    from dkvb.pretrained import from_pretrained

    z = arrays.read_shards(own.artefact("embeddings[test]").data, "embeddings")
    np.save(tmp_path / "z.npy", z)
    whole, forgetful = folders
    (forgetful / "notes.txt").write_text("mine")  # what no export writes is not sent
    done = do("push", forgetful, REPOSITORY, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    repository = hub.repositories[REPOSITORY]
    assert repository.private
    assert said["private"]
    assert not said["earlier"]
    assert set(repository.commits[-1]) == {".gitattributes", "README.md", *said["files"]}
    for name in said["files"]:
        assert repository.commits[-1][name] == (forgetful / name).read_bytes()
    assert any(request.startswith("PUT /lfs/") for request in hub.requests)

    found = do(REPOSITORY, said["digest"], tmp_path / "z.npy", code=LOAD)
    assert found.returncode == 0, found.stderr
    model = from_pretrained(forgetful, backbone=False)
    expected = [model.classes[k] for k in model(torch.from_numpy(z)).argmax(1)]
    assert found.stdout.splitlines() == [str(expected), "[]"]

    # The same again changes nothing; another model replaces it, in one commit, and the history is named.
    again = json.loads(do("push", forgetful, REPOSITORY, "--json").stdout)
    assert (again["commit"], again["earlier"]) == (said["commit"], False)
    other = do("push", whole, REPOSITORY)
    assert other.returncode == 0, other.stderr
    assert "stays in the history" in other.stdout
    assert len(repository.commits) == 3
    assert "certificate.json" not in repository.commits[-1]
    wrong = do(REPOSITORY, said["digest"], tmp_path / "z.npy", code=LOAD)
    assert "it is another model" in wrong.stderr
    pinned = do(REPOSITORY, said["digest"], tmp_path / "z.npy", said["commit"], code=LOAD)
    assert pinned.returncode == 0, pinned.stderr
    assert pinned.stdout == found.stdout


def test_nothing_becomes_public_by_mistake(hub, folders, do):
    whole, _ = folders
    assert do("push", whole, "my-lab/open", "--public").returncode == 0
    assert not hub.repositories["my-lab/open"].private
    before = len(hub.repositories["my-lab/open"].commits)
    done = do("push", whole, "my-lab/open")
    assert done.returncode == 2
    assert "my-lab/open: is public on" in done.stderr
    assert "--public" in done.stderr
    assert len(hub.repositories["my-lab/open"].commits) == before


def test_a_damaged_folder_is_not_sent(hub, folders, do):
    _, forgetful = folders
    data = bytearray((forgetful / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (forgetful / "model.safetensors").write_bytes(data)
    done = do("push", forgetful, "my-lab/damaged")
    assert done.returncode == 1
    assert "damaged or changed since it was exported" in done.stderr
    assert "my-lab/damaged" not in hub.repositories


def test_mistakes_are_told_in_a_line(folders, do, tmp_path):
    whole, _ = folders
    token = "hf_" + "x" * 34
    for done, code, words in (
        (do("push", whole, "my-lab/x", token=token), 1, "hf auth login"),
        (do("push", whole, "my-lab/x", endpoint="http://127.0.0.1:9"), 1, "HF_ENDPOINT names another one"),
        (do("push", whole, "bee-free"), 2, "expected owner/name"),
        (do("push", tmp_path / "gone", "my-lab/x"), 1, "name a folder that `dkvb export` wrote"),
    ):
        assert (done.returncode, done.stdout) == (code, "")
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert token not in done.stderr


def test_a_repository_that_is_not_there_is_named(do, tmp_path):
    done = do("my-lab/nothing", "0" * 64, tmp_path / "z.npy", code=LOAD)
    assert "ModelMissing: my-lab/nothing: no such folder here, and" in done.stderr
