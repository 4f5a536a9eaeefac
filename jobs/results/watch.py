"""Watching a root: how far its steps are, again and again, until all are done. Nothing is looked at but the disk."""

import time
from collections.abc import Callable, Iterator

from jobs.results.experiment import StepState, StepStatus, status
from store.errors import StoreError
from store.places import Place


def changes(root: Place, every: float, tell: Callable[[str], None]) -> Iterator[list[StepStatus]]:
    """Yield every step, then the steps that changed; ends once all are done, of at least one experiment.

    every: seconds between two looks.
    tell: takes what hinders a look, once: a network disk or a store that is away for a while.

    raises: NotARoot where the first look finds no root.
    """
    before: dict[tuple[str, str], StepStatus] = {}
    rows, hindered = status(root), ""
    if not rows:
        tell(f"{root}: no experiment yet; waiting for one")
    while True:
        yield [row for row in rows if before.get((row.experiment, row.step)) != row]
        before |= {(row.experiment, row.step): row for row in rows}
        if rows and all(row.state is StepState.DONE for row in rows):
            return
        time.sleep(every)
        try:
            rows, hindered = status(root), ""
        except (OSError, StoreError) as error:
            if str(error) != hindered:
                tell(hindered := str(error))
