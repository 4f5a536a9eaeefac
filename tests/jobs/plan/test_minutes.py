"""How long a run will take: waves of steps at a speed, on so many CPUs, and what nobody can know."""

from dataclasses import replace

import pytest

from jobs.plan.cost import look_ahead
from jobs.plan.machine import BATCH, measure
from jobs.plan.minutes import NOTHING, START_S, Speed, lasting, minutes, seconds_of, words
from jobs.spec.reading import load_specs

SPEED = Speed(images=50.0, device="cpu", seen=96, decoded=True, core=1.0)
GIB = 1 << 30


@pytest.fixture(scope="module")
def planned():
    (spec,) = load_specs("cifar10")
    return look_ahead(spec, None, None)


def taken(planned, speed=SPEED, cpus=1, memory=64.0 * GIB):
    found = minutes([planned], [speed], cpus=cpus, memory=memory)
    assert found is not None
    return found


def test_on_one_cpu_it_is_the_sum_of_all_steps(planned):
    each = [
        seconds_of(step, planned.sizes, need, SPEED)
        for step, need in zip(planned.plan.steps, planned.needs, strict=True)
    ]
    assert taken(planned).seconds == pytest.approx(START_S + sum(seconds or 0 for seconds in each))
    assert taken(planned).not_known == []


def test_images_take_as_long_as_was_measured(planned):
    needs = {need.step: need for need in planned.needs}
    for label, seconds in (("embeddings[train]", 50_000 / 50), ("embeddings[test]", 10_000 / 50)):
        assert seconds_of(planned.plan.step(label), planned.sizes, needs[label], SPEED) == seconds
    twice = replace(SPEED, images=100.0)
    assert taken(planned).seconds - taken(planned, twice).seconds == pytest.approx(60_000 / 100)


def test_a_core_that_is_twice_as_fast_halves_the_rest(planned):
    images = 60_000 / SPEED.images
    rest, half = (taken(planned, replace(SPEED, core=core)).seconds - START_S - images for core in (1.0, 2.0))
    assert half == pytest.approx(rest / 2)


def test_more_cpus_help_but_no_step_of_one_unit(planned):
    values = next(need for need in planned.needs if need.step == "values")
    one, two, many = (taken(planned, cpus=cpus).seconds for cpus in (1, 2, 1000))
    assert one > two > many > values.core_s + START_S


def test_memory_for_one_worker_alone_is_as_one_cpu(planned):
    least = max(need.memory for need in planned.needs)
    assert taken(planned, cpus=8, memory=1.0 * least).seconds > taken(planned, cpus=8).seconds


def test_a_gpu_is_not_multiplied_by_cpus(planned):
    on_gpu = replace(SPEED, device="cuda")
    gap = taken(planned, on_gpu, cpus=8).seconds - taken(planned, SPEED, cpus=8).seconds
    assert gap == pytest.approx(60_000 / 50 * (1 - 1 / 8))


def test_what_is_done_takes_nothing(make_spec, finished, own_images):
    done = look_ahead(make_spec(), str(own_images), finished.root)
    assert taken(done, NOTHING).seconds == 0
    assert words(taken(done, NOTHING)) == ["time: nothing is left to do"]
    part = look_ahead(make_spec({"sweep.uva.shares": [0.5]}), str(own_images), finished.root)
    assert 0 < taken(part).seconds - START_S < 1


def test_two_experiments_that_share_all_but_a_sweep_take_hardly_longer_than_one(make_spec, images):
    one = look_ahead(make_spec(), str(images), None)
    other = look_ahead(make_spec({"name": "other", "sweep.uva.shares": [0.5]}), str(images), None)
    both = minutes([one, other], [SPEED, SPEED], cpus=1, memory=64.0 * GIB)
    assert both is not None
    assert taken(one).seconds < both.seconds < 1.01 * taken(one).seconds


def test_what_cannot_be_known_is_said_in_words_with_what_would_tell():
    (spec,) = load_specs("cifar10-compare")
    found = taken(look_ahead(spec, None, None))
    assert {"tuning", "compare", "lira"} <= {label.partition("@")[0] for label in found.not_known}
    text = "\n".join(words(found))
    assert "compare.classes set to one class tells" in text
    assert "unknown" not in text


def test_without_sizes_no_time_is_said(make_spec):
    assert minutes([look_ahead(make_spec(), None, None)], [SPEED], cpus=1, memory=GIB) is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(2, "5 seconds"), (43, "45 seconds"), (100, "2 minutes"), (3600, "60 minutes"), (9000, "2.5 hours")],
)
def test_a_time_is_said_as_people_say_it(seconds, said):
    assert lasting(seconds) == said


# This machine, measured.


def test_the_machine_is_measured_on_images_that_are_there(make_spec, images, monkeypatch):
    monkeypatch.setattr("jobs.plan.machine.SECONDS", 0.2)
    monkeypatch.setattr("jobs.plan.machine.CORE_SECONDS", 0.05)
    planned = look_ahead(make_spec(), str(images), None)
    assert planned.found.counted is not None
    shards = planned.found.counted.train.manifest.shards
    own = measure(planned.spec, planned.spec.images.split("train").open(str(images)), shards)
    assert own.decoded
    assert 0 < own.seen <= 41
    assert own.images > 0
    assert own.core > 0
    black = measure(planned.spec, None)
    assert not black.decoded
    assert black.seen % BATCH["cpu"] == 0
    assert "black images" in "\n".join(words(taken(planned, black)))


def test_no_weights_are_needed_to_measure(make_spec, monkeypatch):
    """The same network with random weights is as fast, and is not fetched from anywhere."""
    monkeypatch.setattr("jobs.plan.machine.SECONDS", 0.05)
    monkeypatch.setattr("jobs.plan.machine.CORE_SECONDS", 0.05)
    monkeypatch.setattr("dkvb.backbones.from_hub", lambda *_: pytest.fail("asked the hub"))
    changes = {"backbone.library": "timm", "backbone.name": "resnet18.a1_in1k"}
    assert measure(make_spec(changes), None).images > 0
