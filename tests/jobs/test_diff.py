"""Two experiments beside each other."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from dkvb.bottleneck import Bottleneck, decode
from dkvb.statistics import change_width
from jobs.diff import changes, check_classes, diff, measured, paired_classes, per_class
from jobs.diff_intervals import over_test_items
from jobs.errors import BadRequest
from jobs.query.outcome import Outcome
from jobs.query.stored import Stored
from jobs.results.experiment import Experiment, find
from jobs.results.headline import by_class
from jobs.results.sweep_tables import half_interval, summary_table
from store.layout import CHECKPOINT
from tests.jobs.results.sweeps import class_rows, frame


@pytest.fixture(scope="module")
def both(finished, run_tiny, images, tmp_path_factory):
    """Two experiments on one root: the second has so few keys that others suffer, and one seed for its examples."""
    root = tmp_path_factory.mktemp("both") / "root"
    shutil.copytree(finished.root, root)
    other = run_tiny(root, images, {"name": "fewer", "bottleneck.c": 3, "bottleneck.m": 4, "sweep.uve.seeds": [0]})
    return find(root, "tiny"), other


@pytest.fixture(scope="module")
def made(both):
    return diff(*both)


def test_specs_differ_by_dotted_keys(made):
    found = {change.key: (change.a, change.b) for change in made.spec}
    assert found == {
        "name": ('"tiny"', '"fewer"'),
        "bottleneck.c": ("11", "3"),
        "bottleneck.m": ("13", "4"),
        "sweep.uve.seeds": ("[0, 3]", "[0]"),
    }
    assert "embeddings[test]" in made.shared
    assert made.changed == [label for label in made.a.steps if label not in made.shared]
    assert {"keys", "values", "sweep"} <= set(made.changed)


def test_the_same_twice_is_told_in_a_line_and_with_what_keeps_two_apart(dkvb, finished, made):
    ended = dkvb("diff", finished.root, finished.root)
    assert ended.code == 0
    assert ended.out.startswith("A and B are the same: every step has the same digest; nothing to compare")
    assert len(ended.out.splitlines()) == 1
    assert "`dkvb diff ROOT ROOT --a NAME --b NAME`" in ended.out
    about = json.loads(dkvb("diff", finished.root, finished.root, "--json").out)
    assert about["same"] is True
    assert about["accuracy"], "programs get the tables as always"
    assert made.to_json()["same"] is False
    assert "are the same" not in made.text()


def test_a_key_that_one_spec_alone_has_is_told_from_null():
    found = changes({"a": {"x": 1, "y": None}, "b": [1, 2]}, {"a": {"x": 1}, "b": [2, 1], "c": {"z": "ü"}})
    assert [(change.key, change.a, change.b) for change in found] == [
        ("a.y", "null", None),
        ("b", "[1, 2]", "[2, 1]"),
        ("c.z", None, '"ü"'),
    ]


def test_accuracy_is_paired_over_test_items(made, both):
    right = []
    for experiment in both:
        model = Bottleneck.load(experiment.artefact("values").path / CHECKPOINT)
        stored = Stored(experiment)
        codes = stored.codes("test")[...]
        predicted = decode(torch.from_numpy(codes), model.values).argmax(1).numpy()
        right.append(predicted == stored.labels("test"))
    row = made.accuracy.row(0, named=True)
    lost, gained = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    assert (row["what"], row["items"]) == ("test", 15)
    assert (row["a right"], row["b right"]) == tuple(int(one.sum()) for one in right)
    assert (row["only a"], row["only b"]) == (lost, gained)
    assert row["difference"] == pytest.approx(100 * (gained - lost) / 15)
    width = change_width(np.array([lost]), np.array([gained]), np.array([15]))[0]
    assert row["± 95 % over items"] == pytest.approx(100 * width)
    assert made.accuracy["what"].to_list() == ["test", "train", "linear head, test"]
    assert made.accuracy["difference"][2] == 0  # the linear head is the same step
    assert made.accuracy["items"].to_list() == [15, 41, 15]


def test_forgetting_is_paired_over_classes(made, both):
    for method in ("uva", "uve"):
        rows = made.forgetting.filter(pl.col("method") == method)
        for side, experiment in (("a", both[0]), ("b", both[1])):
            summary = summary_table(experiment).row(by_predicate=pl.col("method") == method, named=True)
            assert summary["never known"] == 0
            change = rows.row(by_predicate=pl.col("measure") == "retain change", named=True)
            assert change[side] == pytest.approx(summary["retain change"])
            after = rows.row(by_predicate=pl.col("measure") == "test after", named=True)
            assert (after[f"{side} right"], after[f"{side} items"]) == (summary["test right"], summary["test items"])
        classes = made.classes.filter(pl.col("method") == method)
        gaps = classes["b retain change"] - classes["a retain change"]
        assert change["difference"] == pytest.approx(gaps.mean())
        assert change["± 95 % over classes"] == pytest.approx(half_interval(gaps))
        assert change["classes"] == 3


def test_the_retain_change_is_paired_over_test_items_too(made, both):
    """By hand, from the masks of the rule and the stored codes of every class."""
    adds = []
    for experiment in both:
        stored = Stored(experiment)
        before, n = Outcome.of(stored, "test"), 15
        total = np.zeros(n)
        for k in range(3):
            after = Outcome.both(stored, "test", stored.rule_mask([k]))[1]
            others = before.labels != k
            total[others] += (after.right.astype(int) - before.right)[others] / others.sum()
        adds.append(100 * n * total / 3)
    row = made.forgetting.row(
        by_predicate=(pl.col("method") == "uva") & (pl.col("measure") == "retain change"), named=True
    )
    assert not np.array_equal(adds[0], adds[1]), "nothing to compare"
    assert row["difference"] == pytest.approx((adds[1] - adds[0]).mean())
    assert row["± 95 % over test items"] == pytest.approx(half_interval(pl.Series(adds[1] - adds[0])))


def test_the_interval_over_test_items_is_that_of_their_differences():
    """Two classes and five test items, worked out by hand."""
    known = pl.DataFrame({"class": [0, 1], "seeds": [1, 1]})
    a = pl.DataFrame({"item": [3, 0, 3], "change": [0.2, -0.1, 0.1]})
    b = pl.DataFrame({"item": [4, 3], "change": [0.5, 0.3]})
    share = 100 * 5 / 2
    expected = half_interval(pl.Series([0.1 * share, 0.0, 0.0, 0.0, 0.5 * share]))
    assert expected is not None
    assert expected > 50
    assert over_test_items([known, known], [a, b], 5) == pytest.approx(expected)
    assert over_test_items([known, known], [a, a], 5) == 0
    assert over_test_items([known, known], [a, None], 5) is None
    assert over_test_items([known, known.head(1)], [a, b], 5) is None


def test_an_experiment_does_not_differ_from_itself(finished):
    made = diff(finished, finished)
    assert made.spec == []
    assert made.changed == []
    assert "the specs say the same" in replace(made, changed=["values"]).text()
    assert set(made.forgetting["difference"].drop_nulls()) <= {0.0}
    assert set(made.accuracy["± 95 % over items"].drop_nulls()) == {0.0}


def test_a_class_that_one_model_never_knew_is_left_out():
    one = per_class(by_class(frame(class_rows("a") + class_rows("b", retain=(0.7, 0.6)) + class_rows("c"))))
    other = per_class(
        by_class(frame(class_rows("a", retain=(0.7, 0.65)) + class_rows("b") + class_rows("c", test=(0.0, 0.0))))
    )
    paired = paired_classes(one, other)
    assert paired["name"].to_list() == ["a", "b"]
    rows = {row["measure"]: row for row in measured(paired, {"uva": None})}
    assert rows["retain change"]["difference"] == pytest.approx((-5 + 10) / 2)
    assert rows["classes forgotten"]["a"] == rows["classes forgotten"]["b"] == 2
    assert rows["test after"]["a items"] == 1000


def with_classes(experiment, names):
    """An experiment with other classes."""

    class Other(Experiment):
        @property
        def classes(self):
            return names

    return Other(root=experiment.root, name=experiment.name, spec=experiment.spec, steps=experiment.steps)


def test_what_cannot_be_paired_is_refused(both, finished):
    with pytest.raises(BadRequest, match=r"only A has cat; only B has .*x1b.*dog"):
        check_classes(finished, with_classes(finished, ["ant", "bee", "\x1b[31mdog"]))
    with pytest.raises(BadRequest, match="the same in another order"):
        check_classes(finished, with_classes(finished, ["bee", "ant", "cat"]))
    steps = {**finished.steps, "manifest[test]": finished.steps["manifest[train]"]}
    with pytest.raises(BadRequest, match=r"found different test items .15 in 2 shards, and 41 in 4"):
        diff(finished, replace(finished, steps=steps))


def test_the_command_shows_tables_and_json(dkvb, both):
    root = both[0].root
    words = ("diff", root, root, "--a", "tiny", "--b", "fewer")
    done = dkvb(*words)
    assert done.code == 0, done.err
    assert "| bottleneck.m    | 13 " in done.out
    assert "steps in common: manifest[train], " in done.out
    assert "classes forgotten" in done.out
    said = json.loads(dkvb(*words, "--json").out)
    assert {"key": "bottleneck.m", "a": 13, "b": 4} in said["spec"]
    assert said["a"] == {"root": str(root), "experiment": "tiny"}
    assert len(said["classes"]) == 6
    unnamed = dkvb("diff", root, root)
    assert unnamed.code == 2
    assert "say which with --a NAME" in unnamed.err
    assert dkvb("diff", root, Path(root) / "codes", "--a", "tiny").code != 0
