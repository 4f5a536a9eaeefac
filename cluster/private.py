"""Ray's private parts that have no public counterpart, each behind one function that says why it is needed.

pyproject.toml bounds Ray to versions that tests/cluster/test_private.py has seen: it fails where one of them changes.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

MESSAGES = 1000
"""Of all workers of a cluster, read at a time: more may come than anyone could read."""

CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")  # loggers


def running_cluster() -> str:
    """The address that "auto" stands for; `ray.init` tells it only once it is connected, too late to refuse it."""
    import ray._private.services

    return str(ray._private.services.canonicalize_bootstrap_address("auto"))


def head_address() -> str | None:
    """Where the head of this driver's cluster listens; None behind ray://. The public context has no port of it."""
    import ray._private.worker

    node = ray._private.worker._global_node
    return None if node is None else str(node.gcs_address)


def autoscaler_lines() -> Callable[[], list[str]]:
    """What gives the lines that the cluster's autoscaler published since it was last asked; none behind ray://.

    Ray would print them, among those of all workers.
    """
    import ray._raylet

    if (address := head_address()) is None:
        return list
    subscriber = ray._raylet.GcsLogSubscriber(address=address)
    subscriber.subscribe()

    def published() -> list[str]:
        lines: list[str] = []
        for _ in range(MESSAGES):
            if not (data := subscriber.poll(timeout=0.01)):
                break
            if data["pid"] == "autoscaler":
                lines += data["lines"]
        return lines

    return published


def reload_authentication() -> None:
    """Make Ray read mode and token again: it keeps those of its import, or of an earlier session in this process."""
    import ray

    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


def ends_worker(error: BaseException) -> bool:
    """Whether this is Ray's answer to a SIGTERM in a worker: its node is being taken away, or its cluster ended.

    It is a SystemExit like that of work which calls sys.exit, but for an attribute.
    """
    return isinstance(error, SystemExit) and hasattr(error, "ray_terminate_msg")


def job_config(search_path: list[str]) -> Any:
    """What Ray tells workers of this driver: this search path alone.

    By default Ray puts the driver's current folder, and its script's, before everything else.
    """
    from ray.job_config import JobConfig

    class OurJob(JobConfig):  # type: ignore[misc]
        def _runtime_env_has_working_dir(self) -> bool:
            return True  # the question by which Ray decides whether to send its two folders

    return OurJob(_py_driver_sys_path=search_path)


@contextmanager
def habits(*, log: Callable[[str], None], alone: bool) -> Iterator[None]:
    """Change habits of Ray for which it has no option, for the time of the block.

    log: takes the cluster's messages, which Ray prints to stdout; that belongs to tables and JSON.
    alone: whether nobody else may reach the cluster.
    """
    import ray._private.services as services
    import ray._private.utils as utils
    import ray._private.worker as worker

    def to_log(data: dict[str, Any], ignore_prefix: bool) -> None:  # noqa: FBT001 (Ray's signature)
        del ignore_prefix
        for line in data["lines"]:
            log(line)

    with ExitStack() as stack:
        stack.enter_context(_replaced(worker, "print_to_stdstream", to_log))
        # It takes SIGTERM for itself, and answers with a dump, or with half a cluster left behind.
        stack.enter_context(_replaced(utils, "set_sigterm_handler", lambda handler: None))
        if alone:
            # It replaces a loopback address by one that others reach; kept, all its servers listen on loopback.
            stack.enter_context(_replaced(services, "resolve_ip_for_localhost", lambda host: host))
        yield


@contextmanager
def _replaced(owner: Any, name: str, by: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, by)
    try:
        yield
    finally:
        setattr(owner, name, before)


def job_client(address: str, *, timeout: float) -> Any:
    """Ray's client of a job server; by default it waits for ever for an answer, and logs every upload."""
    from ray.job_submission import JobSubmissionClient

    for name in CHATTY:  # importing its module sets each to INFO, so this comes after the import
        logging.getLogger(name).setLevel(logging.WARNING)

    class Client(JobSubmissionClient):  # type: ignore[misc]
        def _do_request(self, *words: Any, **more: Any) -> Any:
            return super()._do_request(*words, **{"timeout": timeout, **more})

    return Client(address)


def session_is_here(client: Any) -> bool:
    """Whether a job server's session, whose name is used once, is on this machine: its folder, or a process of it.

    The public client tells neither the session nor the host of a cluster.
    """
    name = str(client._do_request("GET", "/api/version").json().get("session_name") or "")
    folders = (os.environ.get("RAY_TMPDIR"), os.environ.get("TMPDIR"), "/tmp")
    if not name.startswith("session_"):
        return False
    return any(Path(each, "ray", name).is_dir() for each in folders if each) or _is_named_here(name)


def _is_named_here(session: str) -> bool:
    """Whether a process that sees this machine's files has a session in its command line, as each of Ray's has.

    One in a container has files of its own.
    """
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile, or another user's
            named = session.encode() in (process / "cmdline").read_bytes()
            if named and (process / "ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink():
                return True
    return False


def start_options() -> frozenset[str]:
    """The options of `ray start`: Ray lists them in its command and nowhere else."""
    from ray.scripts.scripts import start

    return frozenset(option for each in start.params for option in (*each.opts, *each.secondary_opts))


def validate(config: Mapping[str, Any]) -> None:
    """Validate a file as `ray up` does before it starts anything; raises: whatever Ray raises."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(deepcopy(dict(config))))
