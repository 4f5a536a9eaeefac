"""Running experiments where they are placed: what the command line and the driver of a queued job both do."""

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.session import session
from cluster.signals import interrupt_held
from jobs import destroying
from jobs.plan.plan import Plan
from jobs.results.experiment import experiments
from jobs.run.progress import Progress
from jobs.run.recorded import check_names, record_all
from jobs.run.run import run, step_modules
from store.artefacts import open_root
from store.places import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where units are done; as of `cluster.session.session`."""

    address: str | None = None
    workers: int | None = None
    gpus: float | None = None
    """Held by each worker of a step that computes on GPUs."""
    python: str | None = None
    """The interpreter of the workers; None for that of the cluster."""
    serial: bool = False
    """In this process, without Ray."""


def execute(
    plans: Sequence[Plan], root: Place, placement: Placement, progress: Progress, *, recorded: bool = True
) -> None:
    """Run or resume experiments in a session of their own; where all is done, no cluster is started for it.

    recorded: as of `run`; on a root that has no experiment yet, before a cluster starts, which takes a while.
    raises: as `run` and `session`; BadRequest where another experiment has the name of one.
    """
    root = open_root(root, create=True)
    if recorded:
        check_names(plans, root)
        destroying.finish(root)
        if not experiments(root):  # nothing can be lost, and `dkvb status` finds them at once
            record_all(plans, root, progress)
            recorded = False
    if not (done := all(plan.is_done(root) for plan in plans)):
        with interrupt_held():  # inside an import it would not surface as one
            step_modules()
    with session(
        address=placement.address,
        workers=placement.workers,
        gpus=placement.gpus,
        python=placement.python,
        serial=placement.serial or done,
    ) as executor:
        run(plans, root, executor, progress, recorded=recorded)
