"""Verdicts: how an attempt ended whose driver is gone and did not say so itself, by what its cluster says."""

from dataclasses import replace

from cluster.errors import ClusterError
from cluster.submit import PYTHON, Phase, RayJobs
from jobs.queue.job import Attempt, Job
from jobs.queue.records import End, EndState
from store.artefacts import Artefact
from store.errors import StoreError
from store.places import place

AGAIN = 75
"""Exit code of a driver that could not begin for a reason that may pass: EX_TEMPFAIL of sysexits.h."""

NOT_RUN = (126, 127)
"""Exit codes of a shell for a command that it may not run, or does not find."""

BY_REQUEST = "stopped by request"
"""Why an attempt ended that people stopped."""

OUTPUT_LINES = 20
"""Lines of a dead driver's output that are kept."""


def verdict(job: Job, attempt: Attempt, phase: Phase) -> End:
    """How an attempt ended without a word of its own.

    phase: what its cluster says: that it ended.
    """
    is_anothers = attempt.start is not None and phase.exit_code == 0  # a second driver leaves it to the first
    if attempt.heartbeat is None and not is_anothers and not job.is_to_stop and not outputs_done(attempt):
        return _before_it_began(phase, job.assignment.python or PYTHON)
    return lost(job, attempt, f"its driver is gone ({phase.text})")


def lost(job: Job, attempt: Attempt, why: str) -> End:
    """How an attempt ended that is dead; why: by what one knows."""
    if outputs_done(attempt):
        return End(state=EndState.SUCCEEDED, why=f"its outputs stand, though {why}")
    if job.is_to_stop:
        return End(state=EndState.STOPPED, why=BY_REQUEST)
    return End(state=EndState.LOST, why=why)


def _before_it_began(phase: Phase, python: str) -> End:
    """Tell a driver that ended by itself, as it would again, from one that was ended, or never started."""
    says, code = phase.last_line or phase.text, phase.exit_code
    name = "`dkvb submit --python` names the interpreter, as the cluster's machines find it"
    if phase.killed_by:
        memory = ": out of memory, or ended by hand" if phase.killed_by == "SIGKILL" else ""
        return End(state=EndState.LOST, why=f"its driver was killed by {phase.killed_by} before it began{memory}")
    if code is None:  # its supervisor was stopped or died, or Ray could not set up what it needs
        return End(state=EndState.LOST, why=f"its driver never began: {phase.text}")
    if code == 0:
        why = f"{python} ended at once and never began (exit code 0), as no Python does; {name}"
    elif code in NOT_RUN:
        why = f"{says} (its driver was not started); {name}"
    elif says.startswith(("ModuleNotFoundError", "ImportError")):
        why = f"{says} (its driver died at import); on the cluster `{python}` lacks what dkvb needs: {name}"
    else:
        why = f"{says} (its driver died before it began, exit code {code})"
    return End(state=EndState.FAILED, why=why, final=code != AGAIN)


def outputs_done(attempt: Attempt) -> bool:
    """Whether everything that an attempt was to make is done, as far as that can be seen from here."""
    if attempt.outputs is None or not attempt.outputs.steps:
        return False
    try:
        root = place(attempt.outputs.root)
        return all(Artefact(root, *step.split("/")).done for step in attempt.outputs.steps)
    except (OSError, StoreError):  # the next attempt sees
        return False


def with_output(ending: End, cluster: RayJobs | None, attempt: Attempt) -> End:
    """Add the last lines that a dead driver printed, where its cluster still has them: it may have no other log."""
    if ending.state not in (EndState.LOST, EndState.FAILED):
        return ending
    try:
        lines = cluster.output(attempt.submission).splitlines() if cluster is not None else []
    except ClusterError:
        lines = []
    return replace(ending, output="\n".join(lines[-OUTPUT_LINES:]))
