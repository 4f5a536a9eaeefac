"""A root of an older version brought up to date in place: `dkvb root upgrade`.

Arrays stay as they are, and so do the checksums and DONE of every artefact, of which certificates speak; what newer
versions write beside the arrays is added and listed apart. A killed upgrade is taken up by the next one.
"""

from collections.abc import Callable, Iterator

from jobs import coordinates
from jobs.errors import BadRequest
from jobs.integrity import artefacts
from jobs.run.progress import another_driver
from store.artefacts import ROOT_FILE, ROOT_FORMAT, Artefact, open_root, root_format, write_json
from store.checksums import faults, ledger, write_added
from store.chunks import METADATA
from store.coordinates import axes, group_format, made_when_closed
from store.errors import ArtefactDamaged
from store.files import files_below, read_bytes
from store.layout import ARRAYS, GROUP_FORMAT
from store.places import Place, quoted
from store.recording import recording, stamp


def upgrade(root: Place, tell: Callable[[str], None]) -> None:
    """Bring a root up to date; nothing is written where anything that would be added to is damaged.

    tell: is given what is done, a line each.
    raises: BadRequest while a run is at work on the root; ArtefactDamaged, naming every damaged file; NotARoot, also
        for a root of a newer version.
    """
    open_root(root, create=False)
    if other := another_driver(root):
        raise BadRequest(f"{root}: a run ({other}) is at work there; wait for its end, or stop it")
    order = [*coordinates.STEPS_WITH_ARRAYS]
    there = sorted((each for each in artefacts(root) if each.step in order), key=lambda each: order.index(each.step))
    done = [each for each in there if each.done]
    older = [each for each in done if is_older(each)]
    if wrong := [text for each in older for text in damages(each)]:
        raise ArtefactDamaged(
            "\n".join(wrong)
            + f"\nnothing was added: `dkvb repair {quoted(root)}` drops what is damaged, the same `dkvb run` "
            "as before makes it again, and then the upgrade goes on"
        )
    for artefact in older:
        add_coordinates(artefact)
        tell(f"added coordinates to {artefact.path}")
    for artefact in there:
        if artefact not in done:
            tell(f"left {artefact.path} as it is: it is not finished; `dkvb run` goes on with it, and adds them")
    if unchecked := [each for each in older if not each.has_checksums]:
        tell(f"{len(unchecked)} of these have no checksums, and were not checked: an older version made them")
    if root_format(root / ROOT_FILE) != ROOT_FORMAT:
        write_json(root / ROOT_FILE, {"format": ROOT_FORMAT})
        tell(f"{root}: format {ROOT_FORMAT}")
    elif not older:
        tell(f"{root}: nothing to do")


def is_older(artefact: Artefact) -> bool:
    """Whether a finished artefact lacks what newer versions write beside its arrays."""
    if group_format(artefact.data, whole=True) != GROUP_FORMAT:
        return True
    known = ledger(artefact.path)
    return known is not None and not any(made_when_closed(name) for name in known.entries(artefact.data) - {METADATA})


def damages(artefact: Artefact) -> list[str]:
    """What is wrong with the files of an artefact, but for metadata that a killed upgrade has written already."""
    artefact.check_own()
    written = set(_written(artefact))
    return [text for name, text in faults(artefact.path) if name not in written]


def _written(artefact: Artefact) -> Iterator[str]:
    if group_format(artefact.data, whole=False) == GROUP_FORMAT:
        yield f"{artefact.data.name}/{METADATA}"
    for name in coordinates.older_axes(artefact.step):
        if axes(artefact.data, name) == ARRAYS[name].dims:
            yield f"{artefact.data.name}/{name}/{METADATA}"


def add_coordinates(artefact: Artefact) -> None:
    """Write what newer versions write beside the arrays of a finished artefact, and list it."""
    known = ledger(artefact.path)
    with recording(artefact.path) as files:
        coordinates.seal(artefact, coordinates.add(artefact))
    if known is not None:
        inside = (f"{artefact.data.name}/{name}" for name in files_below(artefact.data))
        new = [name for name in inside if name in files or name not in known.files]
        write_added(artefact.path, {name: files.get(name) or stamp(read_bytes(artefact.path / name)) for name in new})
