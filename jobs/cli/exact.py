"""`dkvb unlearn --method exact` and `--method retrain`: what they do after their words are read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.certificate import Asker
from jobs.exact import ExactRequest, forget_exactly
from jobs.item_files import read_names
from jobs.printable import say
from jobs.results.experiment import find
from store.places import Place

if TYPE_CHECKING:
    from jobs.cli.purging import Purging


@dataclass(frozen=True, slots=True)
class Words:
    """What a command says of a request that names items."""

    classes: Sequence[str]
    items: Path | None
    """A file that names items."""
    asker: Asker
    key_file: Path | None
    as_json: bool

    def request(self, *, commit: bool = False) -> ExactRequest:
        """Raises: BadRequest."""
        names = [] if self.items is None else read_names(self.items)
        return ExactRequest(classes=self.classes, items=names, commit=commit)


def forget(root: Place, name: str | None, words: Words, *, commit: bool, purging: "Purging | None") -> None:
    """Forget, commit, purge, and say what was done; name: of the experiment, None for the only one.

    raises: BadRequest, DkvbError, StoreError, and what a run raises.
    """
    experiment, request = find(root, name), words.request(commit=commit)
    if purging is None:
        if commit:
            from jobs.run.progress import check_quiet

            check_quiet(root)
        done = forget_exactly(experiment, request, asker=words.asker, key_file=words.key_file)
        say(json.dumps(done.to_json(), indent=2) if words.as_json else done.text())
        return
    from jobs.purge import check_purge, purge

    purging.carry_out(
        lambda: forget_exactly(
            experiment,
            request,
            again=True,
            check=lambda rows: check_purge(experiment, rows, words.key_file),
            asker=words.asker,
            key_file=words.key_file,
        ),
        lambda done: done.text(),
        lambda done: purge(find(root, name), purging.run, asker=words.asker, key_file=words.key_file),
    )


def retrain(root: Place, name: str | None, words: Words, *, measured: bool) -> None:
    """Retrain, and say what was done; name: of the experiment, None for the only one."""
    from jobs import retrained

    experiment = find(root, name)
    done = retrained.retrain(experiment, words.request(), measured=measured, asker=words.asker, key_file=words.key_file)
    say(json.dumps(done.to_json(), indent=2) if words.as_json else done.text())
