"""Whether what a certificate says holds: its signature, its entry in the log of the root, every file that it names.

A file that is gone was lost, or destroyed by this or a later request: a tombstone alone, which anybody can write, does
not tell which, an entry of the log does. What an entry says counts for as much as its signature: where a key must have
signed the certificate, it must have signed that entry too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.certificate import LOG, CertificateChanged, Finding, read_entry, signature_finding
from jobs.errors import BadRequest
from jobs.evidence import GONE, PURGE, UNLEARNED, Entry, entries, entry_faults, texts
from jobs.standing import standing
from store.artefacts import CERTIFICATE
from store.checksums import file_stamp
from store.errors import ArtefactDamaged
from store.files import names, on_disk, read_bytes
from store.places import Place, absolute, quoted
from store.tombstones import read_tombstone


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the files of a certificate are compared with."""

    root: Place
    log: list[Entry]
    later: list[Entry]
    """The entries from the certificate's own on; all where it has none."""
    key_file: Path | None
    public: object
    """The public key that the certificate names; None: it is not signed."""
    standing: Mapping[str, tuple[int, Sequence[str]]]
    """Folders of which an entry, by its number, says that these parts were destroyed, and they are there."""


def verify(path: Place, root: Place | None = None, key_file: Path | None = None) -> list[Finding]:
    """Check a certificate: its signature, its entry in the log, and every file that it names.

    root: where its files lie; the root that the certificate lies in unless given.
    key_file: the public key (PEM) of whom the signature must be.
    raises: BadRequest for a file that is no certificate, unless it lies where one was written.
    """
    own = root_of(path)
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        if own is None or path.name != CERTIFICATE or not names(absolute(path).parent):
            raise no_file(path, own) from None
        return [missing(path, entries(own))]
    place = root if root is not None else own
    if place is None:
        read_entry(path, data)
        raise BadRequest(
            f"{path}: does not lie in a root, and the files that it names do: say which root, "
            f"`dkvb verify {quoted(path)} ROOT`"
        )
    log = entries(place)
    try:
        said, signature = read_entry(path, data)
    except (BadRequest, CertificateChanged) as error:
        if isinstance(error, BadRequest) and own is None:
            raise
        says = str(error).removeprefix(f"{path}: ").partition("; give the certificate.json")[0]
        return [Finding("certificate", holds=False, says=says + as_written(path, log))]
    at = next((at for at, one in enumerate(log) if (one.said, one.signature) == (said, signature)), None)
    later = log[at or 0 :]
    by_entry = standing(place, log)
    there = {
        folder: (log.index(one) + 1, parts) for one in later for folder, parts in by_entry.get(one.path, {}).items()
    }
    evidence = Evidence(place, log, later, key_file, public_of(signature), there)
    return [
        signature_finding(said, signature, key_file),
        log_finding(evidence, at),
        *(standing_finding(evidence, folder) for folder in texts(said["request"].get("destroyed")) if folder in there),
        *(file_finding(evidence, str(name), str(expected)) for name, expected in said["files"].items()),
    ]


def root_of(path: Place) -> Place | None:
    """The root that a certificate lies in, by the names of its folders."""
    folder = absolute(path).parent
    if folder.name == LOG:
        return folder.parent
    return folder.parent.parent if folder.parent.name == UNLEARNED else None


def no_file(path: Place, root: Place | None) -> BadRequest:
    """The error for a file that is not there."""
    what = "give the certificate.json of an unlearned model, or an entry of the log of requests"
    return BadRequest(f"{path}: no such file; {what}" + (f" (`dkvb log {quoted(root)}` lists them)" if root else ""))


def missing(path: Place, log: Sequence[Entry]) -> Finding:
    """What to say of a request's folder without a certificate."""
    says = (
        f"{path}: is missing, in the folder of a request: it was removed, or the request was cut off before it counted"
    )
    return Finding("certificate", holds=False, says=says + as_written(path, log))


def as_written(path: Place, log: Sequence[Entry]) -> str:
    """Where the certificate beside a model is, as it was written."""
    own = [one for one in log if one.folder == absolute(path).parent.name and not one.wrong]
    return f"; as it was written it is {own[-1].path}" if own else ""


def log_finding(evidence: Evidence, at: int | None) -> Finding:
    """Whether the log has the certificate, and all its entries are there as they were written; at: which it is."""
    log = evidence.log
    if at is None:
        says = f"no entry of {evidence.root / LOG} is this certificate: it was changed, or its entry was; {GONE}"
        return Finding("log", holds=False, says=says)
    if wrong := [*entry_faults(log).values()]:
        return Finding("log", holds=False, says="; ".join(wrong))
    return Finding("log", holds=True, says=f"this is entry {at + 1} of {len(log)}, and none was changed or removed")


def file_finding(evidence: Evidence, name: str, expected: str) -> Finding:
    """Whether a file is the one that the certificate speaks of."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "" in parts:
        return Finding(name, holds=False, says="points outside the root")
    path, folder = evidence.root / name, "/".join(parts[:2])
    if folder in evidence.standing:
        inside = "/".join(parts[2:])
        if any(inside == part or inside.startswith(f"{part}/" * bool(part)) for part in evidence.standing[folder][1]):
            return replace(standing_finding(evidence, folder), what=name)
    try:
        stone = read_tombstone(evidence.root / folder)
        if stone is not None and stone.covers("/".join(parts[2:])):
            return gone_finding(evidence, name, folder, by=stone.by)
        with on_disk(path) as file:
            digest = file_stamp(file)
    except ArtefactDamaged as error:
        return Finding(name, holds=False, says=str(error))
    except FileNotFoundError:
        return gone_finding(evidence, name, folder, by=None)
    except OSError as error:
        return Finding(name, holds=False, says=f"cannot be read: {error.strerror or error}")
    return Finding(
        name,
        holds=digest == expected,
        says="as certified" if digest == expected else "has changed since it was certified",
    )


def standing_finding(evidence: Evidence, folder: str) -> Finding:
    """That something is there that was destroyed."""
    number, _ = evidence.standing[folder]
    says = f"entry {number} of the log says that it was destroyed, and it is there: not destroyed yet, or put back"
    return Finding(folder, holds=False, says=says)


def gone_finding(evidence: Evidence, name: str, folder: str, *, by: str | None) -> Finding:
    """Whether a file that is gone was destroyed, by what and who says so; by: the request that a tombstone names."""
    orders = [one for one in evidence.later if orders_it(one, folder, by)]
    if not orders:
        claim = "" if by is None else f", though {folder} says that request {by} destroyed it"
        return Finding(
            name, holds=False, says=f"is gone, and no later entry of the log says that it was destroyed{claim}"
        )
    last = orders[-1]
    said = last.said or {}
    what = f"request {last.folder} ({said['request'].get('method')}, {said['made']})"
    signed = signature_finding(said, last.signature, evidence.key_file)
    entry = f"entry {evidence.log.index(last) + 1} of the log"
    if not signed.holds:
        why = "is not signed" if last.signature is None else f"its signature {signed.says}"
        return Finding(name, holds=False, says=f"is gone; {entry} says that {what} destroyed it, and {why}")
    if last.signature is None:
        how = "not signed: whoever can write to the root can write that"
    elif evidence.key_file is not None:
        how = f"signed with the key {evidence.key_file}"
    else:
        same = public_of(last.signature) == evidence.public
        how = f"signed with {'the same key as this certificate' if same else 'another key than this certificate'}"
    return Finding(name, holds=True, destroyed=True, says=f"by {what}, says {entry}, {how}")


def orders_it(one: Entry, folder: str, by: str | None) -> bool:
    """Whether an entry says that it destroyed a file of a folder; by: the request that a tombstone names.

    Without a tombstone that is a purge, which leaves nothing of a folder; folders of requests it leaves.
    """
    if one.said is None or one.wrong or folder not in texts(one.said["request"].get("destroyed")):
        return False
    if by is None:
        return one.said["request"].get("method") == PURGE and not folder.startswith(f"{UNLEARNED}/")
    return one.folder == by


def public_of(signature: Mapping[str, Any] | None) -> object:
    """The public key that a signature names."""
    return None if signature is None else signature.get("public_key")
