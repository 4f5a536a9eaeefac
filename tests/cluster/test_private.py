"""Ray's private parts are as `cluster.private` found them: a version that changes one must be looked at first."""

import inspect
import logging
import subprocess
import sys
from importlib.metadata import requires

import pytest


def parameters(function):
    return [name for name in inspect.signature(function).parameters if name != "self"]


def of_driver():
    from ray._private import services, utils, worker
    from ray.autoscaler._private import util
    from ray.job_config import JobConfig
    from ray.job_submission import JobSubmissionClient

    return [
        (services.canonicalize_bootstrap_address, ["addr", "temp_dir"]),
        (services.resolve_ip_for_localhost, ["host"]),
        (utils.set_sigterm_handler, ["sigterm_handler"]),
        (worker.print_to_stdstream, ["data", "ignore_prefix"]),
        (JobConfig._runtime_env_has_working_dir, []),
        (JobSubmissionClient._do_request, ["method", "endpoint", "data", "json_data", "kwargs"]),
        (util.validate_config, ["config"]),
        (util.prepare_config, ["config"]),
    ]


def test_what_is_replaced_or_called_takes_what_it_took():
    for function, expected in of_driver():
        assert parameters(function) == expected, function.__qualname__


def test_what_is_given_by_name_is_known():
    from ray._private.utils import get_num_cpus
    from ray.job_config import JobConfig

    assert "override_docker_cpu_warning" in parameters(get_num_cpus)
    assert "_py_driver_sys_path" in parameters(JobConfig.__init__)


def test_what_is_called_by_name_in_ray_is_what_is_replaced():
    """A function that its callers hold under another name could be replaced in vain."""
    import ray._private.node as node
    import ray._private.services as services
    import ray._private.worker as worker

    assert "print_to_stdstream(" in inspect.getsource(worker)
    assert "resolve_ip_for_localhost(" in inspect.getsource(services)
    assert "utils.set_sigterm_handler(" in inspect.getsource(worker) + inspect.getsource(node)


def test_the_token_can_be_read_anew():
    import ray

    assert callable(ray._raylet.Config.initialize)
    assert callable(ray._raylet.AuthenticationTokenLoader.instance().reset_cache)


def test_what_a_cluster_publishes_can_be_read():
    import ray

    for name in ("subscribe", "poll", "close"):
        assert callable(getattr(ray._raylet.GcsLogSubscriber, name))
    assert "timeout" in parameters(ray._raylet.GcsLogSubscriber.poll)


@pytest.mark.parametrize("bound", [">=2.60", "<2.61"])
def test_ray_is_bounded_to_versions_that_were_looked_at(bound):
    (ray,) = [text for text in requires("dkvb-unlearning") or [] if text.startswith("ray[")]
    assert bound in ray


def test_the_options_of_ray_start_are_those_of_its_command():
    from cluster.private import start_options

    assert {"--head", "--address", "--port", "--num-cpus", "--autoscaling-config"} <= start_options()
    assert all(option.startswith("-") for option in start_options())


def test_a_client_of_jobs_does_not_tell_of_uploads():
    """In a process of its own: a logger is set to INFO when its module is imported for the first time."""
    told = """
import logging, cluster.private as private
try:
    private.job_client("http://127.0.0.1:1", timeout=1)
except ConnectionError:
    print([logging.getLogger(name).getEffectiveLevel() for name in private.CHATTY])
"""
    ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, timeout=120)
    assert ended.stdout.strip() == str([logging.WARNING] * 2)
