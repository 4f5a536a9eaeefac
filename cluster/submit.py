"""Ray's job API: start a driver under a name on a cluster, with this code; ask how far it is; stop it."""

import os
import re
import shlex
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import dkvb_unlearning
from cluster.address import authentication, check_address, environment
from cluster.errors import ClusterError, ClusterUnreachable, SubmissionRefused
from cluster.installed import require_ray
from cluster.local import ROOM_REMEDY, temporary_folder
from cluster.private import job_client, reload_authentication, session_is_here
from dkvb_unlearning import HOME, PACKAGES

DASHBOARD = "http://127.0.0.1:8265"
"""What "auto" stands for, unless RAY_API_SERVER_ADDRESS says otherwise: a head here, or the near end of a tunnel."""

ANSWER_S = 30
"""Seconds a job server may take to answer."""


PYTHON = "python"
"""The interpreter of a driver, unless another is named: whatever the head finds under that name."""

REFUSED = re.compile(r"Request failed with status code 4\d\d\b")
"""How Ray's client tells of an answer that stays the same however often one asks."""

NOT_THE_DRIVERS = "Running entrypoint for job "
"""Begins a line that Ray writes into a driver's log, sometimes behind all that a quick death left there."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What a cluster says of a submission; nothing of it survives the cluster's head."""

    state: Literal["pending", "running", "ended"]
    text: str
    """In Ray's words: its state, and how it ended."""
    last_line: str = ""
    """Of Ray's message, which ends with the driver's log: what went wrong, as a rule."""
    exit_code: int | None = None
    """Of the driver; below 0 the number of the signal that killed it. None: it runs, or Ray never started it."""

    @property
    def killed_by(self) -> str:
        """The name of the signal that killed the driver; empty for none."""
        code = self.exit_code or 0
        number = -code if code < 0 else code - 128  # a shell adds 128
        return signal.Signals(number).name if number in [*signal.Signals] else ""


@dataclass(frozen=True, slots=True)
class RayJobs:
    """The job server of one cluster."""

    address: str
    client: Any

    def submit(
        self,
        name: str,
        words: Sequence[str],
        *,
        variables: Mapping[str, str],
        metadata: Mapping[str, str] | None = None,
        python: str | None = None,
    ) -> bool:
        """Start ``python -m words`` on the cluster with this code; False where a submission of that name exists.

        variables: added to the driver's environment, and shown by the cluster to whoever asks: no secrets.
        metadata: shown by `ray job list`: no secrets.
        python: the interpreter, as the head finds it; PYTHON unless given.
        raises: SubmissionRefused; ClusterUnreachable.
        """
        if self.phase(name) is not None:
            return False
        with self._reported(), packed_code() as code:
            try:
                self.client.submit_job(
                    entrypoint=shlex.join([python or PYTHON, "-m", *words]),
                    submission_id=name,
                    metadata=dict(metadata or {}),
                    # The code is on PYTHONPATH there: the folder in which Python is started need not be searched.
                    runtime_env={"working_dir": str(code), "env_vars": {**variables, "PYTHONSAFEPATH": "1"}},
                )
            except RuntimeError as error:
                if self.phase(name) is not None:  # somebody else was quicker
                    return False
                if REFUSED.search(str(error)) is None:
                    raise
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
        if state in ("pending", "running"):
            return Phase(state, details.status.value)  # type: ignore[arg-type]
        lines = [line.strip() for line in (details.message or "").splitlines()]
        last_line = next((line for line in reversed(lines) if line and not line.startswith(NOT_THE_DRIVERS)), "")
        phase = Phase("ended", details.status.value, last_line, details.driver_exit_code)
        how = f", killed by {phase.killed_by}" if phase.killed_by else f": {last_line}" if last_line else ""
        return replace(phase, text=f"{phase.text}{how}")

    def stop(self, name: str) -> None:
        """Ask a submission to end: SIGTERM, then SIGKILL. One that ended, or is unknown, is left alone."""
        with self._reported():
            try:
                self.client.stop_job(name)
            except RuntimeError:
                if self.phase(name) is not None:
                    raise

    def is_here(self) -> bool:
        """Whether the cluster's head runs on this machine; an address on loopback may be the near end of a tunnel."""
        with self._reported():
            return session_is_here(self.client)

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


def ray_jobs(address: str, *, answer_s: float | None = None) -> RayJobs:
    """The job server at an address.

    address: ``http://host:port`` or ``host:port`` of the dashboard, or "auto" for the one on this machine.
    answer_s: seconds it may take to answer; ANSWER_S unless given.
    raises: RayMissing; InvalidRequest; InsecureCluster for an address beyond this machine without a token;
        ClusterUnreachable.
    """
    require_ray(f"{address}: a job server of Ray")
    is_default = address == "auto" and not os.environ.get("RAY_API_SERVER_ADDRESS")
    if address == "auto":
        address = os.environ.get("RAY_API_SERVER_ADDRESS") or DASHBOARD
    if "://" not in address:
        address = f"http://{address}"
    try:
        check_address(address, schemes=("http", "https"))
    except ClusterUnreachable as error:
        if not is_default:
            raise
        raise ClusterUnreachable(
            f"auto: found no job server at {DASHBOARD.partition('://')[2]}, where a head on this machine has it unless "
            f"told otherwise; for one at another port, give --address http://127.0.0.1:PORT ({error.__cause__})"
        ) from error
    import ray.exceptions
    import requests

    with environment({"RAY_USAGE_STATS_ENABLED": "0", **authentication()}):
        reload_authentication()
        try:
            return RayJobs(address, job_client(address, timeout=answer_s or ANSWER_S))
        except ray.exceptions.AuthenticationError as error:
            raise ClusterUnreachable(
                f"{address}: authentication failed: {str(error).partition(chr(10))[0].rstrip('.')}. "
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
