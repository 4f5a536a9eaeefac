"""Certificates: what a request to forget did, by whom and when, over the SHA-256 of every file that it speaks of.

A certificate says what was measured on this root. It does not prove that nobody holds a copy of the model before, nor
that the backbone knows nothing of the class: `LIMITS` stand in each of them. It can be signed with an Ed25519 key
(RFC 8032); without a signature it tells of damage and of mistakes, not of a forger.
"""

import base64
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from jobs.errors import BadRequest, JobsError
from jobs.printable import shown
from jobs.provenance import surroundings
from store.artefacts import CERTIFICATE
from store.checksums import file_stamp, ledger
from store.files import exists, names, on_disk, read_bytes, write_atomic
from store.places import Place, quoted
from store.recording import sha256

FORMAT = "dkvb-certificate/1"
LOG = "requests"
"""Folder of a root with the certificates of all requests: TIME-FOLDER-SHA256.json, the last of what the file holds."""

PARTS = ("format", "made", "asked", "request", "model", "files", "measured", "limits", "made_with")
"""What each certificate has, of whatever version."""
TABLES = ("asked", "request", "files")

LIMITS = (
    "The backbone is frozen and still represents the classes; the mask takes away what the bottleneck knows of them.",
    "Accuracies are of the training and test items of this root; other images of a class may still be recognised.",
    "Whoever holds the model before, the counts, or the mask with these can undo what was done.",
    "A membership AUC near 0.5 is no proof that nobody can tell members: it is one attack, by loss.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asked for something to be forgotten, and why; all of it optional and written as given."""

    by: str | None = None
    reason: str | None = None
    ticket: str | None = None
    command: tuple[str, ...] = ()
    """As it was typed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked, or was not."""

    what: str
    holds: bool | None
    """None: it was not checked."""
    says: str
    destroyed: bool = False
    """Whether it is a file that a later request destroyed, and so cannot be compared any more."""

    def text(self) -> str:
        """For people, a line."""
        word = "unchecked" if self.holds is None else "FAILS" if not self.holds else "holds"
        return f"{'destroyed' if self.destroyed else word:<9} {shown(self.what)}: {self.says}"


class CertificateChanged(JobsError, ValueError):
    """A certificate of which a part is missing, or is not what dkvb writes there."""


def body(
    *,
    request: Mapping[str, Any],
    asker: Asker,
    model: str,
    files: Mapping[str, str],
    measured: Mapping[str, Any] | None,
    previous: str | None = None,
    limits: Sequence[str] = LIMITS,
) -> dict[str, Any]:
    """What a certificate says, without its signature.

    request: the request and its facts; model: SHA-256 of what the model before is.
    files: path below the root -> SHA-256 and size, as `store.recording.stamp`.
    measured: of the unlearned model; None where nothing was measured.
    previous: SHA-256 of the entry before it in the log of the root (`last_entry`); None of the first.
    limits: what it does not say.
    """
    return {
        "format": FORMAT,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "asked": {"by": asker.by, "reason": asker.reason, "ticket": asker.ticket, "command": list(asker.command)},
        "request": dict(request),
        "model": model,
        "files": dict(sorted(files.items())),
        "measured": None if measured is None else dict(measured),
        "limits": list(limits),
        "previous": previous,
        "made_with": surroundings(),
    }


def canonical(said: Mapping[str, Any]) -> bytes:
    """The bytes that are signed: JSON, keys in order, no spaces, UTF-8."""
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def signed(said: Mapping[str, Any], key_file: Path | None) -> dict[str, Any]:
    """A certificate: what it says, and its signature.

    key_file: an Ed25519 private key in PEM without a password; no signature where there is none.
    raises: BadRequest.
    """
    if key_file is None:
        return {"certificate": dict(said), "signature": None}
    key = private_key(key_file)
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    signature = base64.b64encode(key.sign(canonical(said))).decode()
    return {
        "certificate": dict(said),
        "signature": {"algorithm": "Ed25519", "public_key": public, "signature": signature},
    }


def private_key(path: Path) -> Any:
    """An Ed25519 private key; raises: BadRequest naming what is wrong and how a key is made."""
    serialization, ed25519 = signing_library()
    how = f"`openssl genpkey -algorithm ed25519 -out {unused(path.parent / f'{path.stem}.key')}` makes a new one"
    data = b""
    try:
        data = path.read_bytes()
        key = serialization.load_pem_private_key(data, password=None)
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read: {error.strerror}; {how}") from error
    except (TypeError, ValueError) as error:
        if b"PUBLIC KEY" in data:
            raise BadRequest(f"{path}: this is a public key; sign with the private one that it belongs to") from error
        raise BadRequest(f"{path}: not a private key in PEM without a password: {error}; {how}") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise BadRequest(f"{path}: found another kind of key, expected Ed25519; {how}")
    return key


def public_key(path: Path) -> bytes:
    """The 32 bytes of an Ed25519 public key in PEM; raises: BadRequest."""
    serialization, ed25519 = signing_library()
    data = b""
    try:
        data = path.read_bytes()
        key = serialization.load_pem_public_key(data)
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read: {error.strerror}") from error
    except (TypeError, ValueError) as error:
        out = unused(path.parent / f"{path.stem}.pub")
        if b"PRIVATE KEY" in data:
            how = f"`openssl pkey -in {quoted(path)} -pubout -out {out}` writes its public key, to be given here"
            raise BadRequest(f"{path}: this is a private key; {how}") from error
        how = f"`openssl pkey -in KEY -pubout -out {out}` makes one from a private key"
        raise BadRequest(f"{path}: not a public key in PEM: {error}; {how}") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise BadRequest(f"{path}: found another kind of key, expected Ed25519")
    return bytes(key.public_bytes_raw())


def unused(path: Path) -> str:
    """The path of a file that a command is to write, with a number where there is one already, as its word."""
    free = (path.with_stem(f"{path.stem}-{k}") if k else path for k in count())
    return quoted(next(one for one in free if not os.path.lexists(one)))


def signing_library() -> tuple[Any, Any]:
    """The parts of `cryptography` that are needed; raises: BadRequest where it is not installed."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise BadRequest("signatures need `cryptography`; pip install 'dkvb-unlearning[sign]'") from error
    return serialization, ed25519


def can_verify() -> bool:
    """Whether signatures can be checked here."""
    return find_spec("cryptography") is not None


def write(certificate: Mapping[str, Any], root: Place, unlearned: Place) -> Place:
    """Write a certificate beside the unlearned model, and into the log of the root; returns its path there.

    The log keeps every request, also where one asks for the same again.
    """
    data = (json.dumps(certificate, indent=2, ensure_ascii=False) + "\n").encode()
    seconds, rest = divmod(time.time_ns(), 10**9)
    moment = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(seconds))}.{rest:09d}"
    path = root / LOG / f"{moment}-{unlearned.name}-{sha256(data)}.json"
    write_atomic(path, data)
    write_atomic(unlearned / CERTIFICATE, data)
    return path


def last_entry(root: Place) -> str | None:
    """SHA-256 of the last entry in the log of a root; None without one."""
    known = names(root / LOG, ".json")
    return sha256(read_bytes(root / LOG / known[-1])) if known else None


def read(path: Place) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What a certificate says, and its signature.

    raises: BadRequest for what is none; CertificateChanged.
    """
    try:
        return read_entry(path, read_bytes(path))
    except FileNotFoundError:
        raise BadRequest(f"{path}: no such file; give the certificate.json of an unlearned model") from None


def read_entry(path: Place, data: bytes) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The same of bytes that were read; path: named in errors. raises: BadRequest, CertificateChanged."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise no_certificate(path, str(error)) from error
    if not isinstance(found, dict) or not found.keys() & {"certificate", "signature"}:
        raise no_certificate(path, "it has neither of the keys certificate and signature")
    said, signature = found.get("certificate"), found.get("signature")
    if isinstance(said, dict) and said.get("format", FORMAT) != FORMAT:
        raise BadRequest(f"{path}: format found {said['format']!r}, expected {FORMAT!r}: made by another version")
    whole = isinstance(said, dict) and isinstance(signature, dict | None)
    missing = [name for name in ("certificate", "signature") if name not in found]
    if isinstance(said, dict):
        missing += [name for name in PARTS if name not in said]
        whole = whole and all(isinstance(said.get(name, {}), dict) for name in TABLES)
    if missing or not whole or not isinstance(said, dict):
        what = f"its {' and '.join(missing)} is missing" if missing else "a part of it is not what is written there"
        raise CertificateChanged(f"{path}: {what}: the certificate was changed after it was written, or is not whole")
    return dict(said), signature


def no_certificate(path: Place, why: str) -> BadRequest:
    """The error for a file that is something else."""
    return BadRequest(f"{path}: not a certificate ({why}); give the certificate.json of an unlearned model")


def signature_finding(said: Mapping[str, Any], signature: Mapping[str, Any] | None, key_file: Path | None) -> Finding:
    """Whether the signature is of these words, and of whom."""
    if signature is None:
        return Finding(
            "signature", holds=key_file is None, says="none: whoever can write the file can change what it says"
        )
    _, ed25519 = signing_library()
    from cryptography.exceptions import InvalidSignature

    try:
        public = base64.b64decode(signature["public_key"], validate=True)
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(
            base64.b64decode(signature["signature"], validate=True), canonical(said)
        )
    except (InvalidSignature, KeyError, TypeError, ValueError):
        return Finding("signature", holds=False, says="does not fit: the certificate was changed after it was signed")
    if key_file is None:
        return Finding(
            "signature",
            holds=True,
            says="made with the key that the certificate itself names; give --key to check whose it is",
        )
    if public != public_key(key_file):
        return Finding("signature", holds=False, says=f"made with a key other than {key_file}")
    return Finding("signature", holds=True, says=f"made with the key {key_file}")


def stamps(root: Place, files: Iterable[Place], written: Mapping[Place, str] | None = None) -> dict[str, str]:
    """SHA-256 and size of what a certificate speaks of, by path below the root; files that are not there are left out.

    written: those that are known already; all others are those that their folder lists, or are read.
    """
    found = {}
    for path in files:
        if written is not None and path in written:
            found[path] = written[path]
        elif exists(path):
            known = ledger(path.parent)
            listed = None if known is None else known.files.get(path.name)
            with on_disk(path) as file:
                found[path] = listed or file_stamp(file)
    return {str(path).removeprefix(f"{root}/"): stamp for path, stamp in found.items()}
