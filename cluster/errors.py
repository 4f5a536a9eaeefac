"""Errors of the cluster package: one base, every leaf also a builtin."""


class ClusterError(Exception):
    """Base of every error the cluster package raises on purpose; its text is meant for the user."""

    exit_code = 1
    """Exit code of a command that ends with this error."""
    final = False
    """Whether another attempt would fail the same way."""


class InvalidRequest(ClusterError, ValueError):
    """A policy, an address or a number of workers that makes no sense."""


class RayMissing(ClusterError, ImportError):
    """Something that only Ray does, where it is not installed."""

    exit_code = 2
    final = True


class InsecureCluster(ClusterError, PermissionError):
    """An address beyond this machine, and no authentication token: the token is what guards code execution."""


class ClusterUnreachable(ClusterError, ConnectionError):
    """Nothing that speaks Ray answers at the address, or it turns this driver away."""


class SessionClosed(ClusterError, RuntimeError):
    """A map outside its session, or a session inside another one."""


class NoWorkers(ClusterError, TimeoutError):
    """No worker could be placed, or none has been alive for the policy's deadline."""


class NoNodeType(NoWorkers):
    """A worker needs more than any node of the cluster has, now or after it has grown."""

    final = True


class WorkerSetupFailed(ClusterError, RuntimeError):
    """The factory failed wherever it was called; `__cause__` is its own exception if that could be carried over."""

    final = True


class WorkerLost(ClusterError, ChildProcessError):
    """The worker process died while it ran this unit, on every attempt the policy allows."""


class LeaseExpired(ClusterError, TimeoutError):
    """The unit gave no answer within the policy's lease, on the last attempt the policy allows."""


class SubmissionRefused(ClusterError, RuntimeError):
    """A job server that answers but does not take a job."""

    final = True


class UnreadableYaml(ClusterError, ValueError):
    """Text that is not YAML, or not YAML that anyone would write by hand."""

    def __init__(self, *, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
        self.problem = problem
