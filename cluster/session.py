"""Sessions: the only place that connects to Ray, here or at an address, and the rules for doing so."""

import atexit
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from cluster.address import (
    CONNECT_S,
    authentication,
    check_address,
    environment,
    reload_authentication,
    token_is_configured,
)
from cluster.errors import ClusterError, ClusterUnreachable, InvalidRequest, NoWorkers, SessionClosed
from cluster.shardmap import Executor, RayExecutor, SerialExecutor

_log = logging.getLogger(__name__)

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_AUTO_CONNECT": "0"}
_OBJECT_STORE_BYTES = 200_000_000
"""Of a local cluster: nothing large goes through Ray."""
_SOCKET_ROOT_LENGTH = 40
"""Longest root for Ray's files: it adds up to 66 characters, and a unix socket's path ends at 107."""


@contextmanager
def session(
    *,
    address: str | None = None,
    workers: int | None = None,
    gpus_per_worker: float = 0,
    serial: bool = False,
) -> Iterator[Executor]:
    """An executor for the time of the `with` block.

    address: None starts a cluster on this machine and ends it with the block; otherwise `host:port`, `ray://host:port`
        or `auto` (RAY_ADDRESS, or the cluster that runs on this machine), which is left as it was.
    workers: processes at most; None takes one per CPU of the cluster, or per `gpus_per_worker` of its GPUs.
    gpus_per_worker: GPUs each worker holds; a fraction lets workers share one.
    serial: no Ray at all, one unit after the other in this process; the rest is then ignored.

    raises: InsecureCluster for an address beyond this machine without an authentication token; ClusterUnreachable if
        nothing answers there; NoWorkers if the cluster has no room for one worker and cannot grow; InvalidRequest for
        arguments that cannot be meant; SessionClosed inside another session.
    """
    if workers is not None and workers < 1:
        raise InvalidRequest(f"session: workers is {workers}, expected at least 1")
    if gpus_per_worker < 0:
        raise InvalidRequest(f"session: gpus_per_worker is {gpus_per_worker}, expected 0 or more")
    if serial:
        yield SerialExecutor()
        return
    connection = _local(workers=workers) if address is None else _remote(address)
    with connection:
        yield _executor(workers=workers, gpus_per_worker=gpus_per_worker, can_grow=address is not None)


@contextmanager
def _local(*, workers: int | None) -> Iterator[None]:
    variables = {"RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token")}
    if not token_is_configured():
        variables["RAY_AUTH_TOKEN_PATH"] = str(_private_token())
    root = Path(tempfile.mkdtemp(prefix="dkvb-", dir=_socket_root()))
    try:
        with environment(_QUIET | variables):
            options: dict[str, Any] = {
                "num_cpus": max(_usable_cpus(), workers or 1),
                "object_store_memory": _OBJECT_STORE_BYTES,
                "include_dashboard": False,
                "_temp_dir": str(root),
            }
            if _shared_memory_bytes() < _OBJECT_STORE_BYTES:
                options["_plasma_directory"] = str(root)  # named, or Ray warns about a store that stays all but empty
            with _connected("local", options):
                yield
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def _remote(address: str) -> Iterator[None]:
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or "auto"
    if address != "auto":
        check_address(address)
    # Else a cluster that turns this driver away is asked twenty times, once a second.
    variables = {"RAY_gcs_server_port_wait_time_s": f"{CONNECT_S:.0f}", **authentication()}
    with environment(_QUIET | variables), _connected(address, {}):
        yield


@contextmanager
def _connected(address: str, options: dict[str, Any]) -> Iterator[None]:
    import ray

    if ray.is_initialized():
        raise SessionClosed("session: a session is already open in this process; use its executor")
    reload_authentication()
    with _stdout_left_alone():
        try:
            with _interrupt_held():  # Ray would leave half a cluster behind
                _connect(address, options)
            with _termination_as_exit():
                yield
        finally:
            ray.shutdown(wait_for_processes=True)


@contextmanager
def _interrupt_held() -> Iterator[None]:
    """Keep a Ctrl-C of the main thread until the block ends, then let it out."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)


def _connect(address: str, options: dict[str, Any]) -> None:
    """The one `ray.init`."""
    import ray

    try:
        if address == "auto":
            # Resolved here, so that the same rules hold for what it stands for.
            address = ray._private.services.canonicalize_bootstrap_address("auto")
            check_address(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except ClusterError:
        raise
    except (ConnectionError, RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
        if address == "local":
            raise ClusterUnreachable(f"session: no Ray cluster could be started on this machine: {error}") from error
        raise ClusterUnreachable(
            f"session: no Ray cluster answers this driver at {address}: {error}. Check the address and the token; "
            "host:port works from a machine of the cluster only, from outside use ray://host:10001"
        ) from error


@cache
def _private_token() -> Path:
    """A token for this process's own clusters; one for its life, as Ray's threads read it even after a session."""
    folder = Path(tempfile.mkdtemp(prefix="dkvb-token-"))  # made with mode 700
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


@contextmanager
def _termination_as_exit() -> Iterator[None]:
    """Ray answers SIGTERM with a dump and death on the spot; an exit lets the workers and the cluster end in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    code = 128 + signal.SIGTERM
    received = []

    def leave(number: int, _frame: object) -> None:
        received.append(number)
        sys.exit(code)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except SystemExit:
        if received:  # a call into Ray passes the exit on, but not its code
            raise SystemExit(code) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _stdout_left_alone() -> Iterator[None]:
    """Ray prints the cluster's messages to stdout, which belongs to our callers' tables and JSON: log them instead."""
    import ray._private.worker as worker

    def log(data: dict[str, Any], ignore_prefix: bool) -> None:  # noqa: FBT001 (Ray's signature)
        del ignore_prefix
        for line in data["lines"]:
            _log.info("%s", line)

    printed = worker.print_to_stdstream
    worker.print_to_stdstream = log
    try:
        yield
    finally:
        worker.print_to_stdstream = printed


def _executor(*, workers: int | None, gpus_per_worker: float, can_grow: bool) -> RayExecutor:
    import ray

    nodes = [
        (node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0)) for node in ray.nodes() if node["Alive"]
    ]
    room = places(nodes, cpus=1, gpus=gpus_per_worker)
    if room == 0 and (workers is None or not can_grow):
        raise NoWorkers(
            f"session: no node has 1 CPU and {gpus_per_worker:g} GPUs for a worker (CPUs, GPUs of the nodes: {nodes}); "
            + ("give the number of workers to let the cluster grow" if can_grow else "ask for fewer GPUs")
        )
    count = workers or room
    return RayExecutor(
        workers=count,
        cpus_per_worker=cpus_each(nodes, workers=count, gpus=gpus_per_worker),
        gpus_per_worker=gpus_per_worker,
    )


def places(nodes: Sequence[tuple[float, float]], *, cpus: int, gpus: float) -> int:
    """How many workers of that many CPUs and GPUs fit on nodes of (CPUs, GPUs)."""
    return sum(
        min(int(node_cpus // cpus), int(node_gpus / gpus + 1e-9) if gpus else int(node_cpus))
        for node_cpus, node_gpus in nodes
    )


def cpus_each(nodes: Sequence[tuple[float, float]], *, workers: int, gpus: float) -> int:
    """The most CPUs a worker can hold so that all workers still fit; 1 where they do not fit anyway."""
    most = int(max((cpus for cpus, _ in nodes), default=1))
    return next((cpus for cpus in range(most, 1, -1) if places(nodes, cpus=cpus, gpus=gpus) >= workers), 1)


def _usable_cpus() -> int:
    """CPUs this process may use: its affinity, and a container's quota, which Ray reads."""
    import ray._private.utils

    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, int(ray._private.utils.get_num_cpus(override_docker_cpu_warning=True))))


def _shared_memory_bytes() -> int:
    try:
        return shutil.disk_usage("/dev/shm").free
    except OSError:  # macOS has none, and Ray does not look for it there
        return _OBJECT_STORE_BYTES


def _socket_root() -> Path:
    """A temporary folder short enough for unix sockets."""
    usual = Path(tempfile.gettempdir())
    return usual if len(str(usual)) + len("/dkvb-12345678") <= _SOCKET_ROOT_LENGTH else Path("/tmp")
