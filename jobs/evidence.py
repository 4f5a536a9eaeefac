"""Whether the certificates and the log of requests of a root are as they were written, and none was removed.

The name of a log entry ends in the SHA-256 of what it holds, and each entry names that of the one before it. The
certificate beside an unlearned model is the last entry of that model. Whoever can write to the root can forge all of
this; what is signed can be copied away and compared (`dkvb verify`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jobs.certificate import LOG, read_entry
from jobs.errors import BadRequest
from store.artefacts import CERTIFICATE, SPEC, Artefact, read_json
from store.errors import StoreError
from store.files import names, read_bytes, write_atomic
from store.places import Place
from store.recording import sha256

UNLEARNED = "unlearned"
"""Step of the artefacts that requests wrote: no run makes them again."""
CERTIFIED = 4
"""The version of requests from which on each has a certificate beside it."""
GONE = "nothing makes the log of requests again: restore it from a backup, or keep this message with the root"
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
    signed: bool
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
        return Entry(path=path, folder=folder, sha256=written, data=b"", said=None, signed=False, wrong=str(error))
    said, signature, wrong = None, None, ""
    try:
        said, signature = read_entry(path, data)
    except BadRequest:
        wrong = "is not a certificate"
    if written and sha256(data) != written:
        wrong = "has changed since it was written"
    signed = signature is not None
    return Entry(path=path, folder=folder, sha256=written, data=data, said=said, signed=signed, wrong=wrong)


def log(root: Place) -> list[dict[str, Any]]:
    """Requests of a root, the oldest first: when, by whom and why, what, how, and the folder of what was made.

    An entry that cannot be read is left out; `faults` names it.
    """
    return [
        {
            "made": one.said["made"],
            **{name: one.said["asked"].get(name) for name in ("by", "ticket", "reason")},
            **{name: one.said["request"].get(name) for name in ("classes", "method", "budget", "items")},
            "commit": one.said["request"].get("commit", False),
            "unlearned": one.folder,
            "signed": one.signed,
        }
        for one in entries(root)
        if one.said is not None
    ]


def faults(root: Place) -> dict[Place, str]:
    """What is wrong with the evidence of a root: file -> what, and what to do."""
    log = entries(root)
    found = {one.path: f"{one.path}: {one.wrong}; {GONE}" for one in log if one.wrong}
    there = {known for one in log for known in (one.sha256, sha256(one.data))}
    for one in log:
        before = None if one.said is None or one.wrong else one.said.get("previous")
        if before is not None and before not in there:
            found[one.path] = f"{one.path}: the entry before it, of SHA-256 {before}, was removed; {GONE}"
    return found | dict(certificate_faults(root, {one.folder: one for one in log}))


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
    return AGAIN if own is None or own.wrong else f"`dkvb repair {root}` copies it from the log"


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
