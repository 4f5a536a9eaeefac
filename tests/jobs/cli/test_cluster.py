"""`dkvb cluster`: what it prints and writes, and how a mistake ends."""

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from tests.cluster.files.crds import crd, written

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def one_version_of_ray(monkeypatch):
    from cluster.files import container_image, render

    monkeypatch.setattr(render, "installed_ray", lambda: "2.60.0")
    monkeypatch.setattr(container_image, "installed_ray", lambda: "2.60.0")


def test_the_shipped_file_is_what_is_rendered_and_passes(dkvb):
    assert dkvb("cluster", "render", "--provider", "aws").out == (REPOSITORY / "ray-cluster.yaml").read_text()
    ended = dkvb("cluster", "check", REPOSITORY / "ray-cluster.yaml")
    assert (ended.code, ended.err) == (0, "")
    assert "1 checked: 0 errors, " in ended.out


def test_a_file_is_rendered_once_and_never_over_another(dkvb, tmp_path):
    path = tmp_path / "cluster.yaml"
    made = dkvb("cluster", "render", "--provider", "kueue", "--max-workers", 3, "-o", path)
    assert (made.code, made.out) == (0, f"{path}: written. Next:\n  dkvb cluster check {path}\n")
    before = path.read_bytes()
    assert b"maxReplicas: 3" in before
    ended = dkvb("cluster", "render", "-o", path)
    assert (ended.code, ended.err) == (
        2,
        f"dkvb: {path}: already exists; name another file, or remove it first\n",
    )
    assert path.read_bytes() == before
    assert dkvb("cluster", "render", "-o", tmp_path / "no" / "folder").err.endswith("No such file or directory\n")


def test_errors_are_printed_in_one_line_each_and_make_the_exit_code_one(dkvb, tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text((REPOSITORY / "ray-cluster.yaml").read_text().replace("type: aws", "type: asw"))
    ended = dkvb("cluster", "check", path, REPOSITORY / "ray-cluster.yaml")
    assert (ended.code, ended.err) == (1, "")
    lines = ended.out.splitlines()
    assert f"{path}:19: error: provider.type: found asw, expected `aws`; correct it" in lines
    assert re.fullmatch(r"2 checked: 1 error, \d+ warnings", lines[-1])


def test_json_has_a_row_for_each_finding(dkvb, tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text("a: [\n")
    ended = dkvb("cluster", "check", path, "--json")
    (row,) = json.loads(ended.out)
    assert ended.code == 1
    assert row.keys() == {"file", "line", "severity", "where", "found", "expected", "remedy"}
    assert (row["file"], row["line"], row["severity"]) == (str(path), 2, "error")


def test_fields_are_checked_by_the_crds_that_are_given_and_said_to_be_unchecked_without(dkvb, tmp_path):
    run = tmp_path / "run.yaml"
    run.write_text("apiVersion: kueue.x-k8s.io/v1beta2\nkind: LocalQueue\nmetadata: {name: a}\nspec: {sizes: 2}\n")
    without = dkvb("cluster", "check", run)
    assert without.code == 0
    assert "2: warning: kind: found no schema for LocalQueue" in without.out
    assert "field names and types were not checked: give --crds PATH, --kubectl or --server" in without.out
    crds = written(tmp_path, crd("LocalQueue", "kueue.x-k8s.io", versions=("v1beta2",)))
    ended = dkvb("cluster", "check", run, "--crds", crds)
    assert ended.code == 1
    assert f"{run}:4: error: spec.sizes: found an unknown key, expected `size`; rename it" in ended.out


def test_sources_of_crds_that_cannot_be_used_are_mistakes_of_usage(dkvb, tmp_path, monkeypatch):
    run = tmp_path / "run.yaml"
    run.write_text("apiVersion: v1\nkind: Gadget\n")
    assert dkvb("cluster", "check", run, "--crds", tmp_path / "none").code == 2
    found = dkvb("cluster", "check", run, "--crds", run)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith(f"dkvb: {run}: found no CustomResourceDefinition")
    both = dkvb("cluster", "check", run, "--crds", run, "--kubectl")
    assert (both.code, both.err.count("give one of them")) == (2, 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    for option in ("--kubectl", "--server"):
        missing = dkvb("cluster", "check", run, option)
        assert missing.code == 2
        assert missing.err.startswith("dkvb: kubectl: cannot be run: No such file")


def test_a_missing_file_and_a_bad_value_are_mistakes_of_usage(dkvb, tmp_path):
    missing = dkvb("cluster", "check", tmp_path / "none.yaml")
    assert missing.code == 2
    assert f"File '{tmp_path}/none.yaml' does not exist." in missing.err
    for words in (["--name", "A b"], ["--max-workers", "0"], ["--image", "x:latest"]):
        ended = dkvb("cluster", "render", *words)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("dkvb: render: ")
    assert "'azure' is not one of 'aws', 'gcp', 'local', 'kuberay', 'kueue'" in dkvb(
        "cluster", "render", "--provider", "azure"
    ).err.replace("\n", " ")


def test_a_file_that_is_no_text_is_named(dkvb, tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    ended = dkvb("cluster", "check", path)
    assert ended.code == 2
    assert ended.err.startswith(f"dkvb: {path}: not UTF-8")


def test_the_cluster_commands_of_the_documentation_exist_with_their_options():
    from jobs.cli.cluster import cluster

    text = (REPOSITORY / "docs" / "cluster.md").read_text(encoding="utf-8")
    lines = re.findall(r"^ *\$ dkvb cluster (.*)$", text, flags=re.M)
    assert lines
    for line in lines:
        name, *words = shlex.split(line, comments=True)
        command = cluster.commands[name]
        assert isinstance(command, click.Command)
        known = {option for parameter in command.params for option in parameter.opts}
        assert [word for word in words if word.startswith("-") and word not in known] == [], line
