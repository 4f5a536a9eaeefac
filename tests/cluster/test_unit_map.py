"""Factories here are nested functions, so that they travel by value: workers cannot import test modules."""

import os
import signal
import time
from dataclasses import replace
from typing import Any

import pytest

from cluster.errors import (
    ClusterError,
    InvalidRequest,
    LeaseExpired,
    NoWorkers,
    WorkerLost,
    WorkerSetupFailed,
)
from cluster.pools import Shape
from cluster.unit_map import Policy, RayExecutor, SerialExecutor
from cluster.units import Event
from tests.processes import is_alive, wait_until

ray_only = pytest.mark.ray


def run(executor, factory, units, *, on_gpu=False, **policy):
    events: list[Event] = []
    outcomes = list(executor.map(factory, units, policy=Policy(**policy), on_event=events.append, on_gpu=on_gpu))
    assert sorted(outcome.unit for outcome in outcomes) == sorted(units)
    return {outcome.unit: outcome for outcome in outcomes}, events


def idle(executor):
    return [each for waiting in executor.idle.values() for each in waiting]


def pids_in(folder):
    return [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]


def leaving_pids(folder, work):
    """A factory whose workers leave their process ids in the folder."""

    def factory():
        (folder / f"pid-{os.getpid()}").touch()
        return work

    return factory


def test_each_unit_has_one_outcome_with_its_own_value(executor):
    def factory():
        return lambda unit: {"square": int(unit) ** 2}

    units = [str(number) for number in range(23)]
    outcomes, events = run(executor, factory, units)
    for unit in units:
        outcome = outcomes[unit]
        assert outcome.ok
        assert outcome.value == {"square": int(unit) ** 2}
        assert outcome.error is None
        assert outcome.exception is None
        assert outcome.attempts == 1
        assert outcome.seconds >= 0
        assert outcome.worker.rpartition(":")[2].isdigit()
    assert sorted(event.unit for event in events if event.kind == "started") == sorted(units)


def test_no_units_means_no_worker_and_no_call_of_the_factory(executor):
    def factory():
        raise AssertionError("called")

    assert run(executor, factory, []) == ({}, [])


def test_the_factory_is_called_once_in_each_worker(executor, tmp_path):
    def factory():
        calls = tmp_path / f"calls-{os.getpid()}"
        with calls.open("a") as file:
            file.write("x")
        return lambda unit: unit

    run(executor, factory, [f"unit-{number}" for number in range(11)])
    calls = list(tmp_path.glob("calls-*"))
    assert 1 <= len(calls) <= 2
    assert all(path.read_text() == "x" for path in calls)


def test_an_oserror_is_tried_again_and_may_then_succeed(executor, tmp_path):
    def factory():
        def work(unit):
            starts = tmp_path / unit
            count = int(starts.read_text()) + 1 if starts.exists() else 1
            starts.write_text(str(count))
            if unit == "b" and count < 3:
                raise ConnectionResetError("the store hung up")
            return count

        return work

    outcomes, events = run(executor, factory, ["a", "b", "c"], backoff_s=0.01)
    assert {unit: outcome.attempts for unit, outcome in outcomes.items()} == {"a": 1, "b": 3, "c": 1}
    assert outcomes["b"].ok
    assert outcomes["b"].value == 3
    retries = [event for event in events if event.kind == "retry"]
    assert [event.unit for event in retries] == ["b", "b"]
    assert retries[0].text == "ConnectionResetError: the store hung up"


def test_an_oserror_that_stays_is_reported_after_the_allowed_attempts(executor):
    def factory():
        def work(unit):
            raise FileNotFoundError(2, "No such file or directory", unit)

        return work

    outcomes, _ = run(executor, factory, ["gone.tar"], attempts=2, backoff_s=0.01)
    outcome = outcomes["gone.tar"]
    assert not outcome.ok
    assert outcome.attempts == 2
    assert outcome.error == "FileNotFoundError: [Errno 2] No such file or directory: 'gone.tar'"
    assert isinstance(outcome.exception, FileNotFoundError)
    assert outcome.exception.filename == "gone.tar"


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_any_other_exception_is_final_at_once(executor, kind):
    def factory():
        def work(unit):
            if unit == "bad":
                raise kind("label 1007 of 1000 classes")
            return unit

        return work

    outcomes, events = run(executor, factory, ["good", "bad", "better"])
    bad = outcomes["bad"]
    assert not bad.ok
    assert bad.attempts == 1
    assert bad.error == f"{kind.__name__}: label 1007 of 1000 classes"
    assert type(bad.exception) is kind
    assert "in work" in bad.traceback
    assert "ray" not in bad.error.lower()
    assert outcomes["good"].ok
    assert outcomes["better"].ok
    assert not [event for event in events if event.kind in ("retry", "worker_lost")]


def test_an_exception_that_cannot_be_unpickled_keeps_its_name_and_text(executor):
    def factory():
        class TornShard(Exception):
            def __init__(self, name, offset):
                super().__init__(f"{name} ends at {offset}")

        def work(unit):
            raise TornShard(unit, 17)

        return work

    outcomes, _ = run(executor, factory, ["tar"])
    assert outcomes["tar"].error == "TornShard: tar ends at 17"
    assert outcomes["tar"].attempts == 1


def test_a_factory_that_fails_is_a_setup_failure_with_its_cause(executor):
    def factory():
        raise FileNotFoundError("no weights at /models/clip.safetensors")

    started = time.monotonic()
    with pytest.raises(
        WorkerSetupFailed, match=r"FileNotFoundError: no weights at /models/clip\.safetensors"
    ) as caught:
        run(executor, factory, [f"unit-{number}" for number in range(7)])
    assert isinstance(caught.value, ClusterError)
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert time.monotonic() - started < 20


def test_a_unit_that_occurs_twice_is_refused(executor):
    with pytest.raises(InvalidRequest, match="'b' occurs twice"):
        run(executor, lambda: str, ["a", "b", "b"])


def test_what_the_listener_raises_reaches_the_caller(executor):
    class Stop(Exception):
        pass

    def listener(event):
        raise Stop

    with pytest.raises(Stop):
        list(executor.map(lambda: str, ["a"], policy=Policy(), on_event=listener))


@pytest.mark.parametrize("name", ["attempts", "lease_s", "deadline_s", "in_flight", "backoff_s"])
def test_a_policy_with_a_number_that_is_not_positive_is_refused(name):
    with pytest.raises(InvalidRequest, match=name):
        Policy(**dict[str, Any]({name: 0}))


@ray_only
def test_five_hundred_tiny_units_equal_the_serial_map_and_use_both_workers(ray_executor, tmp_path):
    def together(unit):
        (tmp_path / f"pid-{os.getpid()}").touch()
        # One could be done before the other has started.
        wait_until(lambda: len(pids_in(tmp_path)) == 2, "the other worker")
        return unit[::-1]

    units = [f"shard-{number:04d}" for number in range(503)]
    parallel, _ = run(ray_executor, lambda: together, units)
    serial, _ = run(SerialExecutor(), lambda: lambda unit: unit[::-1], units)
    assert {unit: one.value for unit, one in parallel.items()} == {unit: one.value for unit, one in serial.items()}
    assert len({outcome.worker for outcome in parallel.values()}) == 2


@ray_only
def test_a_worker_killed_in_mid_unit_costs_that_unit_one_attempt(ray_executor, tmp_path):
    def factory():
        def work(unit):
            if unit == "u5" and not (tmp_path / "killed").exists():
                (tmp_path / "killed").touch()
                time.sleep(0.2)
                os.kill(os.getpid(), signal.SIGKILL)
            return unit

        return work

    outcomes, events = run(ray_executor, factory, [f"u{number}" for number in range(13)])
    assert all(outcome.ok for outcome in outcomes.values())
    assert {unit: one.attempts for unit, one in outcomes.items() if one.attempts != 1} == {"u5": 2}
    assert [event.unit for event in events if event.kind == "worker_lost"] == ["u5"]


@ray_only
def test_a_poison_unit_is_reported_and_its_neighbours_are_unharmed(ray_executor):
    def factory():
        def work(unit):
            if unit == "u2":
                os.kill(os.getpid(), signal.SIGKILL)
            return unit

        return work

    outcomes, events = run(ray_executor, factory, [f"u{number}" for number in range(11)], attempts=2)
    poison = outcomes.pop("u2")
    assert not poison.ok
    assert poison.error.startswith("the worker process ")
    assert isinstance(poison.exception, WorkerLost)
    assert poison.attempts == 2
    assert all(outcome.ok for outcome in outcomes.values())
    assert [event.unit for event in events if event.kind == "poison"] == ["u2"]


@ray_only
def test_with_one_attempt_a_crash_convicts_the_guilty_unit_only(ray_executor):
    def factory():
        def work(unit):
            if unit == "u3":
                os.kill(os.getpid(), signal.SIGKILL)
            return unit

        return work

    outcomes, _ = run(ray_executor, factory, [f"u{number}" for number in range(7)], attempts=1)
    assert [unit for unit, outcome in outcomes.items() if not outcome.ok] == ["u3"]
    assert {outcome.attempts for outcome in outcomes.values()} == {1}


@ray_only
def test_a_stopped_worker_loses_its_lease_and_the_unit_is_run_elsewhere(ray_executor, tmp_path):
    def factory():
        def work(unit):
            if unit == "u1" and not (tmp_path / "pid").exists():
                (tmp_path / "pid").write_text(str(os.getpid()))
                time.sleep(0.5)  # the answer for the unit before must have left this process
                os.kill(os.getpid(), signal.SIGSTOP)
            return unit

        return work

    outcomes, events = run(ray_executor, factory, ["u0", "u1", "u2", "u3", "u4"], lease_s=15)
    assert all(outcome.ok for outcome in outcomes.values())
    assert {unit: outcome.attempts for unit, outcome in outcomes.items() if outcome.attempts != 1} == {"u1": 2}
    assert [event.unit for event in events if event.kind == "lease_expired"] == ["u1"]
    wait_until(lambda: not is_alive(int((tmp_path / "pid").read_text())), "the end of the stopped worker")


@ray_only
def test_a_unit_that_always_exceeds_its_lease_is_reported(ray_executor):
    def factory():
        return lambda unit: time.sleep(600) if unit == "slow" else unit

    outcomes, _ = run(ray_executor, factory, ["slow", "a", "b"], lease_s=10, attempts=1)
    assert isinstance(outcomes["slow"].exception, LeaseExpired)
    assert outcomes["slow"].error.endswith("within the lease of 10 s")
    assert outcomes["a"].ok
    assert outcomes["b"].ok


@ray_only
def test_closing_the_map_early_leaves_no_worker(ray_executor, tmp_path):
    factory = leaving_pids(tmp_path, lambda unit: time.sleep(0 if unit == "first" else 60))
    outcomes = ray_executor.map(factory, ["first", "x", "y", "z"], policy=Policy(), on_event=lambda event: None)
    assert next(outcomes).unit == "first"
    pids = pids_in(tmp_path)
    assert pids
    outcomes.close()
    wait_until(lambda: not any(is_alive(pid) for pid in pids_in(tmp_path)), "the end of the workers")


@ray_only
def test_there_are_never_more_workers_than_units(ray_executor, tmp_path):
    run(ray_executor, leaving_pids(tmp_path, lambda unit: time.sleep(0.5)), ["only"])
    assert len(pids_in(tmp_path)) == 1


@ray_only
def test_workers_that_cannot_be_placed_end_the_map_at_the_deadline(ray_executor):
    greedy = RayExecutor(workers=2, gpus=997)
    with pytest.raises(NoWorkers, match="units are open; 2 workers wait for 1 CPUs and 997 GPUs"):
        run(greedy, lambda: str, ["a", "b", "c"], deadline_s=1, on_gpu=True)


@ray_only
def test_workers_hold_gpus_where_there_are_some_or_they_are_asked_for(ray_executor):
    assert not ray_executor.holds_gpus()
    assert replace(ray_executor, gpus=0.5).holds_gpus()
    assert not SerialExecutor().holds_gpus()


@ray_only
def test_work_starts_although_some_workers_cannot_be_placed(ray_executor):
    more = replace(ray_executor, workers=7)
    outcomes, _ = run(more, lambda: str, [f"u{number}" for number in range(17)])
    assert all(outcome.ok for outcome in outcomes.values())


@ray_only
def test_a_worker_has_one_thread_per_cpu_keeps_freed_memory_and_sees_no_gpu_it_does_not_hold(ray_executor):
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES"]
    names += ["MALLOC_TRIM_THRESHOLD_"]

    def factory():
        return lambda unit: [os.environ.get(name) for name in names]

    outcomes, _ = run(ray_executor, factory, ["a"])
    assert outcomes["a"].value == [str(ray_executor.pool(on_gpu=False).shape.cpus)] * 3 + ["", str(1 << 30)]
    wide = Shape(5, 0.5).actor_options()
    assert wide["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "5"
    assert "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO" not in wide["runtime_env"]["env_vars"]


@ray_only
def test_a_factory_that_kills_its_worker_is_a_setup_failure(ray_executor):
    def factory():
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerSetupFailed, match="died"):
        run(ray_executor, factory, ["a", "b"], attempts=2)


@ray_only
def test_a_result_that_cannot_be_pickled_fails_its_unit_and_not_the_worker(ray_executor):
    def factory():
        def work(unit):
            import threading

            return threading.Lock()

        return work

    outcomes, events = run(ray_executor, factory, ["a"])
    assert outcomes["a"].error.startswith("TypeError: ")
    assert outcomes["a"].attempts == 1
    assert not [event for event in events if event.kind == "worker_lost"]


@ray_only
def test_the_next_map_finds_its_workers_warm_and_with_its_own_work(ray_executor):
    first, _ = run(ray_executor, lambda: lambda unit: ("one", os.getpid()), ["a", "b", "c"])
    second, _ = run(ray_executor, lambda: lambda unit: ("two", os.getpid()), ["a", "b", "c"])
    assert {outcome.value[0] for outcome in second.values()} == {"two"}
    known = {outcome.value[1] for outcome in first.values()} | {pid_of(name) for _, name in idle(ray_executor)}
    assert {outcome.value[1] for outcome in second.values()} <= known


@ray_only
def test_a_worker_that_died_between_two_maps_is_replaced(ray_executor):
    first, _ = run(ray_executor, lambda: lambda unit: os.getpid(), ["a", "b", "c"])
    for _, name in idle(ray_executor):
        os.kill(pid_of(name), signal.SIGKILL)
    second, _ = run(ray_executor, lambda: lambda unit: os.getpid(), ["a", "b", "c"])
    assert all(outcome.ok and outcome.attempts == 1 for outcome in second.values())
    assert not {outcome.value for outcome in first.values()} & {outcome.value for outcome in second.values()}


def pid_of(name):
    return int(name.rpartition(":")[2])
