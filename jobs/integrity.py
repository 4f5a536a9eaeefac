"""Damage on a root: found by reading every file, and dropped so that a run makes it again."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from jobs import evidence
from jobs.destroying import destroyed, finish, finishing, pending
from jobs.errors import BadRequest
from jobs.evidence import UNLEARNED
from jobs.kept import NOT_ITS_SPEC, read_spec
from jobs.results.experiment import read_experiment
from jobs.run.progress import another_driver
from jobs.standing import standing_faults
from store.artefacts import (
    PROVENANCE,
    ROOT_FILE,
    ROOT_FORMAT,
    SPEC,
    Artefact,
    as_json,
    as_written,
    open_root,
    root_format,
    write_json,
)
from store.checksums import CHECKSUMS, DONE, faults, marker_files
from store.coordinates import made_when_closed
from store.errors import ArtefactDamaged, ArtefactMissing, NotARoot
from store.files import names, read_bytes, remove
from store.places import Place, quoted


@dataclass(slots=True)
class Integrity:
    """What reading every file of a root showed."""

    damaged: dict[Artefact, dict[str, str]] = field(default_factory=dict)
    """Artefact -> path in its folder of each damaged file -> what is wrong with it."""
    records: dict[Place, str] = field(default_factory=dict)
    """Damaged records of experiments, and what is wrong with them."""
    destroyed: dict[Artefact, str] = field(default_factory=dict)
    """Artefacts of which files were destroyed on purpose, and for which request."""
    pending: list[str] = field(default_factory=list)
    """What is to be destroyed and is not yet, as something ended."""
    evidence: dict[Place, str] = field(default_factory=dict)
    """Certificates and entries of the log of requests that were changed or removed, and what to do."""
    artefacts: int = 0
    unchecked: list[Artefact] = field(default_factory=list)
    """Artefacts of a version that wrote no checksums: damage to them may go unseen."""

    @property
    def sound(self) -> bool:
        """Whether no damage was found."""
        return not self.damaged and not self.records and not self.evidence and not self.pending

    def to_json(self) -> dict[str, Any]:
        """What was found, for JSON."""
        wrong = [text for files in self.damaged.values() for text in files.values()]
        return {
            "artefacts": self.artefacts,
            "damaged": [*wrong, *self.records.values()],
            "destroyed": [f"{artefact.path}: {text}" for artefact, text in self.destroyed.items()],
            "to_destroy": self.pending,
            "evidence": [*self.evidence.values()],
            "without_checksums": [str(artefact.path) for artefact in self.unchecked],
        }

    def text(self, root: Place) -> str:
        """What was found, for people."""
        about = self.to_json()
        lines = [f"{self.artefacts} artefacts read, {len(about['damaged']) or 'no'} damaged files"]
        lines += [f"  {line}" for line in about["damaged"]]
        if self.damaged or self.records or self.evidence:
            lines.append("keep a copy of the root before anything else is done, if somebody may have changed it")
        if self.damaged or self.records:
            lines.append(
                f"`dkvb repair {quoted(root)}` drops them and what was made of them; `dkvb run` then makes them again"
            )
        if self.destroyed:
            lines += ["destroyed on purpose:", *(f"  {line}" for line in about["destroyed"])]
        if self.pending:
            lines += ["to be destroyed:", *(f"  {line}" for line in self.pending)]
        if self.evidence:
            lines += ["certificates and the log of requests:", *(f"  {line}" for line in about["evidence"])]
        if self.unchecked:
            count = len(self.unchecked)
            lines.append(
                f"{count} artefacts have no checksums (an older version made them): damage may go unseen there"
            )
        return "\n".join(lines)


def artefacts(root: Place) -> Iterator[Artefact]:
    """Every artefact folder of a root."""
    for step in names(root):
        if re.fullmatch(r"[a-z_]+", step) and step != "experiments":
            yield from (
                Artefact(root, step, name) for name in names(root / step) if re.fullmatch(r"[0-9a-f]{16}", name)
            )


def verify(root: Place) -> Integrity:
    """Read every file of a root and compare it with its checksum; raises: NotARoot."""
    open_root(root, create=False)
    integrity = Integrity()
    for artefact in artefacts(root):
        artefact.check_own()
        integrity.artefacts += 1
        with suppress(ArtefactDamaged):  # told among its faults
            if text := destroyed(artefact):
                integrity.destroyed[artefact] = text
        wrong = dict(faults(artefact.path))
        if artefact.half_closed:
            wrong[CHECKSUMS] = f"{artefact.path / DONE}: is missing, or was not yet written when something ended"
        if SPEC not in wrong and (text := wrong_spec(artefact)):
            wrong[SPEC] = text
        if wrong:
            integrity.damaged[artefact] = wrong
        elif artefact.done and not artefact.has_checksums:
            integrity.unchecked.append(artefact)
    if read_bytes(root / ROOT_FILE) != as_json({"format": root_format(root / ROOT_FILE)}):
        integrity.records[root / ROOT_FILE] = f"{root / ROOT_FILE}: does not hold what was written"
    recorded = names(root / "experiments", ".json")
    if integrity.artefacts and not recorded:
        integrity.records[root / "experiments"] = (
            f"{root / 'experiments'}: names no experiment, and {integrity.artefacts} artefacts of one are there"
        )
    for name in recorded:
        try:
            read_experiment(root, name.removesuffix(".json"))
        except (ArtefactDamaged, ArtefactMissing, NotARoot) as error:
            integrity.records[root / "experiments" / name] = str(error)
    integrity.evidence = standing_faults(root) | evidence.faults(root)
    try:
        integrity.pending = [
            f"{one.path}: what request {one.by} ordered is not all destroyed; "
            f"{finishing(root, one.by)} finishes it, as does a run"
            for one in pending(root)
        ]
    except ArtefactDamaged as error:
        integrity.pending = [str(error)]
    return integrity


def wrong_spec(artefact: Artefact) -> str:
    """What is wrong with an artefact's spec, of which its digest is taken; empty where nothing is."""
    return f"{artefact.path / SPEC}: {NOT_ITS_SPEC}" if read_spec(artefact) is None else ""


def repair(root: Place, tell: Callable[[str], None]) -> Integrity:
    """Drop what is damaged, and every artefact that was made of it; what requests wrote stays unless it is damaged.

    Certificates are copied from the log of requests, which itself is left as it is: nothing makes it again.

    tell: is given what is dropped, a line each.
    raises: BadRequest while a run is at work on the root; NotARoot.
    """
    if other := another_driver(root):
        raise BadRequest(f"{root}: a run ({other}) is at work there; wait for its end, or stop it")
    for by in finish(root):
        tell(f"destroyed what was before request {by}, as it asked")
    if root_format(root / ROOT_FILE) is None and names(root / "experiments", ".json"):
        write_root_file(root, tell)
    integrity = verify(root)
    changed = [each for each, wrong in integrity.damaged.items() if set(wrong) - {CHECKSUMS, *made_again(wrong)}]
    made_of = [artefact for artefact in dependents(root, changed) if artefact not in integrity.damaged]
    for artefact, wrong in integrity.damaged.items():
        units = units_to_do_again(artefact, wrong)
        if units is None or artefact.step == UNLEARNED:
            artefact.remove()
            again = "; ask for it again with `dkvb unlearn`" if artefact.step == UNLEARNED else ""
            tell(f"dropped {artefact.path}{again}")
        else:
            drop_units(artefact, units)
            for part in set(made_again(wrong).values()):
                remove(artefact.data / part)
            tell(f"dropped {', '.join(sorted(wrong))} of {artefact.path}")
    for artefact in made_of:
        artefact.remove()
        tell(f"dropped {artefact.path}, which was made of it")
    for path in integrity.records:
        if path == root / ROOT_FILE:
            write_root_file(root, tell)
        elif path != root / "experiments":  # what is lost needs no dropping
            remove(path)
            tell(f"dropped {path}")
    for path in evidence.mend(root):
        tell(f"copied {path} from the log of requests")
    for text in (standing_faults(root) | evidence.faults(root)).values():
        tell(text)
    return integrity


def write_root_file(root: Place, tell: Callable[[str], None]) -> None:
    """Write the file anew that says that the folder is a root."""
    write_json(root / ROOT_FILE, {"format": ROOT_FORMAT})
    tell(f"wrote {root / ROOT_FILE} anew")


def dependents(root: Place, damaged: Iterable[Artefact]) -> list[Artefact]:
    """The artefacts that were made of damaged ones, directly or not, themselves left out."""
    inputs: dict[Artefact, set[str]] = {}
    for artefact in artefacts(root):
        try:
            with as_written(artefact.path / SPEC):
                inputs[artefact] = set(artefact.spec().get("inputs", {}).values())
        except (ArtefactDamaged, ArtefactMissing, NotARoot):
            continue  # it is damaged itself
    gone = {name_of(artefact) for artefact in damaged}
    made: list[Artefact] = []
    while more := [artefact for artefact, needs in inputs.items() if needs & gone and name_of(artefact) not in gone]:
        made += more
        gone |= set(map(name_of, more))
    return made


def name_of(artefact: Artefact) -> str:
    """An artefact as the specs of others name it."""
    return f"{artefact.step}/{artefact.digest}"


def units_to_do_again(artefact: Artefact, wrong: Collection[str]) -> set[str] | None:
    """The units that must be done again because files of an artefact are damaged; None where all of it must be.

    What is written after the last unit (tables, provenance, checksums) is written again in any case.
    """
    folder, written = artefact.path / "units", dict[str, str]()
    for name in names(folder, ".json"):
        if f"units/{name}" not in wrong:
            unit = name.removesuffix(".json")
            with suppress(ArtefactDamaged):
                written |= dict.fromkeys(marker_files(artefact.path, unit, read_bytes(folder / name)), unit)
    units, again = set[str](), made_again(wrong)
    for name in wrong:
        if name in written:
            units.add(written[name])
        elif name.startswith("units/"):
            units.add(name.removeprefix("units/").removesuffix(".json"))
        elif name in (CHECKSUMS, PROVENANCE, SPEC) or name in again:
            continue
        elif "/" in name or not name.endswith(".parquet"):
            return None
    return units


def made_again(wrong: Collection[str]) -> dict[str, str]:
    """Which of some files of an artefact lie beside its arrays and follow from them, and in what part of the group.

    No number was made of them that was not checked against what they follow from.
    """
    inside = {name: name.removeprefix("data.zarr/") for name in wrong if name.startswith("data.zarr/")}
    return {name: path.partition("/")[0] for name, path in inside.items() if made_when_closed(path)}


def drop_units(artefact: Artefact, units: Iterable[str]) -> None:
    """Take back that units are done: a run does them again, and closes the artefact anew."""
    artefact.reopen()
    for unit in units:
        remove(artefact.path / "units" / f"{unit}.json")
