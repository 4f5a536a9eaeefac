"""The job servers of a queue's clusters, each asked about the attempts that it was given."""

import time
from collections.abc import Callable

from cluster.errors import ClusterError
from cluster.submit import Phase, RayJobs, ray_jobs
from jobs.queue.job import Attempt


class Clusters:
    """The job servers of one pass, by address; one that does not answer is told of once and left alone.

    answer_s: seconds that each of them may take to answer; None for as many as `cluster.submit` allows.
    until: by `time.monotonic`, when to stop asking; None for never.
    """

    def __init__(
        self, tell: Callable[[str], None], *, answer_s: float | None = None, until: float | None = None
    ) -> None:
        self._tell, self._answer_s, self._until = tell, answer_s, until
        self._servers: dict[str, RayJobs | None] = {}
        self.unreached: dict[str, str] = {}
        """Why, in one line, by address: those that were needed and did not answer."""

    def get(self, address: str) -> RayJobs | None:
        """The job server at an address, or None."""
        if address not in self._servers:
            self._servers[address] = None
            if self._is_over():
                self._tell(f"{address}: was not asked, as others took too long to answer")
                return None
            try:
                self._servers[address] = ray_jobs(address, answer_s=self._answer_s)
            except ClusterError as error:
                self.lost(address, error)
        return self._servers[address]

    def lost(self, address: str, error: ClusterError) -> None:
        """Leave alone one that does not answer, or answered before and does not now."""
        self.unreached[address] = str(error).strip().partition("\n")[0]
        self._tell(self.unreached[address])
        self._servers[address] = None

    def ask(self, attempt: Attempt, *, stop: bool = False) -> tuple[RayJobs | None, Phase | None]:
        """Ask the cluster of an attempt; returns it and what it says, None for both where it does not answer.

        stop: have the attempt ended there, unless it has.
        """
        address = attempt.decision.address
        if (cluster := self.get(address)) is None:
            return None, None
        if self._is_over():
            self._tell(f"{address}: takes too long to answer")
            self._servers[address] = None
            return None, None
        try:
            phase = cluster.phase(attempt.submission)
            if stop and phase is not None and phase.state != "ended":
                cluster.stop(attempt.submission)
        except ClusterError as error:
            self.lost(address, error)
            return None, None
        return cluster, phase

    def _is_over(self) -> bool:
        return self._until is not None and time.monotonic() > self._until
