"""Laws of tuning: every setting of every method on every class, by the training items."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from jobs import inputs
from jobs.comparison.methods import GRADIENT
from jobs.kinds.tuning import Asks
from jobs.step import Task
from jobs.steps import tuning
from store.artefacts import Artefact
from tests.jobs.comparison import small


def test_a_unit_is_a_class_a_head_and_a_method(monkeypatch):
    monkeypatch.setattr(inputs, "wanted_classes", lambda task: [2, 7])
    units = tuning.prepare(small.task(asks=Asks(classes=None, trials=1, first=3, seed=0)))
    assert len(units) == 2 * 2 * len(GRADIENT)
    assert units[:2] == ["00002-linear-0", "00002-linear-1"]
    assert units[4:5] == ["00002-values-0"]
    assert units[-1] == "00007-values-3"


@pytest.mark.parametrize(("place", "method"), [*enumerate(GRADIENT)], ids=[method.name for method in GRADIENT])
def test_the_class_s_items_are_forgotten_by_every_setting_in_order(place, method, monkeypatch):
    read, ran = [], []
    head = small.head()

    def unlearn(baseline, request, *, seed, important):
        assert (request.forget.tolist(), seed) == ([0, 3], 5)
        assert (important is not None) == (method.name == "ssd")
        ran.append(baseline)
        yield request.weights
        yield torch.zeros_like(request.weights)  # all is class 0

    monkeypatch.setattr(tuning, "use_one_core", lambda: None)

    class Read:
        def __init__(self, name):
            self.name = name

        def read(self, task):
            read.append(self.name)
            return head

    monkeypatch.setattr(tuning, "HEADS", {name: Read(name) for name in ("linear", "values")})
    monkeypatch.setattr(type(method.baseline), "unlearn", unlearn)
    work = tuning.open_work(small.task(asks=SimpleNamespace(seed=5, trials=3, extensions=None)))
    facts = work(f"00000-values-{place}")
    assert (facts["class"], facts["head"], facts["method"]) == (0, "values", method.name)
    assert ran == head.trials(method.baseline, 3)
    assert [trial["score"] for trial in facts["trials"]] == [0.5] * 3
    assert [trial["history"] for trial in facts["trials"]] == [[0.5, 0.0]] * 3
    work(f"00000-values-{place}")
    assert read == ["values"], "a head is read once while it is asked for"
    work(f"00000-linear-{place}")
    assert read == ["values", "linear"]


def test_all_units_are_kept():
    task = small.task(output=SimpleNamespace(marks=lambda: {"a": {"class": 1}, "b": {"class": 2}}))
    assert tuning.finish(task) == {"trials": [{"class": 1}, {"class": 2}]}


@pytest.mark.parametrize(("alone", "tried"), [(True, [2, 0, 1]), (False, [2])])
def test_one_class_that_is_compared_alone_has_others_beside_it_that_choose_its_settings(
    alone, tried, monkeypatch, tmp_path
):
    asks = Asks(classes=["cat"], trials=1, first=3, seed=0, alone=alone)
    task: Any = Task(output=Artefact(tmp_path, "tuning", 16 * "0"), inputs={}, asks=asks, location="")
    monkeypatch.setattr(inputs, "wanted_classes", lambda task: [2] if task.asks.classes else [0, 1, 2, 3])
    assert [*dict.fromkeys(int(unit[:5]) for unit in tuning.prepare(task))] == tried
