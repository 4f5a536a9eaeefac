"""kubectl, played by a script: asked with fixed words; what it refuses is found in its line."""

import json
import os

import pytest

from cluster.errors import InvalidRequest
from cluster.files import kubectl
from cluster.files.check import check
from tests.cluster.files.crds import crd

RUN = """apiVersion: test.example/v1
kind: Gadget
metadata:
  name: a
spec:
  groups:
    - size: 2
      when: 2026-01-01
"""


@pytest.fixture
def played(tmp_path, monkeypatch):
    """Puts a kubectl on the PATH that notes its words and input, and answers as told."""

    def play(*, out="", err="", code=0):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "out").write_text(out)
        (folder / "err").write_text(err)
        script = f'#!/bin/sh\necho "$@" >> {folder}/words\ncat >> {folder}/given\ncat {folder}/out\n'
        (folder / "kubectl").write_text(f"{script}cat {folder}/err >&2\nexit {code}\n")
        (folder / "kubectl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return folder

    return play


@pytest.fixture
def tried(tmp_path):
    def found(text=RUN):
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return [str(each).removeprefix(f"{path}:") for each in check(path, server=True)]

    return found


def test_the_cluster_s_crds_are_read(played):
    folder = played(out=json.dumps({"kind": "List", "items": [crd()]}))
    schemas = kubectl.ask_schemas()
    assert (schemas.source, {*schemas.of}) == ("the cluster of kubectl", {("test.example/v1", "Gadget")})
    assert (folder / "words").read_text() == "get crd -o json\n"


def test_an_object_that_the_cluster_takes_has_no_findings_and_is_given_whole(played, tried):
    folder = played(out="gadget.test.example/a created (server dry run)\n")
    assert tried() == []
    assert (folder / "words").read_text() == "apply --dry-run=server --validate=strict -f -\n"
    given = json.loads((folder / "given").read_text())
    assert given["spec"] == {"groups": [{"size": 2, "when": "2026-01-01"}]}


def test_an_object_without_a_name_is_created_as_kubectl_applies_none(played, tried):
    folder = played()
    assert tried(RUN.replace("  name: a", "  generateName: a-")) == []
    assert (folder / "words").read_text() == "create --dry-run=server --validate=strict -f -\n"


@pytest.mark.parametrize(
    ("err", "says"),
    [
        (
            'Error from server (BadRequest): error when creating "STDIN": Gadget in version "v1" cannot be handled as '
            'a Gadget: strict decoding error: unknown field "spec.groups[0].sizes", unknown field "spec.group"\n',
            ["5: error: spec.group: found what the cluster refuses", "7: error: spec.groups[0].sizes: found what the"],
        ),
        (
            'The Gadget "a" is invalid: spec.groups[0].size: Invalid value: "string": must be of type integer\n',
            ["7: error: spec.groups[0].size: found what the cluster refuses, expected what it accepts: The Gadget"],
        ),
        (
            'The Gadget "a" is invalid: \n* spec.groups[0].when: Required value\n* spec.b: Too long: 9\n',
            ["5: error: spec.b: found what", "8: error: spec.groups[0].when: found what the cluster refuses, expected"],
        ),
        ('error: no matches for kind "Gadget" in version "test.example/v1"\n', ["1: error: the file: found what the"]),
    ],
)
def test_what_the_cluster_refuses_is_found_in_its_line(err, says, played, tried):
    played(err=err, code=1)
    found = tried()
    assert len(found) == len(says)
    assert all(each.startswith(start) for each, start in zip(found, says, strict=True)), found


def test_a_warning_of_the_cluster_is_a_warning(played, tried):
    played(err="Warning: test.example/v1 Gadget is deprecated\n")
    (found,) = tried()
    assert found.startswith("1: warning: the file: found a warning of the cluster, expected none: test.example/v1")


@pytest.mark.parametrize(
    "err",
    [
        "The connection to the server localhost:8080 was refused - did you specify the right host or port?\n",
        'error validating data: failed to download openapi: Get "http://localhost:8080": dial tcp 127.0.0.1:8080\n',
        "error: You must be logged in to the server (Unauthorized)\n",
    ],
)
def test_a_cluster_that_does_not_answer_is_no_finding_of_the_file(err, played, tried):
    played(err=err, code=1)
    with pytest.raises(InvalidRequest, match=r"^kubectl apply: "):
        tried()
    with pytest.raises(InvalidRequest, match=r"^kubectl get: "):
        kubectl.ask_schemas()


def test_no_kubectl_no_json_and_no_answer_are_named(played, monkeypatch, tmp_path):
    played(out="no JSON")
    with pytest.raises(InvalidRequest, match="kubectl get: expected CRDs in JSON"):
        kubectl.ask_schemas()
    played(out="{}")
    with pytest.raises(InvalidRequest, match=r"the cluster of kubectl: found no CustomResourceDefinition"):
        kubectl.ask_schemas()
    monkeypatch.setattr(kubectl, "_PATIENCE", 0.0)
    with pytest.raises(InvalidRequest, match="kubectl get: no answer from its cluster within 0 s"):
        kubectl.ask_schemas()
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(InvalidRequest, match="kubectl: cannot be run: No such file or directory; install it"):
        kubectl.ask_schemas()
