"""Settings of unlearning by gradients: whose they are, which are tried, what they cost, and which are refused."""

from dataclasses import astuple
from itertools import pairwise

import pytest

from dkvb.baselines import Dampen, FineTune, NegGrad, Scrub
from dkvb.errors import BadSetting
from dkvb.flops import Flops


def test_settings_are_those_of_the_authors_unless_given():
    assert astuple(Scrub()) == (5e-4, 3, 2, 0.99, 0.001, 4.0, 0.9, 5e-4, 512, 256)
    assert astuple(NegGrad()) == (0.01, 10, 0.95, 0.9, 5e-4, 256)
    assert astuple(FineTune()) == (0.01, 10, 0.9, 5e-4, 256)
    assert astuple(Dampen()) == (10.0, 1.0, 64)


BASELINES = [Scrub(), NegGrad(), FineTune(), Dampen()]
tuned = pytest.mark.parametrize("baseline", BASELINES, ids=lambda one: type(one).__name__)


@tuned
def test_every_method_has_as_many_trials(baseline):
    for number in (1, 2, 5, 8):
        made = baseline.trials(number, decades=(-2, 2), codebooks=64)
        assert len(made) == len(set(made)) == number
        assert {type(one) for one in made} == {type(baseline)}


@tuned
@pytest.mark.parametrize("decades", [(-2.0, 2.0), (0.5, 4.5)])
def test_trials_are_spread_evenly_over_decades(baseline, decades):
    made = baseline.trials(5, decades=decades, codebooks=64)
    numbers = [one.alpha if isinstance(one, Dampen) else one.lr for one in made]
    ratios = [later / earlier for earlier, later in pairwise(numbers)]
    assert ratios == pytest.approx([10] * 4, rel=0.02)
    first = 0.01 * 10 if isinstance(baseline, Dampen) else 10 ** decades[0] * 64 * baseline.lr
    assert numbers[0] == pytest.approx(first, rel=0.01)


def test_a_single_trial_is_the_authors_setting_and_on_values_c_times_its_step():
    assert Scrub().trials(1, decades=(-2, 2), codebooks=1) == [Scrub()]
    assert Dampen().trials(1, decades=(0.5, 4.5), codebooks=64) == [Dampen()]
    (made,) = FineTune().trials(1, decades=(0.5, 4.5), codebooks=64)
    assert made.lr == 64 * FineTune().lr
    assert made.lr * made.decay == pytest.approx(FineTune().lr * FineTune().decay)


@tuned
def test_no_trials_are_refused(baseline):
    with pytest.raises(BadSetting, match="count: found 0"):
        baseline.trials(0, decades=(-2, 2), codebooks=1)


def test_an_epoch_costs_the_items_that_it_takes():
    item = Flops(7, 11)
    sizes = {"retain": 10, "forget": 3}
    assert FineTune(batch=4).flops(item, epochs=2, **sizes) == item * 20
    # Three batches of items that stay, each beside all three that go, of which a batch of two takes two.
    assert NegGrad(batch=4).flops(item, epochs=2, **sizes) == item * (2 * (10 + 3 * 3))
    assert NegGrad(batch=2).flops(item, epochs=1, **sizes) == item * (10 + 5 * 2)
    # All 13 items once forward, for the teacher.
    assert Scrub(max_epochs=2).flops(item, epochs=1, **sizes) == item * (10 + 3) + Flops(13 * 7, 0)
    assert Scrub(max_epochs=2).flops(item, epochs=5, **sizes) == item * (50 + 2 * 3) + Flops(13 * 7, 0)
    assert Dampen().flops(item, epochs=1, **sizes) == item * (13 + 3)


@pytest.mark.parametrize(
    ("kind", "name", "bad"),
    [
        *[(kind, name, 0) for kind in (NegGrad, FineTune) for name in ("epochs", "batch")],
        *[(Scrub, name, 0) for name in ("epochs", "forget_batch", "retain_batch", "temperature")],
        *[(Scrub, name, -1) for name in ("max_epochs", "gamma", "alpha", "temperature")],
        *[(Scrub, name, float("nan")) for name in ("gamma", "alpha", "temperature")],
        *[(NegGrad, "alpha", bad) for bad in (-0.1, 1.1, float("nan"))],
        *[(Dampen, name, bad) for name in ("alpha", "lam") for bad in (-0.1, float("nan"), float("inf"))],
        (Dampen, "batch", 0),
    ],
)
def test_settings_that_no_method_knows_are_refused(kind, name, bad):
    with pytest.raises(BadSetting, match=f"{name}: found {bad}"):
        kind(**{name: bad})
