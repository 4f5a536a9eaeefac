"""A whole experiment on an object store: the same bytes as on a disk, resumed, asked and unlearned there."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import dkvb
from jobs.results.experiment import find, status
from jobs.results.sweep_tables import TABLES
from store.artefacts import Artefact
from store.files import names, read_bytes
from store.places import place

pytestmark = pytest.mark.slow

KINDS = (".parquet", ".safetensors")


@pytest.fixture(scope="module")
def remote(s3_server, run_tiny, images):
    """The tiny experiment, run once on an object store."""
    import s3fs

    s3fs.S3FileSystem().mkdir("dkvb-remote")
    return run_tiny(place("s3://dkvb-remote/root"), images)


def files(artefact):
    return {name: read_bytes(artefact.path / name) for name in names(artefact.path) if name.endswith(KINDS)}


def test_an_experiment_on_an_object_store_has_the_bytes_of_one_on_a_disk(remote, finished):
    assert remote.steps == finished.steps
    compared = 0
    for label, digest in finished.steps.items():
        step = label.partition("[")[0]
        here, there = Artefact(finished.root, step, digest), Artefact(remote.root, step, digest)
        assert files(here) == files(there)
        assert here.units() == there.units()
        assert here.done_units() == there.done_units()
        compared += len(files(here))
        assert isinstance(here.data, Path)
        for path in here.data.rglob("*"):
            if path.is_file():
                assert read_bytes(there.data / str(path.relative_to(here.data))) == path.read_bytes()
                compared += 1
    assert compared > 50
    assert TABLES["classes"](remote).drop("seconds").equals(TABLES["classes"](finished).drop("seconds"))
    assert {row.state for row in status(remote.root)} == {"done"}
    kinds = [event["kind"] for event in Artefact(remote.root, "keys", remote.steps["keys"]).events()]
    assert kinds[0] == "worker_ready"
    assert kinds.count("done") == kinds.count("started") > 0


def test_what_stands_there_is_not_done_again(remote, run_tiny, images, watched):
    run_tiny(remote.root, images, progress=watched)
    assert watched.units == []
    assert all(total == standing for total, standing in watched.steps.values())


def test_a_unit_without_marker_is_done_again_and_no_other(remote, run_tiny, images, watched):
    artefact = Artefact(remote.root, "embeddings", remote.steps["embeddings[train]"])
    units = artefact.units()
    assert units is not None
    unit = units[1]
    (artefact.path / "units" / f"{unit}.json").unlink()
    (artefact.path / "DONE").unlink()
    run_tiny(remote.root, images, progress=watched)
    assert [outcome.unit for outcome in watched.units] == [unit]


def test_images_are_read_from_an_object_store(bucket, images, run_tiny, finished, tmp_path):
    import s3fs

    s3fs.S3FileSystem(use_listings_cache=False).put(str(images), f"{bucket}/pictures", recursive=True)
    there = run_tiny(tmp_path / "root", f"{bucket}/pictures")
    assert there.steps == finished.steps, "digests depend on where the images lie"
    assert TABLES["classes"](there).drop("seconds").equals(TABLES["classes"](finished).drop("seconds"))


def test_the_command_line_takes_an_address(bucket, run_words, dkvb, tmp_path):
    root = f"{bucket}/cli"
    ran = dkvb(*run_words(root=root))
    assert ran.code == 0, ran.err
    assert f"{root}/tiny.png" in ran.out
    shown = dkvb("status", root)
    assert shown.code == 0
    assert "sweep" in shown.out
    masked = dkvb("unlearn", root, "--class", "ant", "--json")
    assert masked.code == 0, masked.err
    assert names(place(root) / "unlearned")
    written = dkvb("table", root, "--format", "parquet", "-o", tmp_path / "table.parquet")
    assert written.code == 0
    assert pl.read_parquet(tmp_path / "table.parquet").height == 2
    for text in (ran.out, ran.err, shown.out, masked.out, masked.err):
        assert "s3cr3t" not in text


def test_it_is_opened_in_python_as_one_on_a_disk(remote, finished):
    there, here = dkvb.open(str(remote.root)), dkvb.open(finished.root)
    assert there.facts() == {**here.facts(), "root": str(remote.root)}
    assert there.query.keys("cat").equals(here.query.keys("cat"))
    assert there.tables["names"].equals(here.tables["names"])
    assert there.model(backbone=False).values.equal(here.model(backbone=False).values)
    assert np.array_equal(there.embeddings("test"), here.embeddings("test"))
    pytest.importorskip("xarray")
    assert there.counts.equals(here.counts)
    assert there.codes("train").equals(here.codes("train"))


def test_no_file_of_a_root_holds_the_credentials(remote):
    for path in remote.root.fs.find(remote.root.path):
        data = remote.root.fs.cat_file(path)
        assert b"s3cr3t" not in data
        assert b"AWS_" not in data


@pytest.mark.parametrize("words", [("status",), ("table",), ("unlearn", "--class", "ant")])
def test_an_address_without_a_root_is_told_in_one_line(words, bucket, dkvb):
    command, *rest = words
    ended = dkvb(command, f"{bucket}/nothing", *rest)
    assert ended.code == 1
    assert ended.err.startswith(f"dkvb: {bucket}/nothing: no dkvb-root.json there")
    assert ended.err.count("\n") == 1


@pytest.mark.ray
def test_workers_write_to_an_object_store_too(bucket, run_tiny, images, finished):
    from cluster.session import session

    with session(workers=2) as executor:
        there = run_tiny(place(f"{bucket}/root"), images, executor=executor)
    assert TABLES["classes"](there).drop("seconds").equals(TABLES["classes"](finished).drop("seconds"))
    assert files(there.artefact("values")) == files(finished.artefact("values"))


def test_a_root_copied_to_a_disk_is_the_same_root(remote, tmp_path, finished, unlike):
    remote.root.fs.get(remote.root.path, str(tmp_path / "copy"), recursive=True)
    assert find(tmp_path / "copy", None).steps == finished.steps
    shutil.rmtree(tmp_path / "copy")
