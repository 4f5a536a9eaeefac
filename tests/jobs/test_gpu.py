"""Steps on a GPU: what it computes is held against the CPU before it is kept."""

import pytest
import torch

from cluster.units import SerialExecutor
from dkvb.codes import encode
from dkvb.keys import KeySettings, fit_codebooks
from dkvb.neighbours import neighbours
from jobs.errors import GpuDiffers
from jobs.gpu import COMPARED, alike, codes_of, compared, keys_of, lists_of
from jobs.plan.plan import make_plan
from jobs.run.run import run
from tests.dkvb.gpu.drawn import drawn

CPU = torch.device("cpu")


class OtherDevice:
    """Stands for a GPU: computes codes as the CPU does, but for the items that it gets wrong."""

    def __init__(self, wrong: slice) -> None:
        self.model, self.wrong = drawn(1, 1)[0], wrong
        self.asked: list[int] = []

    def __call__(self, where: torch.device, z: torch.Tensor) -> torch.Tensor:
        self.asked.append(len(z))
        codes = encode(z, self.model.projection, self.model.keys)
        if where.type == "meta":
            codes[self.wrong] += 1
        return codes


def test_codes_that_are_those_of_the_cpu_are_kept():
    z = drawn(2, 3 * COMPARED)[1]
    device = OtherDevice(slice(0, 0))
    assert torch.equal(compared("codes", z, device, torch.device("meta")), device(CPU, z))
    assert device.asked[:2] == [len(z), COMPARED]


@pytest.mark.parametrize("wrong", [slice(0, 1), slice(-1, None), slice(90, 96), slice(None)])
def test_codes_that_differ_are_refused_wherever_in_the_block(wrong):
    z = drawn(3, 3 * COMPARED)[1]
    with pytest.raises(GpuDiffers, match=rf"codes: on meta \d+ of {COMPARED} rows .* came out otherwise.*--gpus 0"):
        compared("codes", z, OtherDevice(wrong), torch.device("meta"))


@pytest.mark.parametrize("n", [0, 1, COMPARED - 1])
def test_of_a_small_block_every_item_is_compared(n):
    z = drawn(4, n)[1]
    device = OtherDevice(slice(0, 0))
    assert len(compared("codes", z, device, torch.device("meta"))) == n
    assert device.asked == [n, n]


def test_keys_that_differ_are_refused():
    keys = torch.randn(7, 3)
    alike("keys", keys, keys.clone(), CPU)
    with pytest.raises(GpuDiffers, match="keys: on meta 1 of 7 rows"):
        alike("keys", keys, keys + torch.eye(7, 3)[:, :1] * 1e-3, torch.device("meta"))


@pytest.mark.gpu
def test_a_worker_with_a_gpu_fits_the_keys_of_the_cpu():
    z = drawn(6, 300)[1]
    for settings in (KeySettings(epochs=2, batch=32), KeySettings(epochs=1, dead=0)):
        found = keys_of(z, [0, 3], (20, 5), seed=1, settings=settings)
        expected = fit_codebooks(z, [0, 3], (20, 5), seed=1, settings=settings)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.gpu
def test_a_worker_with_a_gpu_gives_the_codes_and_lists_of_the_cpu():
    model, z = drawn(5, 300)
    parts = (z, model.projection, model.keys)
    assert torch.equal(codes_of(*parts, selectable=None), encode(*parts))
    lists = lists_of(*parts, selectable=model.selectable, r=5)
    assert torch.equal(lists, neighbours(*parts, selectable=model.selectable, r=5))


@pytest.mark.parametrize("gpus", [True, False])
def test_steps_on_gpus_come_first_and_by_themselves_only_where_workers_hold_gpus(
    gpus, make_spec, images, tmp_path, watched
):
    maps = []

    class Watching(SerialExecutor):
        def holds_gpus(self):
            return gpus

        def map(self, factory, units, *, policy, on_event, on_gpu=False, memory=0):
            maps.append((on_gpu, {unit.split("/")[0].split("[")[0] for unit in units}))
            return super().map(factory, units, policy=policy, on_event=on_event, on_gpu=on_gpu, memory=memory)

    run([make_plan(make_spec({}), str(images))], tmp_path, Watching(), watched)
    on_gpus = {kind for on_gpu, kinds in maps if on_gpu for kind in kinds}
    assert on_gpus == ({"embeddings", "keys", "codes", "neighbours"} if gpus else set())
    assert any({"neighbours", "values"} <= kinds for _, kinds in maps) is not gpus
