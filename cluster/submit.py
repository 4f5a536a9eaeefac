"""Ray's job API: start a driver under a name on a cluster, with this code; ask how far it is; stop it."""

import os
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dkvb_unlearning
from cluster.address import authentication, check_address, environment
from cluster.errors import ClusterError, ClusterUnreachable, SubmissionRefused
from cluster.local import ROOM_REMEDY, temporary_folder
from cluster.private import job_client, reload_authentication
from dkvb_unlearning import HOME, PACKAGES

DASHBOARD = "http://127.0.0.1:8265"
"""What "auto" stands for: the job server of a cluster on this machine, or the near end of an ssh tunnel."""

ANSWER_S = 30
"""Seconds a job server may take to answer."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What a cluster says of a submission; nothing of it survives the cluster's head."""

    state: Literal["pending", "running", "ended"]
    text: str
    """In Ray's words: its state, and the last line of its message, as a log ends with what went wrong."""


@dataclass(frozen=True, slots=True)
class RayJobs:
    """The job server of one cluster."""

    address: str
    client: Any

    def submit(self, name: str, words: Sequence[str], *, variables: Mapping[str, str]) -> bool:
        """Start ``python -m words`` on the cluster with this code; False where a submission of that name exists.

        variables: added to the driver's environment, and shown by the cluster to whoever asks: no secrets.
        raises: SubmissionRefused; ClusterUnreachable.
        """
        if self.phase(name) is not None:
            return False
        with self._reported(), packed_code() as code:
            try:
                self.client.submit_job(
                    entrypoint=shlex.join(["python", "-m", *words]),
                    submission_id=name,
                    # The code is on PYTHONPATH there: the folder in which Python is started need not be searched.
                    runtime_env={"working_dir": str(code), "env_vars": {**variables, "PYTHONSAFEPATH": "1"}},
                )
            except RuntimeError as error:
                if self.phase(name) is not None:  # somebody else was quicker
                    return False
                raise SubmissionRefused(f"{self.address}: {name}: {error}") from error
        return True

    def phase(self, name: str) -> Phase | None:
        """How far a submission is; None where the cluster knows no submission of that name."""
        with self._reported():
            try:
                details = self.client.get_job_info(name)
            except RuntimeError as error:
                if "does not exist" in str(error) or "404" in str(error):
                    return None
                raise
        state = str(details.status.value).lower()
        last_line = (details.message or "").strip().rpartition("\n")[2]
        text = f"{details.status.value}: {last_line}".removesuffix(": ")
        return Phase(state if state in ("pending", "running") else "ended", text)  # type: ignore[arg-type]

    def stop(self, name: str) -> None:
        """Ask a submission to end: SIGTERM, then SIGKILL. One that ended, or is unknown, is left alone."""
        with self._reported():
            try:
                self.client.stop_job(name)
            except RuntimeError:
                if self.phase(name) is not None:
                    raise

    def output(self, name: str) -> str:
        """What the driver printed, as far as the cluster still has it."""
        with self._reported():
            try:
                return str(self.client.get_job_logs(name))
            except RuntimeError:
                return ""

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Turn what Ray and its HTTP library raise into ClusterUnreachable."""
        import ray.exceptions
        import requests

        try:
            yield
        except ClusterError:
            raise
        except (ConnectionError, requests.RequestException, ray.exceptions.RayError) as error:
            raise ClusterUnreachable(f"{self.address}: the job server does not answer: {error}") from error
        except RuntimeError as error:
            raise ClusterUnreachable(f"{self.address}: the job server failed: {error}") from error


def ray_jobs(address: str) -> RayJobs:
    """The job server at an address.

    address: ``http://host:port`` or ``host:port`` of the dashboard, or "auto" for the one on this machine.
    raises: InvalidRequest; InsecureCluster for an address beyond this machine without a token; ClusterUnreachable.
    """
    if address == "auto":
        address = os.environ.get("RAY_API_SERVER_ADDRESS") or DASHBOARD
    if "://" not in address:
        address = f"http://{address}"
    check_address(address, schemes=("http", "https"))
    import ray.exceptions
    import requests

    with environment({"RAY_USAGE_STATS_ENABLED": "0", **authentication()}):
        reload_authentication()
        try:
            return RayJobs(address, job_client(address, timeout=ANSWER_S))
        except ray.exceptions.AuthenticationError as error:
            raise ClusterUnreachable(
                f"{address}: the cluster turns this client away: {str(error).partition(chr(10))[0].rstrip('.')}. "
                "Put its token into ~/.ray/auth_token (chmod 600), or name it in RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN"
            ) from error
        except (ConnectionError, RuntimeError, requests.RequestException) as error:
            raise ClusterUnreachable(f"{address}: no Ray job server answers there: {error}") from error


@contextmanager
def packed_code() -> Iterator[Path]:
    """Copy what a submission runs into a folder: the four packages and the module that binds their names.

    raises: ClusterUnreachable where no temporary folder can be made.
    """
    with ExitStack() as stack:
        folder = temporary_folder(stack, "dkvb-code-", remedy=ROOM_REMEDY) / "code"
        folder.mkdir()
        left_out = shutil.ignore_patterns("__pycache__")
        for package in PACKAGES:
            shutil.copytree(Path(HOME, package), folder / package, ignore=left_out)
        shutil.copy(dkvb_unlearning.__file__, folder)
        yield folder
