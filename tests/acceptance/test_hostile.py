"""Roots, queues and specs that somebody else made: one clear message, nothing outside the root touched."""

import json
import os
import re
import shutil
from typing import Any

import numpy as np
import polars as pl
import pytest

from cluster.errors import InvalidRequest
from cluster.submit import ray_jobs
from jobs.errors import BadSpec
from jobs.spec.reading import load_specs
from store import arrays
from store.layout import CHECKPOINT, SWEEP_TABLE
from tests.processes import message

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "s3cr3t-one",
    "HF_TOKEN": "s3cr3t-two",
    "RAY_AUTH_TOKEN": "s3cr3t-three-of-thirty-two-letters",
    "DATABASE_URL": "postgres://me:s3cr3t-four@host/db",
}


COMMANDS = [("status",), ("table",), ("table", "--table", "classes"), ("unlearn", "--class", "cat")]
DEEP = "[" * 100_000


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "3",
        DEEP,
        '{"name": "tiny"}',
        '{"name": "../../tiny", "spec": {}, "steps": {}}',
        '{"name": "tiny", "spec": [], "steps": {}}',
        '{"name": "tiny", "spec": {}, "steps": ["values"]}',
        '{"name": "tiny", "spec": {}, "steps": {"values": 3, "sweep": null}}',
        '{"name": "tiny", "spec": {}, "steps": {"../values": "0000000000000000"}}',
        '{"name": "tiny", "spec": {}, "steps": {"values": "../../0000000000"}}',
    ],
)
def test_an_experiment_of_something_else_ends_in_one_message(content, words, dkvb, finished, tmp_path):
    (tmp_path / "experiments").mkdir()
    shutil.copy(finished.root / "dkvb-root.json", tmp_path)
    (tmp_path / "experiments" / "tiny.json").write_text(content)
    command, *rest = words
    assert str(tmp_path) in message(dkvb(command, tmp_path, *rest))


@pytest.mark.parametrize(
    ("label", "file", "content"),
    [
        ("sweep", "provenance.json", "[]"),
        ("sweep", "provenance.json", '{"facts": {"accuracy": {"train": "x", "test": 1}}}'),
        (
            "sweep",
            "provenance.json",
            '{"facts": {"accuracy": {"train": 1, "test": 1}, "items": {"train": [1], "test": []}}}',
        ),
        ("linear", "provenance.json", '{"facts": {"accuracy": "high"}}'),
        ("sweep", "units.json", "{}"),
        ("sweep", "units/00000.json", "[]"),
        ("sweep", "units/00000.json", '{"seconds": {"uva/x": 1}, "classes": [0]}'),
        ("sweep", SWEEP_TABLE, "no parquet"),
        ("values", CHECKPOINT, "no tensors"),
        ("counts", "data.zarr/counts/zarr.json", "{}"),
        ("counts", "data.zarr/counts/zarr.json", DEEP),
    ],
)
def test_a_file_of_something_else_ends_in_one_message(label, file, content, dkvb, own, run_words, images, unsealed):
    unsealed(own.root)
    path = own.artefact(label).path / file
    path.write_text(content)
    for words in (*COMMANDS, run_words(root=own.root, images=images)):
        command, *rest = words
        ended = dkvb(*words) if command == "run" else dkvb(command, own.root, *rest)
        if ended.code:
            message(ended)


def test_a_sweep_with_another_type_of_name_is_refused(dkvb, own, unsealed):
    unsealed(own.root)
    path = own.artefact("sweep").path / SWEEP_TABLE
    pl.read_parquet(path).with_columns(name=pl.concat_list("name")).write_parquet(path)
    assert "columns or types are not" in message(dkvb("table", own.root))


@pytest.mark.parametrize("method", ["uva", "uve"])
@pytest.mark.parametrize("case", ["classes", "items", "keys", "huge"])
def test_arrays_that_do_not_fit_each_other_end_in_one_message(case, method, dkvb, own, unsealed):
    unsealed(own.root)
    codes, counts = own.artefact("codes[train]").data, own.artefact("counts").data
    n, c = arrays.open_array(codes, "codes").shape
    if case == "keys":
        arrays.write(codes, "codes", np.full((n, c), 32767, np.int16))
    else:
        data, name = (codes, "codes") if case == "items" else (counts, "counts")
        shape = {"classes": [2, 11, 13], "items": [n - 3, c], "huge": [3, 10**7, 10**7]}[case]
        path = data / name / "zarr.json"
        chunk = [1, *shape[1:]] if name == "counts" else shape
        grid = {"name": "regular", "configuration": {"chunk_shape": chunk}}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"shape": shape, "chunk_grid": grid}))
    ended = dkvb("unlearn", own.root, "--class", "cat", "--method", method)
    assert ended.code
    message(ended)
    assert not (own.root / "unlearned").exists()


@pytest.mark.parametrize("place", ["unlearned", "events", "counts"])
def test_a_link_in_a_root_leads_no_command_elsewhere(place, dkvb, own, run_words, images, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    counts = own.artefact("counts").path
    if place == "unlearned":
        (own.root / "unlearned").symlink_to(victim)
    elif place == "counts":
        shutil.move(counts / "units", victim / "units")
        (counts / "units").symlink_to(victim / "units")
    else:
        (counts / "DONE").unlink()
        (counts / "events.jsonl").unlink()
        (counts / "events.jsonl").symlink_to(victim / "bashrc")
    before = sorted(victim.rglob("*"))
    failed = [dkvb("unlearn", own.root, "--class", "cat"), dkvb(*run_words(root=own.root, images=images))]
    assert any("is a link" in message(ended) for ended in failed)
    assert sorted(victim.rglob("*")) == before


@pytest.fixture
def queue_of_one(tmp_path):
    """A queue with one job, some of what it asks changed by another's hand; returns the job's folder."""

    def make(changes):
        from jobs.queue.files import QUEUE_FILE, QUEUE_FORMAT
        from jobs.queue.records import FORMAT

        asked: dict[str, Any] = {
            "name": "job",
            "specs": [],
            "root": "r",
            "images": None,
            "address": "auto",
            "priority": 0,
        }
        asked |= {"attempts": 3, "workers": None, "gpus": 0, "commit": None, "time": 1.0, "by": "me"}
        folder = tmp_path / "queue" / "job-1"
        folder.mkdir(parents=True)
        (tmp_path / "queue" / QUEUE_FILE).write_text(json.dumps({"format": QUEUE_FORMAT}))
        (folder / "job.json").write_text(json.dumps({"format": FORMAT, **asked, **changes}))
        return folder

    return make


@pytest.mark.parametrize(
    "changes",
    [
        {"time": "now"},
        {"time": 1e300},
        {"priority": []},
        {"attempts": None},
        {"specs": 3},
        {"root": None, "specs": [{}]},
    ],
)
def test_a_job_of_something_else_ends_in_one_message(changes, dkvb, tmp_path, queue_of_one):
    queue_of_one(changes)
    for words in (("list",), ("show", "job-1"), ("logs", "job-1")):
        ended = dkvb("jobs", *words, "--queue", tmp_path / "queue")
        if ended.code:
            assert "job-1" in message(ended)


def test_a_job_whose_folder_leads_elsewhere_is_refused(dkvb, tmp_path, queue_of_one):
    folder = queue_of_one({})
    (tmp_path / "victim").mkdir()
    (folder / "orders").symlink_to(tmp_path / "victim")
    assert "is a link" in message(dkvb("jobs", "priority", "job-1", "3", "--queue", tmp_path / "queue"))
    assert list((tmp_path / "victim").iterdir()) == []
    (folder / "orders").unlink()
    folder.rename(tmp_path / "victim" / "job-1")
    folder.symlink_to(tmp_path / "victim" / "job-1")
    assert "is a link" in message(dkvb("jobs", "stop", "job-1", "--queue", tmp_path / "queue"))
    assert len(list((tmp_path / "victim" / "job-1").iterdir())) == 1


@pytest.mark.parametrize(
    "text",
    [f"x = {DEEP}", "name = 3", "experiments = 3", "images = 1", 'name = "../x"', "sweep = []", "\x00", "x = 1e999"],
)
def test_a_spec_of_something_else_is_refused(text, tmp_path):
    (tmp_path / "spec.toml").write_text(text)
    with pytest.raises(BadSpec, match=re.escape(f"{tmp_path}/spec.toml")):
        load_specs(str(tmp_path / "spec.toml"))


@pytest.mark.parametrize("key", ["images.train", "images.classes", "backbone.weights", "sweep.classes"])
def test_a_password_in_a_spec_is_refused_and_not_repeated(key, dkvb, run_words, tmp_path):
    address = "https://me:s3cr3t@host/x.pth"
    ended = dkvb(*run_words({key: [address] if key == "sweep.classes" else address}))
    assert "password" in message(ended, 2)
    assert "s3cr3t" not in ended.err
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("option", ["--root", "--images", "--queue"])
def test_a_password_in_an_address_is_refused_and_not_repeated(option, dkvb, spec_file, tmp_path):
    places = {"--root": tmp_path / "root", "--images": tmp_path, option: "s3://key:s3cr3t/x@bucket/folder"}
    if option == "--queue":
        ended = dkvb("jobs", "list", "--queue", places[option])
    else:
        ended = dkvb("run", spec_file(), *[word for pair in places.items() for word in pair], "--serial")
    assert ended.code in (1, 2)
    assert "password" in ended.err
    assert "s3cr3t" not in ended.out + ended.err


def test_a_password_in_the_address_of_a_cluster_is_refused_and_not_repeated():
    with pytest.raises(InvalidRequest, match="password") as caught:
        ray_jobs("http://me:s3cr3t@127.0.0.1:8265")
    assert "s3cr3t" not in str(caught.value)


def test_no_secret_of_the_environment_is_written_or_printed(dkvb, run_words, tmp_path, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    root = tmp_path / "root"
    said = [
        dkvb(*run_words(root=root)),
        dkvb("status", root),
        dkvb("unlearn", root, "--class", "cat", "--json"),
        dkvb("table", root, "--format", "json"),
        dkvb(*run_words({"keys.epochs": 3, "sweep.classes": ["dog"]}, root=root)),
    ]
    assert [ended.code for ended in said] == [0, 0, 0, 0, 2]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 50
    texts = [path.read_bytes() for path in files] + [(ended.out + ended.err).encode() for ended in said]
    for text in texts:
        assert b"s3cr3t" not in text
        assert not any(name.encode() in text for name in SECRETS)


def test_a_job_holds_nothing_of_the_environment(tmp_path, make_spec, monkeypatch):
    from jobs.queue.files import add
    from jobs.queue.records import Assignment
    from jobs.spec.reading import as_table

    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    asked: dict[str, Any] = {"root": "r", "images": None, "address": "auto", "priority": 0, "attempts": 3, "workers": 1}
    add(tmp_path, Assignment(name="tiny", specs=[as_table(make_spec())], **asked))
    (path,) = tmp_path.rglob("job.json")
    assert "s3cr3t" not in path.read_text()
    known = {"format", "name", "specs", "commit", "gpus", "python", *asked, "time", "by", "token"}
    assert json.loads(path.read_text()).keys() <= known


def test_a_submission_is_given_no_variable_of_the_environment_but_the_commit(monkeypatch):
    from cluster.submit import RayJobs

    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    given = {}

    class Client:
        def get_job_info(self, name):
            raise RuntimeError("does not exist")

        def submit_job(self, **words):
            given.update(words)

    assert RayJobs("http://127.0.0.1:8265", Client()).submit(
        "x", ["jobs.queue.driver"], variables={"DKVB_COMMIT": "abc"}
    )
    assert given["runtime_env"].keys() == {"working_dir", "env_vars"}
    assert given["runtime_env"]["env_vars"] == {"DKVB_COMMIT": "abc", "PYTHONSAFEPATH": "1"}
    assert "s3cr3t" not in repr(given)
    assert os.environ["HF_TOKEN"] == SECRETS["HF_TOKEN"]
