"""A root of an older version brought up to date in place: `dkvb root upgrade`.

Arrays stay as they are; what newer versions write beside them is added, one artefact after the other. Nothing that
dkvb reads changes until an artefact is closed again, so a killed upgrade is taken up by the next one.
"""

from collections.abc import Callable

from jobs import coordinates
from jobs.errors import BadRequest
from jobs.integrity import artefacts
from jobs.run.progress import another_driver
from store.artefacts import ROOT_FILE, ROOT_FORMAT, Artefact, open_root, root_format, write_json
from store.checksums import DONE, Ledger, fault, faults, ledger, unverified
from store.coordinates import METADATA, group_format
from store.errors import ArtefactDamaged
from store.files import remove
from store.layout import GROUP_FORMAT
from store.places import Place
from store.recording import recording


def upgrade(root: Place, tell: Callable[[str], None]) -> None:
    """Bring a root up to date; nothing is written where anything that would be added to is damaged.

    tell: is given what is done, a line each.
    raises: BadRequest while a run is at work on the root; ArtefactDamaged, naming every damaged file; NotARoot, also
        for a root of a newer version.
    """
    open_root(root, create=False)
    if another_driver(root):
        raise BadRequest(f"{root}: a run is at work there; wait for its end, or stop it")
    order = [*coordinates.STEPS_WITH_ARRAYS]
    there = sorted((each for each in artefacts(root) if each.step in order), key=lambda each: order.index(each.step))
    finished = [each for each in there if each.done or each.half_closed]
    older = [each for each in finished if each.half_closed or group_format(each.data) != GROUP_FORMAT]
    known = {each: _checked(each) for each in older}
    for artefact in older:
        add_coordinates(artefact, known[artefact])
        tell(f"added coordinates to {artefact.path}")
    for artefact in there:
        if artefact not in finished:
            tell(f"left {artefact.path} as it is: it is not finished; `dkvb run` goes on with it, and adds them")
    if unchecked := [each for each in older if known[each] is None]:
        tell(f"{len(unchecked)} of these have no checksums, and were not checked: an older version made them")
    if root_format(root / ROOT_FILE) != ROOT_FORMAT:
        write_json(root / ROOT_FILE, {"format": ROOT_FORMAT})
        tell(f"{root}: format {ROOT_FORMAT}")
    elif not older:
        tell(f"{root}: nothing to do")


def add_coordinates(artefact: Artefact, known: Ledger | None) -> None:
    """Write what newer versions write beside the arrays of a finished artefact, and close it again.

    known: its checksums, which go on holding for all that does not change; None where it has none.
    """
    with recording(artefact.path) as files:
        along = coordinates.add(artefact)
        if known is not None:
            remove(artefact.path / DONE)  # until it is closed: metadata that is listed changes
        coordinates.seal(artefact, along)
    if known is not None:
        artefact.finish({}, {**known.files, **files})


def _checked(artefact: Artefact) -> Ledger | None:
    """The checksums of an artefact all of whose files hold what was written; None without any.

    raises: ArtefactDamaged.
    """
    artefact.check_own()
    if not artefact.half_closed:
        if wrong := faults(artefact.path):
            raise _damaged(artefact, [text for _, text in wrong])
        return ledger(artefact.path)
    known = unverified(artefact.path)
    if known is None:
        raise _damaged(artefact, [f"{artefact.path}: its checksums are damaged"])
    # An upgrade was killed: of what `seal` writes nobody knows whether it is the old or the new, and it is made anew.
    sealed = {f"data.zarr/{name}/{METADATA}" for name in coordinates.older_axes(artefact.step)}
    sure = {name: text for name, text in known.files.items() if name not in {f"data.zarr/{METADATA}", *sealed}}
    if texts := [text for name in sure if (text := fault(known, name))]:
        raise _damaged(artefact, texts)
    return Ledger(known.folder, sure)


def _damaged(artefact: Artefact, wrong: list[str]) -> ArtefactDamaged:
    return ArtefactDamaged(
        "\n".join(
            [
                *wrong,
                f"nothing was added: `dkvb repair {artefact.root}` drops what is damaged, the same `dkvb run` as "
                "before makes it again, and then the upgrade goes on",
            ]
        )
    )
