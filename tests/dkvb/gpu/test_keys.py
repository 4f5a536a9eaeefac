"""Keys fitted on a GPU are those of the CPU."""

import pytest
import torch

from dkvb.errors import BadSetting
from dkvb.gpu.keys import fit_codebooks
from dkvb.keys import KeySettings
from dkvb.keys import fit_codebooks as fit_on_the_cpu

pytestmark = pytest.mark.gpu


def both(device, settings, *, nan=False):
    z = torch.randn(75, 12, generator=torch.Generator().manual_seed(1)).half()
    if nan:
        z[3] = torch.nan
    found = fit_codebooks(z.to(device), [0, 3], (20, 5), seed=1, settings=settings)
    return [part.cpu() for part in found], fit_on_the_cpu(z, [0, 3], (20, 5), seed=1, settings=settings)


@pytest.mark.parametrize("settings", [KeySettings(epochs=2, batch=32), KeySettings(epochs=1, batch=7, dead=0.5)])
def test_keys_are_those_of_the_cpu_to_the_last_bit(device, settings):
    found, expected = both(device, settings)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    start, _ = both(device, KeySettings(epochs=0))
    assert not torch.equal(start[1], found[1])


def test_an_item_that_is_no_number_moves_nothing(device):
    found, expected = both(device, KeySettings(epochs=1, batch=75, dead=0), nan=True)
    assert torch.equal(found[1], expected[1])
    assert found[1].isfinite().all()


def test_without_replacement_keys_agree_within_rounding(device):
    found, expected = both(device, KeySettings(epochs=2, batch=32, dead=0))
    torch.testing.assert_close(found[1], expected[1])


def test_keys_too_wide_for_registers_are_refused(device):
    with pytest.raises(BadSetting, match="at most 64"):
        fit_codebooks(torch.zeros(4, 12), [0], (20, 65), seed=1, settings=KeySettings())
