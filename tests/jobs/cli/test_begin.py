"""The beginning at the command line: init, spec, --set, and folders of images in the place of a spec."""

import json
import tomllib
from types import SimpleNamespace

import pytest

from jobs.queue.files import read_queue
from jobs.results.experiment import find
from jobs.spec.library import SHIPPED, shipped
from jobs.spec.reading import as_table, build, load_specs
from jobs.spec.schema import Spec
from tests.processes import message
from tests.tiny import TRAIN, paint

CHANGES = (
    *("bottleneck.c=11", "bottleneck.m=13", "bottleneck.d_k=3", "backbone.image_size=32"),
    *("keys.epochs=2", "values.epochs=7", "linear.epochs=7"),
)
SMALL = [word for change in CHANGES for word in ("--set", change)]
"""Of a spec that was chosen: as small as the tiny experiment."""


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """Measure the machine for a moment alone."""
    monkeypatch.setattr("jobs.plan.machine.SECONDS", 0.1)
    monkeypatch.setattr("jobs.plan.machine.CORE_SECONDS", 0.05)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of class folders in the current one."""
    paint(tmp_path / "photos", TRAIN)
    monkeypatch.chdir(tmp_path)
    return "photos"


# init


def test_a_spec_is_written_that_runs_as_it_stands(dkvb, photos, tmp_path):
    ended = dkvb("init", "--images", photos, "-o", "photos.toml")
    assert ended.code == 0
    assert "photos: found" in ended.out
    assert "3 (ant, bee, cat)" in ended.out
    assert "time: about" in ended.out
    assert "memory: at most" in ended.out
    assert "photos.toml: written. Next:\n  dkvb run photos.toml --images photos --root dkvb-photos" in ended.out
    (spec,) = load_specs("photos.toml")
    assert spec.images.test_share == 0.2
    run = dkvb("run", "photos.toml", "--images", photos, "--root", "root", "--serial", *SMALL)
    assert run.code == 0, run.err
    assert "photos: train accuracy" in run.out


def test_without_a_file_the_spec_goes_to_standard_output_and_nothing_else(dkvb, photos):
    ended = dkvb("init", "--images", photos)
    assert tomllib.loads(ended.out)["name"] == "photos"
    assert "photos: found" in ended.err


def test_a_file_that_is_there_is_not_written_over_nor_is_anything_looked_at(dkvb, photos, tmp_path):
    (tmp_path / "photos.toml").write_text("mine")
    text = message(dkvb("init", "--images", "nowhere", "-o", "photos.toml"), 2)
    assert text.startswith("photos.toml: already exists")
    assert (tmp_path / "photos.toml").read_text() == "mine"


def test_what_was_found_can_be_read_by_programs(dkvb, photos):
    about = json.loads(dkvb("init", "--images", photos, "--json").out)
    assert about["sizes"] == {"train": 33, "test": 8, "classes": 3}
    assert about["classes"] == [*TRAIN]
    assert tomllib.loads(about["toml"]) == about["spec"]


@pytest.mark.parametrize(("name", "said"), [("nowhere", "holds photos"), ("photos/ant", "in no class folder")])
def test_a_folder_without_images_for_classes_is_told_and_no_file_made(name, said, dkvb, photos, tmp_path):
    ended = dkvb("init", "--images", name, "-o", "x.toml")
    assert said in message(ended, ended.code)
    assert not (tmp_path / "x.toml").exists()


# spec


def test_a_shipped_spec_is_printed_as_it_is(dkvb, tmp_path):
    assert dkvb("spec", "cifar10").out == (SHIPPED / "cifar10.toml").read_text()
    assert dkvb("spec", "cifar10", "-o", tmp_path / "mine.toml").code == 0
    assert load_specs(str(tmp_path / "mine.toml")) == load_specs("cifar10")
    assert json.loads(dkvb("spec", "digits", "--json").out)["name"] == "digits"


def test_without_a_name_they_are_listed_with_what_each_is(dkvb):
    lines = dkvb("spec").out.splitlines()
    assert [line.split()[0] for line in lines] == shipped()
    assert all(len(line.split()) > 2 for line in lines)
    assert [row["name"] for row in json.loads(dkvb("spec", "--json").out)] == shipped()


def test_a_name_that_is_not_shipped_is_told_with_the_nearest(dkvb):
    assert "did you mean 'cifar10'?" in message(dkvb("spec", "cifar11"), 2)


# --set


def test_a_run_with_changes_is_the_run_of_a_spec_that_says_so_and_is_recorded(
    dkvb, run_words, spec_file, images, tmp_path
):
    words = run_words(images=images)
    changes = ("--set", 'sweep.classes=["bee"]', "--set", "keys.epochs=1")
    (planned,) = json.loads(dkvb("plan", words[1], "--images", images, *changes, "--json").out)
    assert dkvb(*words, *changes).code == 0
    ran = find(tmp_path / "root", "tiny")
    assert ran.spec["sweep"]["classes"] == ["bee"]
    assert ran.steps == {step["step"]: step["digest"] for step in planned["steps"]}
    (said,) = load_specs(str(spec_file({"sweep.classes": ["bee"], "keys.epochs": 1})))
    assert build(Spec, as_table(ran.spec), "") == said
    again = dkvb("run", spec_file({"sweep.classes": ["bee"], "keys.epochs": 1}), *words[2:])
    assert again.err.count("done already") == 13


@pytest.mark.parametrize("command", ["plan", "run", "submit"])
def test_a_change_that_cannot_be_is_told_with_the_key_and_what_is_expected(command, dkvb, spec_file, tmp_path):
    where = [] if command == "plan" else ["--root", tmp_path / "root"]
    where += ["--address", "auto"] if command == "submit" else []
    text = message(dkvb(command, spec_file(), *where, "--set", "keys.epoch=3"), 2)
    assert text.startswith(f"{tmp_path / 'spec.toml'} with --set keys.epoch=3: keys: unknown key 'epoch'; did you mean")
    assert "expected KEY=VALUE" in message(dkvb(command, spec_file(), *where, "--set", "seed"), 2)
    assert not (tmp_path / "root").exists()


def test_a_job_keeps_the_changed_spec(dkvb, spec_file, images, tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.queue.commands.ray_jobs", lambda _: SimpleNamespace(is_here=lambda: False))
    monkeypatch.setattr("jobs.queue.commands.reconcile", lambda *_, **__: SimpleNamespace(unreached=[]))
    where = ("--root", tmp_path / "root", "--images", images, "--address", "auto", "--queue", tmp_path / "queue")
    assert dkvb("submit", spec_file(), *where, "--set", "seed=5").code == 0
    (job,) = read_queue(tmp_path / "queue")
    assert [spec["seed"] for spec in job.assignment.specs] == [5]


# A folder in the place of a spec.


def test_a_folder_is_run_and_which_spec_was_chosen_and_why_is_said(dkvb, photos, tmp_path):
    ended = dkvb("run", photos, "--serial", *SMALL)
    assert ended.code == 0, ended.err
    assert "photos: found" in ended.err
    assert "EfficientNet-Lite0: its weights come with dkvb" in ended.err
    assert "time: about" in ended.err
    assert "all of it goes to dkvb-photos" in ended.err
    assert ended.out.count("photos: train accuracy") == 1
    assert "\n  dkvb unlearn dkvb-photos --class ant " in ended.out
    assert find(tmp_path / "dkvb-photos", None).spec["images"]["test_share"] == 0.2
    again = dkvb("run", photos, "--serial", *SMALL)
    assert again.err.count("done already") == 13
    assert "time:" not in again.err, "there is nothing left to measure for"
    assert again.out == ended.out


def test_the_spec_that_init_writes_is_the_one_that_run_chooses(dkvb, photos, tmp_path):
    dkvb("init", "--images", photos, "-o", "photos.toml")
    (by_folder,) = json.loads(dkvb("plan", photos, "--json").out)
    (by_spec,) = json.loads(dkvb("plan", "photos.toml", "--images", photos, "--json").out)
    assert by_folder["steps"] == by_spec["steps"]
    assert by_folder["minutes"]["seconds"] > 0


def test_a_plan_of_a_folder_says_what_was_found_and_nothing_is_unknown(dkvb, photos):
    text = dkvb("plan", photos).out
    assert "photos: found" in text
    assert "33 training images" in text
    assert "time: about" in text
    assert "unknown" not in text
    assert "?" not in text


def test_from_inside_the_folder_the_root_lies_beside_it(dkvb, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / photos)
    assert dkvb("run", ".", "--serial", *SMALL).code == 0
    assert (tmp_path / "dkvb-photos" / "experiments" / "photos.json").exists()
    assert sorted(path.name for path in (tmp_path / photos).iterdir()) == [*TRAIN]


def test_a_root_among_the_class_folders_is_refused(dkvb, photos, spec_file, own_images, tmp_path):
    assert "would be taken for a class" in message(dkvb("run", photos, "--root", "photos/root"), 2)
    assert not (tmp_path / "photos" / "root").exists()
    words = ("run", spec_file(), "--images", own_images, "--root")
    assert "would be taken for a class" in message(dkvb(*words, own_images / "train" / "root"), 2)
    assert dkvb(*words, own_images / "root", "--serial").code == 0, "beside the splits it is in nobody's way"


def test_a_root_given_for_a_folder_of_images_is_told_to_be_one(dkvb, finished):
    assert "is a root that dkvb made" in message(dkvb("run", finished.root), 2)


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_folder_that_is_misspelt_is_told_with_the_nearest(command, dkvb, photos):
    text = message(dkvb(command, "photo"), 2)
    assert text.startswith(
        "photo: neither a spec file, nor a folder of images, nor a shipped spec; did you mean 'photos'?"
    )


def test_a_folder_and_images_are_one_too_many(dkvb, photos, images):
    assert "leave out --images" in message(dkvb("run", photos, "--images", images), 2)


def test_a_folder_that_is_submitted_is_told_how_to_become_a_spec(dkvb, photos):
    text = message(dkvb("submit", photos, "--root", "root", "--address", "auto"), 2)
    assert "`dkvb init --images photos -o spec.toml`" in text


def test_a_name_of_a_shipped_spec_is_that_spec_though_a_folder_has_it_too(dkvb, photos, tmp_path):
    (tmp_path / photos).rename(tmp_path / "cifar10")
    assert "give --images DIR" in message(dkvb("run", "cifar10", "--root", "root"), 2)
    assert "33 training images" in dkvb("plan", "./cifar10").out


def test_a_column_that_is_misspelt_fails_as_one_sentence(dkvb, tmp_path, spec_file):
    from tests.store.made import write_parquet

    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", {"breed": [0, 1] * 5})
    changes = {"images.kind": "parquet", "images.label": "bread", "images.train": "train.parquet"}
    path = spec_file({**changes, "images.test": "test.parquet"})
    text = message(dkvb("run", path, "--images", tmp_path, "--root", tmp_path / "root", "--serial"), 1)
    assert text.startswith("manifest[train] and manifest[test]: images.label = 'bread': no column of integers or texts")
    assert "units failed" not in text
    assert "attempts" not in text
