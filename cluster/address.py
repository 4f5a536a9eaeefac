"""Addresses of clusters, and the token that guards them: checked before Ray is involved."""

import ipaddress
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from cluster.errors import ClusterUnreachable, InsecureCluster, InvalidRequest

CONNECT_S = 5.0
"""Seconds a cluster may take to accept a connection."""

TOKEN_REMEDY = (
    "put the cluster's token into ~/.ray/auth_token (chmod 600), or name it in RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN, "
    "and start the cluster with RAY_AUTH_MODE=token; `env -u RAY_AUTH_TOKEN_PATH ray get-auth-token --generate` makes "
    "one in ~/.ray"
)


def check_address(address: str, *, schemes: Sequence[str] = ("ray",)) -> None:
    """Check that an address may be used, before Ray tries it, which takes long.

    schemes: URL schemes that are allowed before ``host:port``.
    raises: InvalidRequest; InsecureCluster for one beyond this machine without a token; ClusterUnreachable.
    """
    host, port = host_and_port(address, schemes)
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        has_token, remedy = False, "unset RAY_AUTH_MODE, which turns the token off, or set it to `token`"
    else:
        has_token, remedy = token_is_configured(), TOKEN_REMEDY
    if not has_token and not is_loopback(host):
        raise InsecureCluster(
            f"{address} is not on this machine's loopback interface and no authentication token is in use, "
            f"so anyone on the way could run code as you; {remedy}"
        )
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except OSError as error:
        raise ClusterUnreachable(f"nothing answers at {address}: {error}; is the cluster up?") from error


def host_and_port(address: str, schemes: Sequence[str]) -> tuple[str, int]:
    """Host and port of an address; raises: InvalidRequest."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        if (
            parts.scheme in ("", *schemes)
            and parts.hostname
            and "@" not in address
            and parts.port
            and not parts.path.strip("/")
        ):
            return parts.hostname, parts.port
    except ValueError:  # a port that is no number, a broken IPv6 address
        pass
    if "@" in address:
        raise InvalidRequest("an address with a user or a password in it: give it without, a cluster knows its token")
    forms = ", ".join(f"{scheme}://host:port" for scheme in schemes)
    raise InvalidRequest(f"address {address!r} is not host:port, {forms} or auto")


def is_loopback(host: str) -> bool:
    """Whether a host is the loopback interface of this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_is_configured() -> bool:
    """Whether the user has a Ray authentication token, in any of the three places where Ray looks for one."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    return path.is_file() and path.stat().st_size > 0


def authentication() -> dict[str, str]:
    """Environment variables that make Ray use the user's token; none without a token."""
    return {"RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token")} if token_is_configured() else {}


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process for the time of the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
