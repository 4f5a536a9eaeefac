"""What holds after every fault: nothing that stood is done again, and the bytes are those of a calm run."""

import pytest

from tests.faults import disks, nodes, objects, seaweed, submitted, trainings, workers
from tests.faults.stage import UNITS

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.timeout(3600)]

EACH = 2
"""Workers of a run, each with one unit at work; or the units that one worker has in hand."""


def holds(measures, *, twice):
    """What must hold after any fault; `twice`: units that may have been begun twice."""
    assert measures.identical
    assert measures.repeated == 0
    assert measures.twice <= twice


@pytest.fixture
def able():
    """Skip with a reason where a fault cannot be had."""

    def ask(reason):
        if reason:
            pytest.skip(reason)

    return ask


@pytest.mark.parametrize("seed", [11, 12])
def test_a_killed_worker_costs_the_units_it_had_in_hand(held, seed):
    holds(workers.kill_worker(held, seed), twice=EACH)


@pytest.mark.parametrize("seed", [15, 16])
def test_values_whose_worker_is_killed_go_on_at_another_after_the_last_epoch(held, seed):
    holds(trainings.kill_training(held, seed), twice=EACH)


def test_the_units_of_a_killed_node_move_to_the_others(held):
    holds(nodes.kill_node(held, 21), twice=EACH)


def test_a_killed_driver_is_started_again_and_goes_on(held):
    holds(workers.kill_driver(held, 31), twice=EACH)


def test_a_job_whose_supervisor_is_killed_gets_a_new_attempt(held):
    holds(submitted.kill_supervisor(held, 41), twice=EACH)


def test_a_job_whose_cluster_is_killed_gets_a_new_attempt_on_the_next_one(held):
    holds(submitted.kill_head(held, 51), twice=EACH)


def test_a_worker_that_is_stopped_loses_its_shard_to_another_after_its_lease(held):
    measures = workers.stop_worker(held, 61)
    holds(measures, twice=EACH)
    assert measures.recover_s > workers.LEASE_S


def test_a_node_that_is_cut_off_is_given_up_and_its_late_results_change_nothing(held, able):
    able(nodes.no_namespaces())
    holds(nodes.partition_node(held, 71), twice=EACH)


@pytest.mark.parametrize("seed", [81, 82])
def test_a_full_disk_is_named_and_the_run_goes_on_on_a_larger_one(held, able, seed):
    able(disks.no_mounts())
    holds(disks.fill_disk(held, seed), twice=UNITS)  # a write that is refused is tried again


def test_a_disk_that_becomes_read_only_is_named_and_the_run_goes_on_later(held, able):
    able(disks.no_mounts())
    holds(disks.make_read_only(held, 91), twice=UNITS)


def test_a_killed_object_store_is_waited_for(held, able):
    able(seaweed.no_seaweed())
    holds(objects.kill_server(held, 101), twice=EACH)


def test_a_killed_driver_goes_on_on_an_object_store(held, able):
    able(seaweed.no_seaweed())
    holds(objects.kill_driver_of_remote_run(held, 111), twice=EACH)


def test_two_drivers_on_one_root_both_finish(held):
    measures = workers.two_drivers(held, 121)
    assert measures.identical
    assert measures.repeated == 0


def test_a_shard_that_kills_its_worker_each_time_is_reported_and_the_rest_is_done(held):
    measures = workers.poison(held, 131)
    holds(measures, twice=3)
