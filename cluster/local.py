"""A cluster on this machine, for one session: its folders, its token, its start."""

import atexit
import logging
import secrets
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any

from cluster.address import token_is_configured
from cluster.errors import ClusterUnreachable
from cluster.folders import private_folder, remove_orphans
from cluster.machine import machine_memory, usable_cpus
from dkvb_unlearning import variables

_log = logging.getLogger(__name__)

_OBJECT_STORE_BYTES = 200_000_000
"""Size of a local cluster's object store: nothing large goes through Ray."""
_LOG_BYTES = 20_000_000
"""Room that Ray's logs and sockets need."""
ROOM_REMEDY = "make room there, or name another folder in TMPDIR"
"""What to do where no temporary folder can be made."""
_RAY_REMEDY = "make room there, name another folder in TMPDIR, or use --serial, which needs no Ray"
"""The same of a run, for which Ray is one way among two."""
_SOCKET_ROOT_LENGTH = 40
"""Longest path of Ray's root: Ray adds up to 66 characters to it, and a unix socket's path has at most 107."""


def settings() -> dict[str, str]:
    """Environment variables for a cluster on this machine; removes what killed processes left behind."""
    for folder in {_socket_root(), _temporary()}:
        remove_orphans(folder)
    token = {} if token_is_configured() else {"RAY_AUTH_TOKEN_PATH": str(_private_token())}
    # Whatever mode the user has set: without a token anyone who reaches a port runs code as this user.
    return {"RAY_AUTH_MODE": "token", **token, **variables()}


def start(connect: Callable[[str, dict[str, Any]], None], folders: ExitStack, *, workers: int | None) -> None:
    """Start a cluster on this machine, with a second try where Ray took too long.

    connect: `ray.init`, given an address and options; raises ClusterUnreachable.
    folders: holds the cluster's folder, which must outlive the cluster.
    """
    import ray

    for may_retry in (True, False):
        root = temporary_folder(folders, "dkvb-", _socket_root())
        options: dict[str, Any] = {
            "num_cpus": max(usable_cpus(), workers or 1),
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_memory": machine_memory(),  # Ray would take 70 % of what happens to be free now
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": str(root),
        }
        needed = _LOG_BYTES
        if _shared_memory_bytes() < _OBJECT_STORE_BYTES:
            options["_plasma_directory"] = str(root)  # named, or Ray warns about a store that stays all but empty
            needed += _OBJECT_STORE_BYTES
        if (free := shutil.disk_usage(root).free) < needed:
            raise ClusterUnreachable(
                f"session: {root.parent} has {free / 1e6:.0f} MB free, and a Ray cluster needs {needed / 1e6:.0f} MB "
                f"there; {_RAY_REMEDY}"
            )
        try:
            connect("local", options)
        except ClusterUnreachable as error:
            ray.shutdown()
            _end_processes(str(root))
            if not may_retry:
                raise
            _log.warning("note: %s; trying once more", str(error).partition(";")[0])
        else:
            return


def _end_processes(root: str) -> None:
    """End the processes that a failed start left: our children whose command line names its root, and theirs."""
    import psutil

    with suppress(psutil.Error):
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if any(root in word for word in child.cmdline()):
                    for process in (*child.children(recursive=True), child):
                        process.kill()


@cache
def _private_token() -> Path:
    """The token of this process's clusters; it is kept to the end, as Ray's threads read it even after a session."""
    path = temporary_folder(_LIFE, "dkvb-token-") / "token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


_LIFE = ExitStack()
"""Folders for the life of this process."""
atexit.register(_LIFE.close)


def temporary_folder(stack: ExitStack, prefix: str, parent: Path | None = None, *, remedy: str = _RAY_REMEDY) -> Path:
    """Make a private temporary folder, removed when the stack closes.

    remedy: what its error says to do.
    raises: ClusterUnreachable where none can be made.
    """
    parent = parent or _temporary(remedy)
    try:
        return stack.enter_context(private_folder(prefix, parent))
    except OSError as error:
        raise ClusterUnreachable(
            f"no folder for Ray's files can be made in {parent}: {error.strerror}; {remedy}"
        ) from error


def _shared_memory_bytes() -> int:
    try:
        return shutil.disk_usage("/dev/shm").free
    except OSError:  # macOS has none, and Ray does not look for it there
        return _OBJECT_STORE_BYTES


def _temporary(remedy: str = _RAY_REMEDY) -> Path:
    """The folder for temporary files; raises: ClusterUnreachable where there is none."""
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        raise ClusterUnreachable(f"session: {error.strerror or error}; {remedy}") from error


def _socket_root() -> Path:
    """A temporary folder short enough for unix sockets."""
    usual = _temporary()
    return usual if len(str(usual)) + len("/dkvb-12345678") <= _SOCKET_ROOT_LENGTH else Path("/tmp")
