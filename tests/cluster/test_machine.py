"""Memory and CPUs of this machine, read without Ray, are what Ray would read; and a container's limits count."""

import os

import pytest

from cluster import machine


def test_the_memory_of_this_machine_is_what_ray_finds():
    from ray._common.utils import get_system_memory

    assert machine.machine_memory() == get_system_memory()


@pytest.mark.parametrize(("said", "expected"), [("5242880\n", 5 * 2**20), ("max\n", None), (f"{2**62}\n", None)])
def test_the_limit_of_a_container_is_the_memory_where_it_is_less(said, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_LIMITS", (str(tmp_path / "none"),))
    whole = machine.machine_memory()
    (tmp_path / "memory.max").write_text(said)
    monkeypatch.setattr(machine, "_LIMITS", (str(tmp_path / "none"), str(tmp_path / "memory.max")))
    assert machine.machine_memory() == (expected or whole)


def test_the_cpus_of_this_machine_are_what_ray_finds_unless_fewer_are_this_process_s():
    from ray._private.utils import get_num_cpus

    assert machine.usable_cpus() == min(int(get_num_cpus()), len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("said", "expected"),
    [("300000 100000\n", 3), ("250000 100000\n", 2), ("50000 100000\n", 1), ("max 100000\n", 8), ("900000 100000", 8)],
)
@pytest.mark.parametrize("version", [1, 2])
def test_the_quota_of_a_container_is_the_cpus_where_it_is_less(said, expected, version, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(machine, "_CFS", (str(tmp_path / "quota"), str(tmp_path / "period")))
    monkeypatch.setattr(machine, "_CPU_MAX", str(tmp_path / "max"))
    if version == 2:
        (tmp_path / "max").write_text(said)
    else:
        quota, period = said.split()
        (tmp_path / "quota").write_text("-1\n" if quota == "max" else quota)
        (tmp_path / "period").write_text(period)
    assert machine.usable_cpus() == expected
