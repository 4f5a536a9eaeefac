"""Exporting: a model of a root as a folder that stands by itself, with the evidence of what was forgotten.

The checkpoint is copied byte for byte, so that its SHA-256 is the one that the certificate names.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from dkvb.backbone_spec import CHECKPOINT_SUFFIXES
from dkvb.checkpoint import read_header
from dkvb.errors import BadCheckpoint, ModelMissing, OnnxDiffers
from dkvb.limits import shortened
from dkvb.onnx import Compared, compare, libraries, write_onnx
from dkvb.pretrained import (
    BACKBONE,
    CARD,
    CERTIFICATE,
    CHECKED,
    CONFIG,
    MODEL,
    ONNX,
    OURS,
    Config,
    check_certificate,
    check_file,
    file_stamp,
    from_pretrained,
    read_config,
)
from dkvb.recorded import backbone_of
from jobs.certificate import CertificateChanged, Finding, read, signature_finding
from jobs.errors import BadRequest
from jobs.evidence import UNLEARNED
from jobs.models.card import Evidence, card
from jobs.models.chosen import HEAD_NAMES, Chosen, choose
from jobs.models.pictures import pictures
from jobs.printable import shown
from jobs.results.experiment import Experiment
from store.artefacts import as_json, digest
from store.checksums import checked_on_disk
from store.errors import ArtefactDamaged
from store.files import on_disk
from store.places import is_address, quoted

COMPARED = 1000
"""Images on which a graph is compared with torch, unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be exported, and what with it."""

    request: str | None = None
    """First letters of the name of the folder of the request that left the model."""
    before: bool = False
    """The model as it was trained, though requests were made."""
    head: str = "values"
    backbone: bool = False
    """Whether the backbone's weights go along."""
    onnx: bool = False
    images: str | None = None
    """Where the experiment's images lie: a graph is compared with torch on them."""
    items: int = COMPARED
    """On how many of them at most."""
    weights: str | None = None
    """Where the backbone's weights are on this machine, if they came from a file or folder that lies elsewhere now."""
    certificate: bool = True
    """Whether the certificate goes along: it says who asked, and why."""
    licence: str | None = None
    """As the hub calls it; for the card."""

    def __post_init__(self) -> None:
        if self.licence is not None and not re.fullmatch(r"[A-Za-z0-9.-]+", self.licence):
            raise BadRequest(f"license: found {self.licence!r}, expected a name as the hub has it, such as apache-2.0")
        if self.images is not None and not self.onnx:
            raise BadRequest("images: ONNX alone is compared on them; ask for it with --onnx, or leave --images out")
        if self.items < 1:
            raise BadRequest(f"items: found {self.items}, expected 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written."""

    folder: str
    digest: str
    """SHA-256 of config.json, by which `from_pretrained` knows the model again."""
    head: str
    request: str | None
    """Name of the request's folder; None of a model as it was trained."""
    without: int
    """Training items that were forgotten for good before the model was made."""
    files: dict[str, str]
    """Name -> SHA-256 and size."""
    compared: Compared | None
    """ONNX beside torch; None without it."""
    notes: list[str]
    """What is to be known before it is passed on."""

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        names = ("folder", "digest", "head", "request", "without", "files", "notes")
        compared = None if self.compared is None else self.compared.to_json()
        return {**{name: getattr(self, name) for name in names}, "compared": compared}

    def text(self) -> str:
        """For people."""
        sizes = ", ".join(f"{name} ({int(stamp.split()[1]) / 1e6:.1f} MB)" for name, stamp in self.files.items())
        model = "as it was trained" if self.request is None else f"of request {self.request}"
        if self.without:
            gone = f"without {self.without} item{'s' * (self.without != 1)} forgotten for good"
            model = gone if self.request is None else f"{model}, {gone}"
        lines = [f"exported: the {HEAD_NAMES[self.head]} {model}, to {shown(self.folder)}", f"  files         {sizes}"]
        if self.compared is not None:
            lines.append(f"  ONNX          {self.compared.images} images: {self.compared.text()}")
        lines.append(f"  digest        {self.digest} (of {CONFIG}, which names all files but the card)")
        lines += [f"  note          {note}" for note in self.notes]
        return "\n".join([*lines, f"Load it: dkvb.pretrained.from_pretrained({shown(self.folder)!r})"])


def export(
    experiment: Experiment, folder: Path, wanted: Wanted, *, tell: Callable[[str], None] = lambda text: None
) -> Exported:
    """Write a model as a folder: model.safetensors, config.json, a card, the certificate, and what else is wanted.

    folder: a new one, on this machine; it is there whole or not at all.
    tell: is told what takes long.
    raises: BadRequest; ArtefactDamaged, ArtefactDestroyed; OnnxDiffers where a graph does not agree with torch, and
        NoOnnx; BackboneWeightsMissing and BackboneWeightsInvalid where the backbone is needed.
    """
    unnamed = begin(folder)
    if wanted.onnx:
        libraries()
    chosen = choose(experiment, wanted.request, before=wanted.before, head=wanted.head)
    notes = [f"later requests went on from this one: {', '.join(chosen.later)}"] if chosen.later else []
    unnamed.mkdir(parents=True)
    try:
        with checked_on_disk(chosen.file) as file:
            shutil.copyfile(file, unnamed / MODEL)
        if wanted.certificate:
            notes += copy_certificate(chosen, unnamed)
        notes += copy_backbone(chosen, unnamed, wanted)
        config = write_config(chosen, unnamed)
        compared = None
        if wanted.onnx:
            compared = write_graph(chosen, unnamed, wanted, tell)
            config = write_config(chosen, unnamed)
        digest = file_stamp(unnamed / CONFIG).split()[0]
        evidence = Evidence(chosen=chosen, config=config, digest=digest, compared=compared, licence=wanted.licence)
        (unnamed / CARD).write_text(card(evidence), encoding="utf-8")
        unnamed.rename(folder)
    finally:
        shutil.rmtree(unnamed, ignore_errors=True)
    return Exported(
        folder=str(folder),
        digest=digest,
        head=chosen.head,
        request=None if chosen.made is None else chosen.made.digest,
        without=chosen.without,
        files=config.files,
        compared=compared,
        notes=notes,
    )


def begin(folder: Path) -> Path:
    """The folder in which an export is written before it gets its name; raises: BadRequest.

    What an export that was cut off left there is removed.
    """
    if is_address(str(folder)):
        raise BadRequest(f"{folder}: is an address; name a folder on this machine, and copy it there afterwards")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadRequest(f"{folder}: already exists; name another folder, or remove it first")
    whole = folder.resolve()
    unnamed = whole.with_name(f".{whole.name}.partial")
    if unnamed.exists():
        if foreign := sorted({entry.name for entry in unnamed.iterdir()} - set(OURS)):
            raise BadRequest(f"{unnamed}: holds {shown(foreign[0])}, which no export writes; move it away first")
        shutil.rmtree(unnamed)
    return unnamed


def copy_certificate(chosen: Chosen, folder: Path) -> list[str]:
    """Copy the certificate of the request or purge that left a model; returns what is to be known of it.

    raises: ArtefactDamaged for one that speaks of another model.
    """
    path = chosen.certificate
    if path is None and chosen.made is not None:
        return ["the request has no certificate: an older version made it; ask for it again with `dkvb unlearn`"]
    if path is None:
        made = "the model was made after the purge, by a run of other files or of another spec"
        return [f"no certificate names this model: {made}; it leaves the items out too"] if chosen.without else []
    with on_disk(path) as file:
        shutil.copyfile(file, folder / CERTIFICATE)
    said, signature = read(folder / CERTIFICATE)
    stamp = file_stamp(folder / MODEL)
    if said["files"].get(chosen.origin) != stamp:
        raise ArtefactDamaged(
            f"{path}: says {said['files'].get(chosen.origin)} of {chosen.origin}, which is {stamp}: "
            f"`dkvb status {quoted(chosen.experiment.root)} --verify` says what is damaged; --no-certificate leaves it "
            "out"
        )
    notes = [] if signature else [f"{CERTIFICATE} is not signed: whoever can write the file can change what it says"]
    if any(said["asked"].get(name) for name in ("by", "reason", "ticket")):
        notes.append(f"{CERTIFICATE} says who asked, and why; --no-certificate leaves it out")
    return notes


def copy_backbone(chosen: Chosen, folder: Path, wanted: Wanted) -> list[str]:
    """Write the backbone's tensors, if wanted; returns what is to be known of them."""
    facts = chosen.header["backbone"]
    if wanted.backbone:
        made = backbone_of(chosen.header, weights=wanted.weights)
        save_file({name: tensor.clone() for name, tensor in made.module.state_dict().items()}, folder / BACKBONE)
        return [f"the backbone goes along ({shown(facts['weights'])}): its weights have a licence of their own"]
    is_file = facts["weights"].startswith("local-dir:") or Path(facts["weights"]).suffix in CHECKPOINT_SUFFIXES
    if is_file and facts["library"] != "efficientnet-lite":
        return [
            "the backbone's weights came from a file of some machine: elsewhere give from_pretrained weights=..., or "
            "export with --with-backbone"
        ]
    return []


def write_config(chosen: Chosen, folder: Path) -> Config:
    """Write what the folder holds so far."""
    config = Config(
        head=chosen.head,
        experiment=chosen.experiment.name,
        origin=chosen.origin,
        header=chosen.header,
        files={name: file_stamp(folder / name) for name in CHECKED if (folder / name).exists()},
    )
    (folder / CONFIG).write_bytes(as_json(config.to_json()))
    return config


def write_graph(chosen: Chosen, folder: Path, wanted: Wanted, tell: Callable[[str], None]) -> Compared:
    """Write ONNX beside a model, loaded as others will load it, and compare both; raises: OnnxDiffers."""
    model = from_pretrained(folder, weights=wanted.weights)
    images = pictures(chosen.experiment, model.recorded, wanted.images, wanted.items)
    tell("ONNX: writing the graph, then comparing it with torch")
    write_onnx(model, folder / ONNX)
    compared = compare(model, folder / ONNX, images)
    if problems := compared.problems():
        raise OnnxDiffers(f"ONNX: the graph does not compute what torch does, and is not kept: {'; '.join(problems)}")
    return compared


def verify_exported(folder: Path, key_file: Path | None = None) -> list[Finding]:
    """Whether the files of an exported folder are as they were written, and the certificate's signature holds.

    key_file: the public key (PEM) of whom the signature must be.
    raises: ModelMissing, BadCheckpoint for a folder that is no export.
    """
    try:
        config = read_config(folder)
    except (BadCheckpoint, ModelMissing) as error:
        if not any((folder / name).exists() for name in (MODEL, CARD)):
            raise
        return [Finding(CONFIG, holds=False, says=str(error))]
    findings = [_finding(name, partial(check_file, folder, config, name), "as exported") for name in config.files]
    findings.append(_finding(CONFIG, partial(_check_config, folder, config), _digest_said(folder)))
    if CERTIFICATE in config.files:
        findings.append(_finding(MODEL, partial(check_certificate, folder, config), "the certificate speaks of it"))
        findings.append(_signature(folder / CERTIFICATE, key_file))
        where = f"the figures that count are those of {CERTIFICATE}, as far as it is signed"
    else:
        says = "no certificate is in the folder"
        findings.append(Finding("signature", holds=key_file is None, says=says))
        where = "nothing in this folder vouches for its figures: they are those of the root"
    if (folder / CARD).exists():
        says = f"is not checked, and whoever can write it can change what it says; {where}"
        findings.append(Finding(CARD, holds=None, says=says))
    known = {*config.files, CONFIG, CARD}
    says = f"does not belong to the export: {CONFIG} does not name it, so nobody vouches for what it holds"
    return findings + [
        Finding(name, holds=None, says=says) for name in sorted({path.name for path in folder.iterdir()} - known)
    ]


def _check_config(folder: Path, config: Config) -> None:
    """Check that a config says of the model what the model says of itself; raises: BadCheckpoint.

    A linear head says nothing, but where a request left it, its folder is named after the request.
    """
    if config.head == "values":
        if wrong := _differs(config.header, read_header(folder / MODEL)):
            raise BadCheckpoint(f"{folder / CONFIG}: says something else of the model than {MODEL} itself: {wrong}")
    elif (request := config.header.get("unlearned")) and config.origin.split("/")[:2] != [UNLEARNED, digest(request)]:
        raise BadCheckpoint(f"{folder / CONFIG}: {config.origin} is not what the request left that it names")


def _differs(found: object, expected: object, where: str = "header") -> str:
    """Where two headers differ first, and in what; empty where they do not."""
    if isinstance(found, dict) and isinstance(expected, dict) and found.keys() == expected.keys():
        parts = ((f"{where}.{key}", found[key], expected[key]) for key in found)
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        parts = ((f"{where}[{at}]", *both) for at, both in enumerate(zip(found, expected, strict=True)))
    else:
        return "" if found == expected else f"{where}: found {shortened(found)}, expected {shortened(expected)}"
    return next(filter(None, (_differs(a, b, name) for name, a, b in parts)), "")


def _digest_said(folder: Path) -> str:
    sha256 = file_stamp(folder / CONFIG).split()[0]
    return f"fits the model; whoever replaces all files here changes its SHA-256, too: was that {sha256} when exported?"


def _signature(path: Path, key_file: Path | None) -> Finding:
    try:
        return signature_finding(*read(path), key_file)
    except (BadRequest, CertificateChanged) as error:
        return Finding("signature", holds=False, says=str(error))


def _finding(what: str, check: Callable[[], None], says: str) -> Finding:
    try:
        check()
    except BadCheckpoint as error:
        return Finding(what, holds=False, says=str(error))
    return Finding(what, holds=True, says=says)
