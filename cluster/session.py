"""Sessions: the only place that connects to Ray, here or at an address, and the rules for doing so."""

import logging
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from cluster import local, private
from cluster.address import (
    CONNECT_S,
    authentication,
    check_address,
    environment,
)
from cluster.errors import ClusterError, ClusterUnreachable, InvalidRequest, NoWorkers, SessionClosed
from cluster.installed import EXTRA, has_ray, require_ray
from cluster.pools import Shape, alive, found, places
from cluster.signals import interrupt_held, termination_in_order
from cluster.unit_map import Executor, RayExecutor, SerialExecutor
from dkvb_unlearning import HOME

_log = logging.getLogger(__name__)

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_AUTO_CONNECT": "0"}


@contextmanager
def session(
    *,
    address: str | None = None,
    workers: int | None = None,
    gpus: float | None = None,
    python: str | None = None,
    serial: bool = False,
) -> Iterator[Executor]:
    """An executor for the time of the `with` block.

    address: None starts a cluster on this machine and ends it with the block; otherwise `host:port`, `ray://host:port`
        or `auto` (RAY_ADDRESS, or the cluster that runs on this machine), which is left as it was.
    workers: processes at most; None takes one per CPU of the cluster, or per GPU for units that compute on GPUs, and
        as many more as an autoscaler finds room for.
    gpus: GPUs that each worker holds for units that compute on them; a fraction lets workers share one. None takes one
        where a node has any; a cluster that has none yet is asked for some by a number.
    python: interpreter of the workers at an address, a path or a name there; None for that of the cluster.
    serial: no Ray at all, one unit after the other in this process; the rest is then ignored.

    Where Ray is not installed, one worker on this machine is this process, and a note says so.

    raises: RayMissing for anything more; InsecureCluster for an address beyond this machine without an authentication
        token; ClusterUnreachable if nothing answers there; NoWorkers if this machine has no room for a worker, where a
        cluster may grow; InvalidRequest for arguments that make no sense; SessionClosed inside another session.
    """
    if workers is not None and workers < 1:
        raise InvalidRequest(f"session: workers is {workers}, expected at least 1")
    if gpus is not None and gpus < 0:
        raise InvalidRequest(f"session: gpus is {gpus}, expected 0 or more")
    if not serial and not has_ray():
        if address is not None or workers not in (None, 1) or gpus is not None:
            require_ray("session: a cluster, several workers, or GPUs for each of them")
        _log.warning("note: without Ray, one unit after the other in this process; several at once: %s", EXTRA)
        serial = True
    if serial:
        yield SerialExecutor()
        return
    connection = _local(workers=workers) if address is None else _remote(address, python)
    with connection:
        yield _executor(workers=workers, gpus=gpus, remote=address is not None)


@contextmanager
def _local(*, workers: int | None) -> Iterator[None]:
    with (
        ExitStack() as folders,
        environment(_QUIET | local.settings()),
        _connected(partial(local.start, _connect, folders, workers=workers), alone=True),
    ):
        yield


@contextmanager
def _remote(address: str, python: str | None) -> Iterator[None]:
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or "auto"
    if address != "auto":
        check_address(address)
    # Otherwise Ray asks a cluster that turns this driver away twenty times, once a second.
    settings = {"RAY_gcs_server_port_wait_time_s": f"{CONNECT_S:.0f}", **authentication()}
    # Ray puts the name into a shell's command as it is.
    options = {} if python is None else {"runtime_env": {"py_executable": shlex.quote(python)}}
    with environment(_QUIET | settings), _connected(partial(_connect, address, options), alone=False):
        yield


@contextmanager
def _connected(start: Callable[[], None], *, alone: bool) -> Iterator[None]:
    import ray

    if ray.is_initialized():
        raise SessionClosed("session: a session is already open in this process; use its executor")
    private.reload_authentication()
    with private.habits(log=partial(_log.info, "%s"), alone=alone), termination_in_order() as open_to_it:
        try:
            with interrupt_held():  # Ray would leave half a cluster behind
                start()
            with open_to_it():
                yield
        finally:
            ray.shutdown(wait_for_processes=True)


def _connect(address: str, options: dict[str, Any]) -> None:
    """Call `ray.init`, which nothing else does; raises: ClusterUnreachable."""
    import ray

    try:
        if address == "auto":
            # Resolved here, so that the same rules hold for what it stands for.
            address = private.running_cluster()
            check_address(address)
        config = None if address.startswith("ray://") else private.job_config([HOME])
        ray.init(address=address, job_config=config, log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except ClusterError:
        raise
    except Exception as error:  # Ray raises plain ones, with the ends of log files in them
        text = str(error).strip().partition("\n")[0].rstrip(".")
        if address == "local":
            raise ClusterUnreachable(
                f"session: Ray did not start on this machine ({text}); run it again when the machine is less busy, or "
                "with --serial, which needs no Ray"
            ) from error
        raise ClusterUnreachable(
            f"session: no Ray cluster answers this driver at {address}: {text}. Check the address and the token; "
            "host:port works from a machine of the cluster only, from outside use ray://host:10001"
        ) from error


def _executor(*, workers: int | None, gpus: float | None, remote: bool) -> RayExecutor:
    nodes = alive()
    if not remote and places(nodes, Shape(1, gpus or 0)) == 0:
        raise NoWorkers(
            f"session: this machine has no room for a worker of 1 CPU and {gpus or 0:g} GPUs (CPUs, GPUs: "
            f"{[(node.cpus, node.gpus) for node in nodes]}); ask for fewer GPUs"
        )
    if remote:
        _log.warning("note: %s", found(nodes, gpus=gpus))
    return RayExecutor(workers=workers, gpus=gpus, grows=remote)
