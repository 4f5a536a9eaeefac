"""`dkvb unlearn --method uva` and `--method uve`: what they do after their words are read.

No torch, unless what is purged is made anew: a mask would wait for it.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.certificate import Asker
from jobs.evidence import UNLEARNED
from jobs.printable import say
from jobs.results.experiment import find
from jobs.unlearn import Request, unlearn
from jobs.unlearned import Unlearned, as_text
from store.artefacts import Artefact
from store.places import Place

if TYPE_CHECKING:
    from jobs.cli.purging import Purging


def mask(
    root: Place,
    name: str | None,
    request: Request,
    *,
    mask_only: bool,
    measured: bool,
    asker: Asker,
    key_file: Path | None,
    as_json: bool,
    purging: "Purging | None",
) -> None:
    """Write a mask, purge what its classes left on the root if asked, and say what was done; name: as of `find`.

    raises: BadRequest, DkvbError, StoreError, and what a run raises.
    """
    experiment = find(root, name)

    def ask() -> Unlearned:
        return unlearn(experiment, request, mask_only=mask_only, measured=measured, asker=asker, key_file=key_file)

    if purging is None:
        done = ask()
        say(json.dumps(done.to_json(), indent=2) if as_json else as_text(done))
        return
    from jobs.purge import Purged, check_purge, class_rows, purge

    rows = class_rows(experiment, request.classes)

    def ask_checked() -> Unlearned:
        check_purge(experiment, rows, key_file)
        return ask()

    def purge_classes(done: Unlearned) -> Purged:
        made = Artefact(root, UNLEARNED, Path(done.mask).parent.name)
        return purge(experiment, purging.run, of=made, rows=rows, asker=asker, key_file=key_file)

    purging.carry_out(ask_checked, as_text, purge_classes)
