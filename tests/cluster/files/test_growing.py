"""What Ray's own autoscaler would start from the files that are rendered, as its scheduler decides."""

import pytest
import yaml
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

from cluster.files.render import render

pytestmark = pytest.mark.usefixtures("one_version_of_ray", "home")

AWS = {
    "m6i.xlarge": (4, 0, 16),
    "g6.xlarge": (4, 1, 16),
    "g5.xlarge": (4, 1, 16),
    "m7i.2xlarge": (8, 0, 32),
    "m6i.2xlarge": (8, 0, 32),
}
"""CPUs, GPUs and GiB of the instance types that the AWS file names: what Ray asks the cloud for."""

ONE_GPU, ONE_CPU = {"CPU": 1, "GPU": 1}, {"CPU": 1}


def node_types(provider):
    config = yaml.safe_load(render(provider))
    for node_type in config["available_node_types"].values():
        if provider == "aws" and "resources" not in node_type:
            cpus, gpus, memory = AWS[node_type["node_config"]["InstanceType"]]
            node_type["resources"] = {"CPU": cpus, "memory": memory * 2**30 * 7 // 10} | ({"GPU": gpus} if gpus else {})
    read = AutoscalingConfig({**config, "file_mounts": {}}, skip_content_hash=True)
    return {name: each for name, each in read.get_node_type_configs().items() if name != "head"}


def started(provider, wanted, *, none_of=()):
    """The node types that are started for some requests, where the cloud has none of some types."""
    short = dict.fromkeys(none_of, 0.0)
    reply = ResourceDemandScheduler(None).schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=node_types(provider),
            max_num_nodes=4,
            resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(each) for each in wanted]),
            cloud_resource_availabilities=short,
            recoverable_resource_availabilities=short,
        )
    )
    return {each.instance_type: each.count for each in reply.to_launch}


@pytest.mark.parametrize("provider", ["aws", "gcp"])
def test_each_kind_of_work_gets_its_kind_of_node_on_spot_first(provider):
    assert started(provider, [ONE_GPU]) == {"gpu": 1}
    assert started(provider, [ONE_CPU]) == {"cpu": 1}
    assert started(provider, [ONE_CPU, ONE_GPU] * 2) in ({"gpu": 2}, {"gpu": 2, "cpu": 1})


@pytest.mark.parametrize("provider", ["aws", "gcp"])
def test_what_the_cloud_has_none_of_is_replaced_at_last_by_what_is_not_on_spot(provider):
    assert started(provider, [ONE_CPU], none_of=["cpu"]) == {"cpu-other": 1}
    assert started(provider, [ONE_CPU], none_of=["cpu", "cpu-other"]) == {"cpu-on-demand": 1}
    assert started(provider, [ONE_GPU], none_of=["gpu", "gpu-other"]) == {"gpu-on-demand": 1}


@pytest.mark.parametrize("provider", ["aws", "gcp"])
def test_what_is_last_of_each_kind_is_not_on_spot_and_the_others_are(provider):
    types = yaml.safe_load(render(provider))["available_node_types"]
    del types["head"]
    for name, each in types.items():
        config = each["node_config"]
        spot = "InstanceMarketOptions" in config or {"preemptible": True} in config.get("scheduling", [])
        assert spot == (not name.endswith("on-demand")), name


@pytest.mark.parametrize("provider", ["aws", "gcp"])
def test_no_more_nodes_are_started_than_the_file_allows(provider):
    assert sum(started(provider, [ONE_GPU] * 40).values()) == 4
