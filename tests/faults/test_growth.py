"""The first run on a cluster that begins with nothing: nodes come, work, and go."""

import re

import pytest

from tests.faults.growth import from_nothing, grown
from tests.faults.measures import same

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.timeout(1800)]


def test_a_run_brings_nodes_and_one_with_a_gpu_where_it_asks_for_it(held):
    with grown(held, "--gpus", 1) as run:
        assert "the cluster has 0 CPUs and 0 GPUs now: waiting for nodes" in run.said
        assert run.watched.most["GPU"] == 1
        assert run.watched.most["CPU"] >= 1
        assert same(run.root, held.calm)
        assert run.gone_after_s < 300


def test_what_no_node_type_has_ends_a_run_at_once(held):
    with from_nothing(held) as (watched, root):
        words = held.words(root, "--address", watched.cluster.address, "--gpus", 2)
        run = held.start(words, **watched.cluster.variables)
        assert run.ended(within=300) == 1, run.err
        assert re.search(r"needs 1 CPUs and 2 GPUs and .* no node type of the cluster has as much", run.said())
        assert watched.now()["GPU"] == 0
