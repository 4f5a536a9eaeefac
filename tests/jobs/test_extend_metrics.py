"""Metrics of another distribution, really installed: that of docs/extend.md, and bad ones."""

import math
import re
from itertools import pairwise

import polars as pl
import pytest
import torch

from dkvb.errors import ExtensionFailed, ExtensionMissing
from dkvb.extensions import METRICS, releases
from jobs.comparison.extended_metrics import measured, metrics_of
from jobs.errors import BadRequest, BadSpec
from jobs.plan.plan import make_plan
from jobs.results.compare_tables import attacks_table, compare_table, metric_rows, metrics_table
from tests.docs.blocks import blocks
from tests.documented import undocumented
from tests.jobs.comparison.small import oracle_judge, said
from tests.jobs.test_extend import put
from tests.paths import REPOSITORY

__all__ = ["put"]

(SOURCE,) = (block.text for block in blocks(REPOSITORY / "docs" / "extend.md") if "def agreement" in block.text)
POINTS, MODULES = {METRICS: {"agreement": "lab_metrics:agreement"}}, {"lab_metrics": SOURCE}
ASKED = {
    "compare.metrics": ["agreement"],
    "compare.seeds": [0],
    "compare.classes": ["ant", "bee"],
    "compare.heads": ["linear-lda"],
    "compare.oracle_kv": [],
    "compare.lira_heads": 0,
}


def one(put, source):
    """A distribution with one metric, "odd", which is what the source calls `odd`, loaded."""
    put({METRICS: {"odd": "lab_odd:odd"}}, {"lab_odd": source}, name="odd")
    return metrics_of(releases(METRICS, ["odd"]))


@pytest.mark.parametrize("trained", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_comparison_takes_the_metric_of_the_page_of_every_model(trained, put, run_tiny, images, own):
    put(POINTS, MODULES)
    heads = {"compare.heads": ["linear", "values"], "compare.trials": 2, "compare.tuning_classes": 2} if trained else {}
    made = run_tiny(own.root, images, ASKED | heads)
    step = "compare" if trained else "solved"
    rows = metric_rows(made)
    judged = pl.read_parquet(made.root / step / made.steps[step] / "compare.parquet")
    keys = ["class", "seed", "head", "method", "digest"]
    assert rows.select(keys).rows() == judged.select(keys).rows()
    assert rows["metric"].unique().to_list() == ["agreement"]
    by_method = {method: part["value"].to_list() for (method,), part in rows.group_by("method")}
    assert set(by_method["retrain"]) == {1.0}
    assert min(by_method["none"]) < 1
    assert (
        undocumented([name for make in (compare_table, attacks_table, metrics_table) for name in make(made).columns])
        == []
    )
    table = metrics_table(made)
    assert {*table["head"]} == {*rows["head"]}
    assert len(table) == len(rows) / 2, "two classes"
    for row in table.to_dicts():
        values = rows.filter(pl.col("head") == row["head"], pl.col("method") == row["method"])["value"].to_list()
        assert (row["value"], row["oracle"]) == (pytest.approx(sum(values) / 2), 1.0)
        assert row["low"] <= row["difference"] <= row["high"]
    del made.spec["compare"]["metrics"]
    with pytest.raises(BadRequest, match=r"its spec names no compare.metrics \(docs/extend.md\)"):
        metrics_table(made)


def test_an_experiment_without_a_comparison_says_so(finished):
    with pytest.raises(BadRequest, match=r"nothing was compared: its spec has no \[compare\]"):
        metric_rows(finished)


def test_the_value_of_the_oracle_stands_beside_each(put):
    judge = oracle_judge()
    model = said([1, 1, 2, 1], [0, 1])
    put(POINTS, MODULES)
    first, second = measured(metrics_of(releases(METRICS, ["agreement"])), judge, [model, judge.oracle])
    assert (first.head, first.method, first.metric, first.value, first.oracle) == (
        "values",
        "method",
        "agreement",
        1,
        1,
    )
    assert second.value == 1
    (nothing,) = measured(one(put, "def odd(model, judge):\n    return float('nan')\n"), judge, [model])
    assert math.isnan(nothing.value)


def test_a_metric_changes_the_digests_of_what_takes_it_and_no_others(put, make_spec, images):
    put(POINTS, MODULES)
    plans = []
    for version, metrics in (("1", None), ("1", ["agreement"]), ("2", ["agreement"])):
        put(POINTS, MODULES, version=version)
        heads = ["linear", "values", "linear-lda", "values-lda"]
        plan = make_plan(make_spec(ASKED | {"compare.metrics": metrics, "compare.heads": heads}), str(images))
        plans.append({step.label: step.digest for step in plan.steps})
    for before, after in pairwise(plans):
        assert {label for label in before if before[label] != after[label]} == {"compare", "solved"}


def test_an_unknown_name_and_another_version_are_told(put, make_spec):
    put(POINTS, MODULES)
    expected = r"^compare.metrics\[0\]: found 'agreemnt', expected an installed metric .*did you mean 'agreement'"
    with pytest.raises(BadSpec, match=expected):
        make_spec({"compare.metrics": ["agreemnt"]})
    planned = releases(METRICS, ["agreement"])
    put(POINTS, MODULES, version="9")
    with pytest.raises(ExtensionMissing, match=r"^metric 'agreement' of lab-unlearning 1.2.0: found lab-unlearning 9 "):
        metrics_of(planned)


def test_what_the_page_says_a_metric_is_given_is_there(put):
    given = {"model": said([1, 1, 2, 1], [0, 1]), "judge": oracle_judge()}
    page = (REPOSITORY / "docs" / "extend.md").read_text(encoding="utf-8")
    named = {*re.findall(r"`(model|judge)\.(\w+)", page)}
    assert len(named) == 7
    for one, name in named:
        assert hasattr(given[one], name)


def test_what_is_no_metric_ends_the_plan(put, make_spec, images):
    put({METRICS: {"odd": "lab_odd:odd"}}, {"lab_odd": "odd = 7"}, name="odd")
    with pytest.raises(ExtensionFailed, match=r"^metric 'odd' of odd 1.2.0: found 7, expected a function of a model"):
        make_plan(make_spec(ASKED | {"compare.metrics": ["odd"]}), str(images))


@pytest.mark.parametrize(
    ("body", "said_of_it"),
    [
        ("1 / 0", r"ZeroDivisionError: division by zero \(lab_odd.py:1\)"),
        ("model.logits['test'].mean()", "found a Tensor, expected a finite float, or NaN"),
        ("None", "found a NoneType, expected a finite float"),
        ("float('inf')", "found inf, expected a finite float"),
        ("model.logits['test'].add_(1).sum().item()", "changed logits or weights of a model in place"),
        ("judge.oracle.weights.zero_().sum().item()", "changed logits or weights of a model in place"),
    ],
)
def test_a_metric_that_goes_wrong_is_named_in_one_line(body, said_of_it, put):
    metrics = one(put, f"odd = lambda model, judge: {body}")
    with pytest.raises(ExtensionFailed, match=rf"^metric 'odd' of odd 1.2.0: {said_of_it}"):
        measured(metrics, oracle_judge(), [said([1, 1, 2, 1], [0, 1])])


def test_what_a_metric_does_to_labels_and_items_is_its_own(put):
    judge = oracle_judge()
    before = {split: own.clone() for split, own in judge.labels.items()}
    forget = {split: out.copy() for split, out in judge.forget.items()}
    source = (
        "def odd(model, judge):\n    judge.labels['test'].zero_()\n    judge.forget['test'][:] = True\n    return 0\n"
    )
    measured(one(put, source), judge, [judge.before])
    assert all(torch.equal(judge.labels[split], own) for split, own in before.items())
    assert all((judge.forget[split] == out).all() for split, out in forget.items())
