"""What goes wrong in a run is named, costs nothing that is done, and can be mended."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dkvb.errors import BadBudget
from jobs.errors import BadRequest, StepFailed
from jobs.plan.plan import make_plan
from jobs.results.sweep_tables import TABLES
from jobs.run.run import run
from jobs.unlearn import Request, unlearn
from jobs.unlearned import as_text
from store import arrays
from store.artefacts import Artefact
from store.errors import ImageDataError
from store.tables import read_table


def read(experiment, label, name):
    return arrays.read(experiment.artefact(label).data, name)


def rows_of(experiment, split, name):
    return arrays.read_shards(experiment.artefact(f"embeddings[{split}]").data, name)


def spoil(path):
    """Break an image without changing its size; returns what stood there."""
    content = path.read_bytes()
    path.write_bytes(b"\0" * len(content))
    return content


def sweep_rows(experiment):
    return read_table(experiment.artefact("sweep").path / "sweep.parquet")


def test_a_broken_image_fails_its_shard_and_the_rest_is_done(run_tiny, own_images, tmp_path, watched, finished, unlike):
    path = own_images / "train" / "bee" / "0003.png"
    content = spoil(path)
    with pytest.raises(StepFailed) as caught:
        run_tiny(tmp_path / "root", own_images, progress=watched)
    text = str(caught.value)
    assert "embeddings[train]: 1 of 4 units failed" in text
    assert "00001" in text
    assert "folder-00001: bee/0003.png: not a readable image" in text
    assert 'images.on_error = "skip"' in text
    assert "run the same command again" in text
    left = Artefact(tmp_path / "root", "embeddings", finished.steps["embeddings[train]"])
    assert left.done_units() == {"00000", "00002", "00003"}
    assert not left.done
    assert [event["unit"] for event in left.events() if event["kind"] == "failed"] == ["00001"]

    path.write_bytes(content)
    watched.units.clear()
    mended = run_tiny(tmp_path / "root", own_images, progress=watched)
    assert watched.steps["embeddings[train]"] == (4, 3)
    assert unlike(mended.root, finished.root) == []


def test_a_broken_image_can_be_skipped_and_is_counted(run_tiny, own_images, tmp_path):
    spoil(own_images / "train" / "bee" / "0003.png")
    spoil(own_images / "test" / "ant" / "1000.png")
    done = run_tiny(tmp_path / "root", own_images, {"images.on_error": "skip"})
    row = 11 + 3
    (skipped,) = done.facts("embeddings[train]")["left_out"]
    assert (skipped["shard"], skipped["item"]) == ("folder-00001", "bee/0003.png")
    assert "not a readable image" in skipped["reason"]
    assert [one["item"] for one in done.facts("embeddings[test]")["left_out"]] == ["ant/1000.png"]

    labels, z = rows_of(done, "train", "labels"), rows_of(done, "train", "embeddings")
    codes = read(done, "codes[train]", "codes")
    assert (labels == -1).nonzero()[0].tolist() == [row]
    assert (z == 0).all(1).nonzero()[0].tolist() == [row]
    assert (codes == -1).all(1).nonzero()[0].tolist() == [row]
    assert (codes[np.arange(41) != row] >= 0).all()
    assert read(done, "counts", "counts").sum((1, 2)).tolist() == [11 * 11, 12 * 11, 17 * 11]
    assert (read(done, "codes[test]", "codes")[0] == -1).all()
    assert done.facts("keys")["items"] == 40


def test_a_class_without_a_readable_image_is_not_swept_and_is_refused_where_it_is_asked_for(
    run_tiny, own_images, tmp_path, watched
):
    for path in (own_images / "train" / "ant").iterdir():
        spoil(path)
    changes = {"images.on_error": "skip"}
    with pytest.raises(BadRequest, match="class 'ant' has no training items"):
        run_tiny(tmp_path / "root", own_images, {**changes, "sweep.classes": ["ant", "cat"]})
    done = run_tiny(tmp_path / "other", own_images, changes, progress=watched)
    assert "embeddings[train]: of 1 classes no image can be read (ant)" in watched.notes
    assert read(done, "counts", "counts").sum((1, 2)).tolist() == [0, 13 * 11, 17 * 11]
    assert sorted(sweep_rows(done)["name"].unique()) == ["bee", "cat"]


def test_a_class_without_a_readable_test_image_is_said_to_have_none_and_leaves_no_nan(run_tiny, own_images, tmp_path):
    for path in (own_images / "test" / "bee").iterdir():
        spoil(path)
    done = run_tiny(tmp_path / "root", own_images, {"images.on_error": "skip"})
    rows = sweep_rows(done)
    for column in rows.select(pl.selectors.float()):
        assert column.drop_nulls().is_finite().all(), column.name
    bees = rows.filter(rows["name"] == "bee")
    assert bees["test_forget"].null_count() == bees.height
    assert 1 not in rows["worst_neighbour"].to_list(), "a class without test items has nothing to lose"
    classes = TABLES["classes"](done)
    assert set(classes.filter(classes["name"] == "bee")["outcome"]) == {"no test items"}
    summary = TABLES["summary"](done)
    assert summary["no test items"].to_list() == [1, 2]
    others = classes.filter(classes["name"] != "bee", classes["method"] == "uva")
    assert summary["test before"][0] == pytest.approx(others["test before"].mean())
    assert "none of 0 test items" in as_text(unlearn(done, Request(classes=["bee"])))


def test_images_of_one_class_are_refused(run_tiny, own_images, tmp_path):
    for split in ("train", "test"):
        for name in ("bee", "cat"):
            shutil.rmtree(own_images / split / name)
    with pytest.raises(ValueError, match="1 of 1 classes with training items: a classifier needs two or more"):
        run_tiny(tmp_path / "root", own_images)


@pytest.mark.parametrize("how", ["another name", "one more", "one fewer"])
def test_splits_with_different_classes_are_refused(how, run_tiny, own_images, painted, tmp_path):
    if how == "another name":
        (own_images / "test" / "ant").rename(own_images / "test" / "dog")
        odd = "train alone has ant; test alone has dog"
    elif how == "one more":
        painted(own_images / "test", {"dog": 1})
        odd = "test alone has dog"
    else:
        shutil.rmtree(own_images / "test" / "cat")
        odd = "train alone has cat"
    with pytest.raises(ImageDataError, match=rf"different classes \(.*; {odd}\)"):
        run_tiny(tmp_path / "root", own_images)
    assert not (tmp_path / "root" / "embeddings").exists(), "refused before anything is embedded"


@pytest.mark.parametrize(
    ("expect", "found"),
    [
        ({"train": 43}, "train.*found 41 items"),
        ({"test": 14}, "test.*found 15 items"),
        ({"classes": 4}, "found 3 classes"),
    ],
)
def test_images_other_than_the_spec_expects_are_refused(expect, found, run_tiny, images, tmp_path):
    for _ in range(2):  # the second time the manifest is done
        with pytest.raises(ImageDataError, match=found) as caught:
            run_tiny(tmp_path / "root", images, {"images.expect": expect})
        assert f"images.expect says {next(iter(expect.values()))}" in str(caught.value)
    assert not (tmp_path / "root" / "embeddings").exists()


def test_images_as_the_spec_expects_are_taken(make_spec, images, tmp_path, watched):
    from cluster.unit_map import SerialExecutor

    plan = make_plan(make_spec({"images.expect": {"train": 41, "test": 15, "classes": 3}}), str(images))
    manifests = replace(plan, steps=tuple(step for step in plan.steps if step.kind == "manifest"))
    run([manifests], tmp_path / "root", SerialExecutor(), watched)
    assert set(watched.ended) == {"manifest[train]", "manifest[test]"}


def test_a_grid_beyond_what_a_class_has_is_refused_and_what_stands_stays(own, run_tiny, images, watched):
    with pytest.raises(BadBudget, match=r"N = 12 is larger than the 11 training items of class 'ant'"):
        run_tiny(own.root, images, {"sweep.uve.examples": [5, 12]}, progress=watched)
    assert {label for label, seconds in watched.ended.items() if seconds} == set()
    with pytest.raises(BadBudget, match=r"larger than the \d+ pairs that class 'ant' activates"):
        run_tiny(own.root, images, {"sweep.uva.shares": None, "sweep.uva.pairs": [11 * 13]})


def test_a_grid_with_more_budgets_than_a_sweep_holds_is_refused_before_it_begins(own, run_tiny, images):
    with pytest.raises(BadRequest, match=r"sweep\.uva: found 254 budgets, expected at most 253"):
        run_tiny(own.root, images, {"sweep.uva.shares": [i / 254 for i in range(1, 255)]})


def test_a_misspelt_class_of_the_sweep_is_refused_with_the_nearest(own, run_tiny, images):
    with pytest.raises(BadRequest, match="did you mean 'ant'"):
        run_tiny(own.root, images, {"sweep.classes": ["bee", "antt"]})


def test_only_the_classes_asked_for_are_swept(own, run_tiny, images):
    done = run_tiny(own.root, images, {"sweep.classes": ["cat", "ant"]})
    assert sorted(sweep_rows(done)["name"].unique()) == ["ant", "cat"]
    full = sweep_rows(own)
    for one, other in zip(
        sweep_rows(done).drop("digest").sort("class", "method", "seed", "budget").iter_rows(),
        full.filter(full["name"] != "bee").drop("digest").sort("class", "method", "seed", "budget").iter_rows(),
        strict=True,
    ):
        np.testing.assert_equal(one, other)


def test_shards_embedded_in_different_ways_are_not_mixed(own, run_tiny, images):
    artefact = own.artefact("embeddings[train]")
    path = artefact.path / "units" / "00002.json"
    mark = json.loads(path.read_text())
    mark["backbone"]["precision"] = "bfloat16"
    path.write_text(json.dumps(mark))
    (artefact.path / "DONE").unlink()
    with pytest.raises(ImageDataError, match=r"they differ in: precision"):
        run_tiny(own.root, images)
