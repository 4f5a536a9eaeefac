"""What the script of a page reads, against the sweep that it is made of."""

import pytest

from jobs.report import along
from jobs.report.along import explored, kept
from tests.jobs.report.made import swept


def test_a_class_along_n_is_what_the_sweep_says():
    sweep = swept(["ant", "bee", "cat"], budgets=5, train=100, test=40, methods=("uva",))
    data = explored(sweep, {0: [(1, 42)]})
    assert data["classes"] == ["ant", "bee", "cat"]
    assert (data["train"], data["test"], data["others"]) == ([100] * 3, [40] * 3, [80] * 3)
    assert data["alike"] == {"0": [[1, 42]]}
    (method,) = data["methods"]
    bee = method["rows"][1]
    rows = sweep.rows.filter(name="bee").sort("budget")
    assert bee["n"] == rows["budget"].to_list()
    assert bee["most"] == 20010
    assert [count / 100 for count in bee["train"]] == pytest.approx(rows["train_forget"].to_list())
    assert [count / 40 for count in bee["test"]] == pytest.approx(rows["test_forget"].to_list())
    assert [(bee["right"] + more) / 80 for more in bee["change"]] == pytest.approx(rows["test_retain"].to_list())
    assert rows["forget_hit_share"][bee["rule"]] >= 0.99 > rows["forget_hit_share"][bee["rule"] - 1]


def test_a_long_grid_keeps_its_ends_and_the_rule(monkeypatch):
    assert kept(5, 3, 10) == [0, 1, 2, 3, 4]
    assert kept(101, 87, 3) == [0, 50, 87, 100]
    assert kept(1, None, 3) == [0]
    monkeypatch.setattr(along, "POINTS", 60)
    whole, thin = (explored(swept(["ant", "bee"], budgets=count), {}) for count in (5, 400))
    assert len(whole["methods"][0]["rows"][0]["n"]) == 5
    for method in thin["methods"]:
        for row in method["rows"]:
            assert len(row["n"]) <= 15
            assert row["n"][0] == 0
            assert row["n"][-1] == row["most"]
            assert {len(row[name]) for name in ("train", "test", "change", "worst", "damage")} == {len(row["n"])}


def test_a_grid_that_does_not_reach_the_rule_has_none():
    sweep = swept(["ant", "bee"], budgets=5)
    rows = sweep.rows.with_columns(forget_hit_share=0.5)
    data = explored(type(sweep)(sweep.names, sweep.items, rows, sweep.classes, sweep.summary), {})
    assert {row["rule"] for method in data["methods"] for row in method["rows"]} == {None}
