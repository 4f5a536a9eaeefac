"""What the log of requests says was destroyed, and is there: it is not destroyed yet, or was put back.

Nothing that is made again ends up in such a folder: what is made without the items has another digest, and what is made
of them is refused (`jobs.destroying.check_not_destroyed`).
"""

import re
from collections.abc import Mapping, Sequence

from jobs.destroying import pending
from jobs.evidence import PURGE, UNLEARNED, Entry, entries, texts
from jobs.kept import OF_REQUEST, SUMMED
from store.artefacts import Artefact
from store.errors import ArtefactDamaged
from store.files import exists
from store.layout import CHECKPOINT, LINEAR, SUMS
from store.locations import some
from store.places import Place
from store.tombstones import left, read_tombstone

PARTS = {"sums": SUMMED, "values": (CHECKPOINT,), "linear": (SUMS, LINEAR), UNLEARNED: OF_REQUEST}
"""What of a step's artefact a commit destroys, where no tombstone says it."""

Standing = Mapping[str, Sequence[str]]
"""Folder below the root -> the files and folders in it that are there; an empty text: the folder itself."""


def standing(root: Place, log: Sequence[Entry]) -> dict[Place, Standing]:
    """What each entry of a log says was destroyed, and is there, by the file of the entry; raises: ArtefactDamaged."""
    found: dict[Place, Standing] = {}
    for at, one in enumerate(log):
        request = {} if one.said is None or one.wrong else one.said["request"]
        made_later = {f"{UNLEARNED}/{other.folder}" for other in log[at + 1 :]}
        folders = [name for name in texts(request.get("destroyed")) if re.fullmatch("[a-z_]+/[0-9a-f]{16}", name)]
        whole = request.get("method") == PURGE
        there = {name: parts_left(root, name, whole=whole) for name in folders if name not in made_later}
        if there := {name: parts for name, parts in there.items() if parts}:
            found[one.path] = there
    return found


def parts_left(root: Place, name: str, *, whole: bool) -> list[str]:
    """What is there of a folder that was destroyed; whole: not only what can be made anew of it."""
    artefact = Artefact(root, *name.split("/"))
    if whole and artefact.step != UNLEARNED:
        return [""] * exists(artefact.path)
    stone = read_tombstone(artefact.path)
    parts = PARTS.get(artefact.step, ()) if stone is None else stone.parts
    return [part for part in parts if left(artefact.path, [part])]


def standing_faults(root: Place) -> dict[Place, str]:
    """The same as what is wrong with the evidence of a root: file -> what, and what to do."""
    log = entries(root)
    try:
        orders = {order.by for order in pending(root)}
        there = standing(root, log)
    except ArtefactDamaged:  # told as damage of the root
        return {}
    by = {one.path: one.folder for one in log}
    return {path: f"{path}: says that {_told(folders, ordered=by[path] in orders)}" for path, folders in there.items()}


def _told(folders: Standing, *, ordered: bool) -> str:
    """What is there, and why it may be."""
    what = f"{some([*folders])} {'was' if len(folders) == 1 else 'were'} destroyed, and"
    if ordered:
        return f"{what} not all is yet; the next request or run on the root finishes it"
    they_are = "it is" if len(folders) == 1 else "they are"
    return (
        f"{what} {they_are} there: put back since, or the command was cut off before it counted; ask for the same "
        "again, or remove what was put back"
    )
