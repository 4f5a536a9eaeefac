"""Whether the certificates and the log of requests of a root are as they were written, and none was removed.

The name of a log entry ends in the SHA-256 of what it holds, and each entry names that of the one before it. The
certificate beside an unlearned model is the last entry of that model. Whoever can write to the root can forge all of
this; what is signed can be copied away and compared (`dkvb verify`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.certificate import LOG, CertificateChanged, can_verify, read_entry, signature_finding
from jobs.errors import BadRequest
from store.artefacts import CERTIFICATE, SPEC, Artefact, read_json
from store.errors import StoreError
from store.files import names, read_bytes, write_atomic
from store.places import Place, quoted
from store.recording import sha256

if TYPE_CHECKING:
    from jobs.results.experiment import Experiment

UNLEARNED = "unlearned"
"""Step of the artefacts that requests wrote: no run makes them again."""
PURGE = "purge"
"""Method, in the log, of what makes experiments anew."""
CERTIFIED = 4
"""The version of requests from which on each has a certificate beside it."""
GONE = "the log of requests cannot be made again: restore it from a backup, or keep this message with the root"
AGAIN = "ask for it again with `dkvb unlearn`, which writes one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of the log."""

    path: Place
    folder: str
    """Name of the folder of the unlearned model."""
    sha256: str
    """Of what it held when it was written, by its name; empty of a version that did not say."""
    data: bytes
    said: dict[str, Any] | None
    """The certificate; None where it cannot be read."""
    signature: dict[str, Any] | None
    wrong: str
    """What is wrong with it by itself; empty where nothing is."""


def entries(root: Place) -> list[Entry]:
    """All entries of the log, the oldest first; raises: PlaceUnreachable."""
    return [entry(root / LOG / name) for name in names(root / LOG, ".json")]


def entry(path: Place) -> Entry:
    """One entry as it is now."""
    _, _, rest = path.name.removesuffix(".json").partition("-")
    folder, _, written = rest.partition("-")
    try:
        data = read_bytes(path)
    except (OSError, StoreError) as error:
        return Entry(path=path, folder=folder, sha256=written, data=b"", said=None, signature=None, wrong=str(error))
    said, signature, wrong = None, None, ""
    try:
        said, signature = read_entry(path, data)
    except CertificateChanged:
        wrong = "is not a whole certificate"
    except BadRequest:
        wrong = "is not a certificate"
    if written and sha256(data) != written:
        wrong = "has changed since it was written"
    return Entry(path=path, folder=folder, sha256=written, data=data, said=said, signature=signature, wrong=wrong)


def check_signs(root: Place, key_file: Path | None) -> None:
    """Whether what destroys is signed where earlier requests are: nobody could tell it from a loss by their key.

    raises: BadRequest.
    """
    signed = [one.folder for one in entries(root) if one.signature is not None]
    if signed and key_file is None:
        raise BadRequest(
            f"{root}: request {signed[-1]} is signed, and this one, which destroys what it certifies, would not be: "
            "its certificate would fail from then on; add --sign KEY, with the same key"
        )


def of_experiment(log: Sequence[Entry], experiment: "Experiment") -> list[Place]:
    """The entries that are about an experiment, also as it was before a purge made it anew.

    Of several that one purge made anew, what was before is counted to each.
    """
    models, found = {experiment.steps["values"]}, list[Place]()
    for one in reversed(log):
        request = {} if one.said is None else one.said["request"]
        if is_purge := experiment.name in purged(request):
            models |= {folder.removeprefix("values/") for folder in texts(request.get("destroyed"))}
        if is_purge or request.get("bottleneck") in models:
            found.append(one.path)
    return found[::-1]


def purged(request: Mapping[str, Any]) -> list[str]:
    """The experiments that a request made anew without the items."""
    return texts(request.get("experiments")) if request.get("method") == PURGE else []


def texts(found: object) -> list[str]:
    """A list of texts, as a certificate that anybody may have written has it; empty where it is something else."""
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def log(root: Place, of: Collection[Place] | None = None) -> list[dict[str, Any]]:
    """Requests of a root, the oldest first: when, by whom and why, what, how, and the folder of what was made.

    of: files of the entries that are wanted; all unless given.
    An entry that cannot be read is left out; `faults` names it.
    """
    return [
        {
            "made": one.said["made"],
            **{name: one.said["asked"].get(name) for name in ("by", "ticket", "reason")},
            **{name: one.said["request"].get(name) for name in ("classes", "method", "budget", "items")},
            "commit": one.said["request"].get("commit", False),
            "unlearned": one.folder,
            "signed": one.signature is not None,
            "entry": str(one.path),
        }
        for one in entries(root)
        if one.said is not None and (of is None or one.path in of)
    ]


def faults(root: Place) -> dict[Place, str]:
    """What is wrong with the evidence of a root: file -> what, and what to do."""
    log = entries(root)
    return entry_faults(log) | dict(certificate_faults(root, {one.folder: one for one in log}))


def entry_faults(log: Sequence[Entry]) -> dict[Place, str]:
    """What is wrong with the entries of a log: file -> what, and what to do."""
    found = {one.path: f"{one.path}: {one.wrong}; {GONE}" for one in log if one.wrong}
    for one in log:
        if one.said is not None and one.signature is not None and not one.wrong and can_verify():
            signed = signature_finding(one.said, one.signature, None)
            found |= {} if signed.holds else {one.path: f"{one.path}: its signature {signed.says}; {GONE}"}
    there = {known for one in log for known in (one.sha256, sha256(one.data))}
    for one in log:
        before = None if one.said is None or one.wrong else one.said.get("previous")
        if before is not None and before not in there:
            found[one.path] = f"{one.path}: the entry before it, of SHA-256 {before}, was removed; {GONE}"
    return found


def certificate_faults(root: Place, last: dict[str, Entry]) -> Iterator[tuple[Place, str]]:
    """What is wrong with the certificates beside unlearned models; last: folder -> its last entry in the log."""
    for folder in names(root / UNLEARNED):
        if not (made := Artefact(root, UNLEARNED, folder)).done:
            continue
        path, own = made.path / CERTIFICATE, last.get(folder)
        try:
            data = read_bytes(path)
        except FileNotFoundError:
            if own is not None or certified(made.path):
                yield path, f"{path}: is missing; {remedy(root, own)}"
        except (OSError, StoreError) as error:
            yield path, f"{path}: {error}; {remedy(root, own)}"
        else:
            if own is None:
                yield path, f"{path}: no entry of {root / LOG} is about it: its entry was removed; {GONE}"
            elif data != own.data and not own.wrong:
                yield path, f"{path}: is not the last request for it in {own.path}; {remedy(root, own)}"


def certified(folder: Place) -> bool:
    """Whether a version wrote an unlearned model that also writes a certificate."""
    try:
        return int(read_json(folder / SPEC)["version"]) >= CERTIFIED
    except (KeyError, StoreError, TypeError, ValueError):
        return False  # damaged, and told as such


def remedy(root: Place, own: Entry | None) -> str:
    """What to do about a certificate that is gone or changed."""
    return AGAIN if own is None or own.wrong else f"`dkvb repair {quoted(root)}` copies it from the log"


def mend(root: Place) -> list[Place]:
    """Copy certificates that are gone or changed from the log, where it is sound; returns those that were written."""
    last = {one.folder: one for one in entries(root)}
    written = []
    for path, _ in certificate_faults(root, last):
        own = last.get(path.parent.name)
        if own is not None and not own.wrong:
            write_atomic(path, own.data)
            written.append(path)
    return written
