"""Values on a scratch file: the bits of those in memory, in less memory."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dkvb import large_values, sizes
from dkvb.spilled import is_spilled, let_go, parts, spilled_zeros
from dkvb.training import Trained, TrainSettings
from dkvb.values import CodeFeatures, fit_values
from tests.dkvb.threads import threads
from tests.paths import REPOSITORY

C, M, V, N = 11, 31, 17, 1009


def drawn(seed: int, n: int = N) -> tuple[Tensor, Tensor]:
    gen = torch.Generator().manual_seed(seed)
    return torch.randint(M, (n, C), generator=gen).short(), torch.randint(V, (n,), generator=gen)


def fitted(settings: TrainSettings) -> tuple[Tensor, Trained]:
    return fit_values(*drawn(1), settings, m=M, v=V, seed=3)


@pytest.fixture
def spill(monkeypatch):
    """Put every table of values on a scratch file."""

    def begin(group: int = large_values.GROUP) -> None:
        monkeypatch.setattr(sizes, "LARGE", 0)
        monkeypatch.setattr(large_values, "GROUP", group)
        monkeypatch.setattr(large_values, "MOVED", group)

    return begin


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("group", [1, 2 * 4 * M * V, 3 * 4 * M * V, large_values.GROUP])
@pytest.mark.parametrize("settings", [TrainSettings(epochs=5), TrainSettings(epochs=4, momentum=0.3, validation=0)])
def test_values_on_scratch_have_the_bits_of_those_in_memory(spill, settings, group, count):
    expected, how = fitted(settings)
    spill(group)
    with threads(count):
        found, trained = fitted(settings)
    assert is_spilled(found)
    assert not is_spilled(expected)
    assert torch.equal(found, expected)
    assert (trained.epochs, trained.validation) == (how.epochs, how.validation)


def test_sgd_on_scratch_has_the_same_bits_too(spill):
    settings = TrainSettings(optimizer="sgd", epochs=2, batch=53, validation=0.1)
    expected, how = fitted(settings)
    spill()
    found, trained = fitted(settings)
    assert is_spilled(found)
    assert torch.equal(found, expected)
    assert trained.validation == how.validation


@pytest.mark.parametrize("n", [M - 1, N])
def test_logits_are_the_same_for_few_items_and_for_many(spill, n):
    codes, _ = drawn(5, n)
    table = torch.randn(C * M, V, generator=torch.Generator().manual_seed(6))
    expected = CodeFeatures.of(codes, M).forward(table)
    spill(1)
    held = CodeFeatures.of(codes, M).weights(V)
    held.copy_(table)
    assert torch.equal(CodeFeatures.of(codes, M).forward(held), expected)


def test_tables_are_spilled_where_they_and_their_velocity_are_too_large_together(monkeypatch):
    features = CodeFeatures.of(drawn(1)[0], M)
    both = 8 * C * M * V
    for large, expected in ((both, False), (both - 1, True)):
        monkeypatch.setattr(sizes, "LARGE", large)
        assert is_spilled(features.weights(V)) is expected


def test_a_part_that_was_let_go_still_holds_what_was_written():
    table = spilled_zeros(4001, 37)
    assert (table == 0).all()
    table.copy_(torch.arange(table.numel()).view(table.shape))
    for part in parts(table):
        assert len(part)
    let_go(table[1:3])
    let_go(torch.ones(3))
    assert torch.equal(table.view(-1), torch.arange(table.numel()).float())
    assert not is_spilled(torch.ones(3))


def test_a_scratch_file_has_no_name_and_goes_with_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    table = spilled_zeros(5, 7)
    address = table.data_ptr()
    assert list(tmp_path.iterdir()) == []
    assert is_spilled(table)
    del table
    from dkvb.spilled import _maps

    assert address not in _maps


def test_a_full_disk_is_an_error_and_not_a_signal_later(monkeypatch):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        spilled_zeros(5, 7)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="maps are listed by Linux")
def test_few_items_leave_nothing_of_a_spilled_table_in_memory(monkeypatch):
    monkeypatch.setattr(sizes, "LARGE", 0)
    c, m, v = 4, 1024, 997
    features = CodeFeatures.of(torch.arange(m - 1)[:, None].expand(-1, c), m)
    table = features.weights(v)
    features.forward(table)
    name = f"{table.data_ptr():x}-"
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    next(line for line in lines if line.startswith(name))
    assert next(line for line in lines if line.startswith("Rss:")).split()[1] == "0"


PEAK = """
import sys, torch
from pathlib import Path
from dkvb import large_values, sizes, values
from dkvb.training import TrainSettings

n, c, m, v, large = map(int, sys.argv[1:])
sizes.LARGE, large_values.GROUP, large_values.MOVED = large, 1 << 24, 1 << 24
torch.set_num_threads(1)

def read(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024

def fit(n, v):
    gen = torch.Generator().manual_seed(1)
    codes, labels = torch.randint(m, (n, c), generator=gen).short(), torch.randint(v, (n,), generator=gen)
    values.fit_values(codes, labels, TrainSettings(epochs=2), m=m, v=v, seed=1)

fit(10 * m, 2)  # compiles
Path("/proc/self/clear_refs").write_text("5")
before = read("VmRSS")
fit(n, v)
print(read("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the high-water mark is reset by Linux")
def test_a_training_holds_errors_codes_and_a_group_of_the_tables():
    n, c, m, v = 13_003, 16, 1024, 997
    tables, held = 8 * c * m * v, 4 * n * v + 4 * n * c + 3 * (1 << 24)
    at_once = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}  # freed blocks go back to the system, not to a heap

    def peak(large: int) -> int:
        words = [sys.executable, "-c", PEAK, *map(str, (n, c, m, v, large))]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=REPOSITORY, env=at_once)
        return int(done.stdout)

    assert peak(0) < held + (16 << 20)
    assert peak(1 << 60) > tables + 4 * n * v
