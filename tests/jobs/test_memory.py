"""What a unit says it needs, and that it is asked for."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from cluster.units import SerialExecutor
from dkvb.training import TrainSettings
from jobs.kinds import KINDS, values
from jobs.memory import PROCESS, Sizes, sizes_of, upstream
from jobs.plan.plan import make_plan, sketch
from jobs.run.run import run
from jobs.spec.library import shipped
from jobs.spec.reading import load_specs
from tests.tiny import TEST, TINY, TRAIN, Watched, toml

GIB = 1 << 30
IMAGENET = Sizes(train=1_281_167, test=50_000, v=1000, c=256, m=4096, d_k=14, d_z=512)
SMALL = Sizes(train=59, test=17, v=3, c=11, m=13, d_k=5, d_z=37)


def test_values_at_imagenet_size_need_less_than_eight_gib():
    asks = values.Asks(settings=TrainSettings(), seed=0, selectable="used")
    needed = values.memory(asks, IMAGENET)
    assert 4 * IMAGENET.train * IMAGENET.v + IMAGENET.codes < needed < 8 * GIB
    assert IMAGENET.scratch == 2 * IMAGENET.table
    assert SMALL.scratch == 0


@pytest.mark.parametrize("name", shipped())
def test_every_step_says_what_it_needs_and_more_items_need_no_less(name):
    for spec in load_specs(name):
        for step in sketch(spec).steps:
            memory = KINDS[step.kind].memory
            small, large = memory(step.asks, SMALL), memory(step.asks, IMAGENET)
            assert PROCESS <= small <= large


def test_sizes_are_those_of_what_comes_before(tmp_path, images):
    spec = tmp_path / "spec.toml"
    spec.write_text(toml(TINY))
    (read,) = load_specs(str(spec))
    plan, root = make_plan(read, str(images)), tmp_path / "root"
    step = plan.step("values")
    unknown = Sizes(c=11, m=13, d_k=3, d_z=1280)
    assert sizes_of(step, root) == unknown
    asked = Asked()
    run([plan], root, asked, Watched())
    expected = replace(unknown, train=sum(TRAIN.values()), v=3)
    assert sizes_of(step, root) == expected
    assert sizes_of(plan.step("sweep"), root) == replace(expected, test=sum(TEST.values()))
    assert len({one.digest for one in upstream(plan.step("sweep"))}) == len([*upstream(plan.step("sweep"))])
    needed = max(KINDS[one.kind].memory(one.asks, sizes_of(one, root)) for one in plan.steps)
    assert max(asked.memory) == needed
    assert min(asked.memory) >= PROCESS


@dataclass(frozen=True)
class Asked(SerialExecutor):
    """An executor in this process that keeps what it was asked for."""

    memory: list[int] = field(default_factory=list)

    def map(self, *words: Any, memory: int = 0, **more: Any) -> Any:
        self.memory.append(memory)
        return super().map(*words, **more)
