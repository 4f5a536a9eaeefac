"""What a plan says that steps need: of machines, and of time."""

import json
import re
from dataclasses import asdict

import pytest
from click.testing import CliRunner

from jobs.cli.main import cli
from jobs.errors import BadRequest, BadSpec
from jobs.kinds import KINDS
from jobs.memory import Sizes
from jobs.plan.cost import look_ahead, plans_text
from jobs.plan.needs import Needs, core_seconds, lines, needs, sizes_asked
from jobs.plan.plan import sketch
from jobs.spec.library import shipped
from jobs.spec.reading import load_specs

GIB = 1 << 30
FOUND = {"train": 1_281_167, "test": 50_000, "classes": 1000}


def asked():
    (spec,) = load_specs("imagenet1k-clip")
    return spec, sizes_asked(FOUND, spec.bottleneck, 512)


def test_what_a_plan_says_is_what_the_steps_say():
    spec, sizes = asked()
    assert sizes == Sizes(train=1_281_167, test=50_000, v=1000, c=256, m=4096, d_k=14, d_z=512)
    about = look_ahead(spec, None, None).to_json()
    steps = sketch(spec).steps
    assert [one["step"] for one in about["needs"]] == [step.label for step in steps]
    for step, one in zip(steps, about["needs"], strict=True):
        assert one["memory"] == KINDS[step.kind].memory(step.asks, sizes)
        assert one == asdict(needs(step, sizes))
        assert (one["vram"] > 0) is KINDS[step.kind].ON_GPU
        assert (one["scratch"] > 0) is (step.kind == "values")
    assert json.loads(json.dumps(about)) == about


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_spec_says_what_it_needs_or_that_its_sizes_are_not_known(name):
    for spec in load_specs(name):
        planned = look_ahead(spec, None, None)
        assert (planned.needs is None) is (planned.cost is None)
        text = plans_text([planned])
        assert ("core hours" in text) is (planned.needs is not None)
        assert "unknown" not in text
        assert "?" not in text


def test_twice_the_items_take_twice_as_long_and_test_items_are_those_of_the_test_split():
    spec, _ = asked()
    plan, small = sketch(spec), Sizes(train=997, test=101, v=7, c=11, m=31, d_k=3, d_z=37)
    train, test = (core_seconds(plan.step(f"codes[{split}]"), small) for split in ("train", "test"))
    assert train is not None
    assert test is not None
    assert train / test == pytest.approx(997 / 101)
    assert core_seconds(plan.step("neighbours[train]"), small) == pytest.approx(2 * train)
    double = Sizes(train=2 * 997, test=101, v=7, c=11, m=31, d_k=3, d_z=37)
    for label in ("values", "linear"):
        once, twice = (core_seconds(plan.step(label), sizes) for sizes in (small, double))
        assert once is not None
        assert twice == pytest.approx(2 * once)
    assert core_seconds(plan.step("embeddings[train]"), small) is None


def test_the_hours_of_real_runs_are_met_within_the_factor_that_is_said():
    """Sums of the seconds of units, on workers of one core: CIFAR-10, lite0, 60 epochs at most."""
    (spec,) = load_specs("cifar10")
    sizes = Sizes(train=50_000, test=10_000, v=10, c=256, m=4096, d_k=14, d_z=1280)
    seen = {"keys": 164.8, "codes[train]": 25.1, "neighbours[train]": 51.8, "values": 245.5, "sweep": 946.8}
    for label, seconds in seen.items():
        said = core_seconds(sketch(spec).step(label), sizes)
        assert said is not None
        assert 1 / 3.5 < said / seconds < 3.5, label


def test_the_sweep_is_said_as_it_was_measured_at_full_size():
    """docs/performance.md: 841 s on two cores, 1000 classes, 50,000 items, one method of the two."""
    (spec,) = load_specs("imagenet1k-clip")
    sizes = Sizes(train=1_281_167, test=50_000, v=1000, c=256, m=4096, d_k=14, d_z=512)
    said = core_seconds(sketch(spec).step("sweep"), sizes)
    assert said is not None
    measured = 2 * 841.0 * 2 * (1_281_167 + 50_000) / 50_000
    assert 1 / 1.5 < said / measured < 1.5
    assert said == pytest.approx(23 * 3600, rel=0.02), "docs/performance.md says it"


def test_what_is_too_large_for_a_machine_is_named():
    all_needs = [
        Needs(step="small", memory=GIB, scratch=0, vram=0, core_s=7200.0),
        Needs(step="large", memory=13 * GIB, scratch=8 * GIB, vram=3 * GIB, core_s=None),
    ]
    text = lines(all_needs, cpus=4, memory=12.5 * GIB, whose="--memory")
    assert text[1].split() == ["small", "1.0", "GiB", "-", "-", "2.00"]
    assert text[2].split() == [
        "large",
        "13.0",
        "GiB",
        "3.0",
        "GiB",
        "8.0",
        "GiB",
        "-",
        "on",
        "a",
        "GPU:",
        "not",
        "measured",
    ]
    assert text[4] == "  too large for a machine with 12.5 GiB of memory: large"
    fits = lines(all_needs, cpus=4, memory=27 * GIB, whose="this machine")
    assert fits[4] == "  memory: at most 13.0 GiB for each of 2 workers, of the 27.0 GiB of this machine"


def test_the_command_takes_the_machine_that_is_given():
    told = CliRunner().invoke(cli, ["plan", "imagenet1k-clip", "--cpus", "16", "--memory", "12"])
    assert told.exit_code == 0
    assert re.search(r"time: about [\d.]+ hours on 16 CPUs", told.output)
    assert "too large for a machine with 12.0 GiB of memory: linear" in told.output
    assert [line.split()[0] for line in told.output.splitlines() if line.endswith("on a GPU: not measured")] == [
        *("embeddings[train]", "embeddings[test]", "keys", "codes[train]", "codes[test]"),
        *("neighbours[train]", "neighbours[test]"),
    ]
    assert "WARNING" not in told.stderr
    assert "too large" not in CliRunner().invoke(cli, ["plan", "imagenet1k-clip", "--memory", "64"]).output


def rendered(*words):
    return CliRunner().invoke(cli, ["cluster", "render", *words])


@pytest.mark.parametrize("provider", ["kuberay", "kueue"])
def test_pods_are_rendered_with_the_memory_of_the_most_demanding_step(provider):
    spec, _ = asked()
    largest = dict.fromkeys((True, False), 0)
    for step, one in zip(sketch(spec).steps, look_ahead(spec, None, None).to_json()["needs"], strict=True):
        on_gpu = KINDS[step.kind].ON_GPU
        largest[on_gpu] = max(largest[on_gpu], one["memory"])
    gpu, cpu = (-(-size // GIB) + 2 for size in (largest[True], largest[False]))
    told = rendered("--provider", provider, "--for", "imagenet1k-clip")
    assert told.exit_code == 0
    assert told.output.count(f"memory: {gpu}Gi, ") == 2
    assert len(re.findall(rf"memory: {cpu}Gi[,}}]", told.output)) == 2
    assert rendered("--provider", provider).output == rendered("--provider", provider, "--for", "cifar10").output


def test_machines_for_ray_up_have_the_memory_of_their_type():
    told = rendered("--provider", "aws", "--for", "imagenet1k-clip")
    assert isinstance(told.exception, BadRequest)
    assert "expected kuberay or kueue" in str(told.exception)


def test_a_spec_without_sizes_cannot_be_rendered_for(spec_file):
    told = rendered("--provider", "kuberay", "--for", str(spec_file()))
    assert isinstance(told.exception, BadSpec)
    assert "expected images.expect" in str(told.exception)
