"""What machines have, by their names at providers."""

import pytest

from cluster.files.instances import machine


@pytest.mark.parametrize(
    ("provider", "config", "cpus", "gpus"),
    [
        ("aws", {"InstanceType": "g5.12xlarge"}, 48, 4),
        ("aws", {"InstanceType": "p4d.24xlarge"}, 96, 8),
        ("aws", {"InstanceType": "c7i.8xlarge"}, None, 0),
        ("aws", {"InstanceType": "x9.metal"}, None, None),
        ("gcp", {"machineType": "a2-highgpu-2g"}, None, 2),
        ("gcp", {"machineType": "n1-standard-8", "guestAccelerators": [{"acceleratorCount": 3}]}, None, 3),
        ("azure", {"InstanceType": "g5.12xlarge"}, None, None),
    ],
)
def test_what_a_machine_has_is_read_from_its_name(provider, config, cpus, gpus):
    assert machine(provider, config) == (cpus, gpus)
