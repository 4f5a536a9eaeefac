"""`--purge`: what requests by masks and exact ones do alike after their words are read."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from jobs import destroying
from jobs.cli.ending import second_interrupt_ends
from jobs.cli.telling import reporter
from jobs.errors import BadRequest
from jobs.plan.plan import Plan
from jobs.printable import say
from jobs.purge import Purged
from jobs.run.execute import Placement, execute
from jobs.run.progress import check_quiet
from store.places import Place


class Done(Protocol):
    """What a request did."""

    def to_json(self) -> dict[str, Any]:
        """All of it in one JSON object."""


DoneT = TypeVar("DoneT", bound=Done)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purging:
    """A root, and how what is made anew on it is run there."""

    root: Place
    workers: int | None
    serial: bool
    as_json: bool

    def run(self, plans: Sequence[Plan]) -> None:
        """As `jobs.purge.Runs`."""
        placement = Placement(workers=self.workers, serial=self.serial)
        with second_interrupt_ends():
            execute(plans, self.root, placement, reporter(self.root), recorded=False)

    def _how_far(self) -> str:
        """What an interrupted purge has destroyed, and how it goes on."""
        goes_on = "the same command goes on from there"
        if any(one.purges for one in destroying.pending(self.root)):
            return f"the purge counts, and was interrupted while it destroyed what was before; {goes_on}"
        return (
            "interrupted: the purge itself has destroyed nothing yet, and the root is as the request left it, which "
            f"counts and stands in the log; {goes_on}"
        )

    def carry_out(
        self, ask: Callable[[], DoneT], text: Callable[[DoneT], str], purge: Callable[[DoneT], Purged]
    ) -> None:
        """Ask, purge, and say what both did.

        Where a purge was cut off that asked to destroy what was before, that is finished first; a request for the same
        then finds nothing to do, and is told so.
        text: what a request did, for people.
        raises: BadRequest, DkvbError, StoreError, and what a run raises.
        """
        check_quiet(self.root)
        cut_off = [one.by for one in destroying.pending(self.root) if one.purges]
        with destroying.one_at_a_time(self.root):
            destroying.finish(self.root)
        try:
            done = ask()
        except BadRequest as error:
            if not cut_off:
                raise
            what = f"the purge of request {cut_off[-1]}, which was cut off, is finished"
            say(f"{what}; nothing else was done: {error}", err=True)
            return
        if not self.as_json:
            say(text(done))
        try:
            purged = purge(done)
        except KeyboardInterrupt:
            say(self._how_far(), err=True)
            raise
        say(json.dumps({**done.to_json(), "purged": purged.to_json()}, indent=2) if self.as_json else purged.text())
