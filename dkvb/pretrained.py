"""Exported models: a folder as hubs of Hugging Face's kind hold them, loaded as a torch module wherever it lies.

`dkvb export` writes such a folder, `dkvb push` sends it. Nothing of the root is needed to load it, nor Ray.
``config.json`` says what the model is and the SHA-256 of every other file but the card, and each file is checked before
it is used.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from safetensors import safe_open

from dkvb.bottleneck import Bottleneck
from dkvb.checkpoint import UNREADABLE
from dkvb.errors import BadCheckpoint, ModelMissing
from dkvb.recorded import backbone_of
from dkvb.torch import Classifier, LinearModel, Model
from dkvb.weights import brief

FORMAT = "dkvb-model/1"
CONFIG = "config.json"
MODEL = "model.safetensors"
"""The checkpoint, or the linear head, byte for byte as it lies on the root: certificates speak of its SHA-256."""
BACKBONE = "backbone.safetensors"
CERTIFICATE = "certificate.json"
ONNX = "model.onnx"
ONNX_DATA = "model.onnx.data"
CARD = "README.md"
CHECKED = (MODEL, BACKBONE, CERTIFICATE, ONNX, ONNX_DATA)
"""Files that a config may name."""
LOADED = (CONFIG, MODEL, BACKBONE, CERTIFICATE)
"""Files that torch needs."""
OURS = (CONFIG, CARD, *CHECKED)
"""All that an export writes."""

HEADS = ("values", "linear")

AGAIN = "export it again, or copy or download the folder anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a folder holds: its ``config.json``."""

    head: str
    """One of HEADS."""
    experiment: str
    """Its name on the root."""
    origin: str
    """The model's file there, by its path below the root: certificates name it so."""
    header: dict[str, Any]
    """What the model is: class names, backbone, digests, what was forgotten (JSON)."""
    files: dict[str, str]
    """Name, of CHECKED -> SHA-256 and size."""

    def to_json(self) -> dict[str, Any]:
        """The file; `id2label` is for programs that look for class names there."""
        return {
            "format": FORMAT,
            "model_type": "dkvb",
            "head": self.head,
            "id2label": _labels(self.header),
            "experiment": self.experiment,
            "origin": self.origin,
            "files": self.files,
            "header": self.header,
        }

    @classmethod
    def from_json(cls, found: Any) -> Self:
        """A config that comes from elsewhere; raises: BadCheckpoint, and what UNREADABLE names."""
        if (form := found.get("format")) != FORMAT:
            raise BadCheckpoint(f"format found {form!r}, expected {FORMAT!r}: no model of dkvb, or of another version")
        files, header = dict(found["files"]), dict(found["header"])
        if found["head"] not in HEADS:
            raise BadCheckpoint(f"head found {found['head']!r}, expected one of {', '.join(HEADS)}")
        if MODEL not in files or not set(files) <= set(CHECKED) or not all(_is_stamp(text) for text in files.values()):
            raise BadCheckpoint(f"files: expected the SHA-256 and size of {MODEL}, and at most of {', '.join(CHECKED)}")
        if found["id2label"] != _labels(header):
            raise BadCheckpoint("id2label: other names than header.classes, which are the model's")
        return cls(
            head=found["head"],
            experiment=str(found["experiment"]),
            origin=str(found["origin"]),
            header=header,
            files=files,
        )


def _labels(header: Mapping[str, Any]) -> dict[str, str]:
    return {str(k): str(name) for k, name in enumerate(header["classes"])}


def _is_stamp(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(r"[0-9a-f]{64} \d+", text) is not None


def from_pretrained(
    place: Path | str,
    *,
    revision: str | None = None,
    backbone: bool = True,
    weights: str | None = None,
    digest: str | None = None,
) -> Classifier:
    """Load an exported model, in evaluation mode, on the CPU.

    place: a folder that `dkvb export` wrote; where there is no such folder, a repository on the hub, "owner/name".
    revision: of the repository: a branch, a tag or a commit.
    backbone: whether to load the backbone too; without it the model takes embeddings only.
    weights: where the backbone's weights lie here, if they are not in the folder and came from a file or folder.
    digest: what the SHA-256 of config.json must be, as `dkvb export` says it: then the model is that one and no other.
    returns: a `dkvb.torch.Model`, or a `dkvb.torch.LinearModel` where a linear head was exported.
    raises: ModelMissing; BadCheckpoint for a file that does not hold what was exported, or what no export writes;
        BackboneWeightsInvalid where the backbone is not the one that is recorded; BackboneWeightsMissing.
    """
    folder = located(place, revision)
    config = read_config(folder, digest=digest)
    own = BACKBONE in config.files and weights is None
    for name in (MODEL, CERTIFICATE, *([BACKBONE] if backbone and own else [])):
        if name in config.files:
            check_file(folder, config, name)
    check_certificate(folder, config)
    made = None
    if backbone:
        made = backbone_of(config.header, weights=weights, tensors=folder / BACKBONE if own else None)
    if config.head == "linear":
        return linear_model(folder / MODEL, config.header, made).eval()
    bottleneck = Bottleneck.load(folder / MODEL)
    if bottleneck.header != config.header:
        raise BadCheckpoint(f"{folder / CONFIG}: its header is not that of {MODEL}; {AGAIN}")
    return Model(bottleneck, made).eval()


def linear_model(path: Path, header: dict[str, Any], backbone: Any) -> LinearModel:
    """The linear head of a file; raises: BadCheckpoint."""
    try:
        with safe_open(path, "pt") as file:
            weight, bias = file.get_tensor("weight"), file.get_tensor("bias")
    except UNREADABLE as error:
        raise BadCheckpoint(f"{path}: not a readable linear head: {error}") from error
    if weight.ndim != 2 or bias.shape != weight.shape[1:] or len(bias) != len(header["classes"]):
        raise BadCheckpoint(
            f"{path}: found weight {tuple(weight.shape)} and bias {tuple(bias.shape)}, expected (d_z, v) and (v,) of "
            f"{len(header['classes'])} classes"
        )
    return LinearModel(weight, bias, header, backbone)


def located(place: Path | str, revision: str | None = None) -> Path:
    """The folder of a model on this machine, fetched from the hub where need be; raises: ModelMissing."""
    folder = Path(place).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ModelMissing(f"{folder}: is a folder, which has no revision {revision!r}; leave it out")
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(place)):
        raise ModelMissing(f"{place}: no such folder, and no repository of a hub, which are called owner/name")
    from huggingface_hub import constants, snapshot_download

    try:
        return Path(snapshot_download(str(place), revision=revision, allow_patterns=list(LOADED)))
    except Exception as error:  # the client's errors share no base across its versions
        raise ModelMissing(
            f"{place}: no such folder here, and {constants.ENDPOINT} gave no repository of that name: {brief(error)}"
        ) from error


def read_config(folder: Path, *, digest: str | None = None) -> Config:
    """What a folder holds; digest: what the SHA-256 of its config must be. raises: ModelMissing, BadCheckpoint."""
    path = folder / CONFIG
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelMissing(
            f"{path}: {error.strerror}; name a folder that `dkvb export` wrote, or a copy of it"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if digest is not None and found != digest.lower():
        raise BadCheckpoint(f"{path}: SHA-256 found {found}, expected {digest}: it is another model, or was changed")
    try:
        return Config.from_json(json.loads(data))
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{path}: {error}") from error
    except UNREADABLE as error:
        raise BadCheckpoint(f"{path}: not what `dkvb export` writes: {brief(error)}") from error


def check_file(folder: Path, config: Config, name: str) -> None:
    """Compare a file with what was exported; raises: BadCheckpoint."""
    path, expected = folder / name, config.files[name]
    try:
        found = file_stamp(path)
    except OSError as error:
        raise BadCheckpoint(f"{path}: {error.strerror}, and {CONFIG} names it; {AGAIN}") from error
    if found != expected:
        raise BadCheckpoint(
            f"{path}: SHA-256 and size found {found}, expected {expected}: damaged or changed since it was exported; "
            f"{AGAIN}"
        )


def check_certificate(folder: Path, config: Config) -> None:
    """Check that the certificate, where there is one, is of the request or purge that left this very model.

    It also names the model before, whose bytes would fit: what a model says it forgot must be what was asked.
    Its signature is checked by `dkvb verify`. raises: BadCheckpoint.
    """
    if CERTIFICATE not in config.files:
        return
    path, unlearned = folder / CERTIFICATE, config.header.get("unlearned")
    try:
        certificate = json.loads(path.read_bytes())["certificate"]
        said, request = certificate["files"].get(config.origin), dict(certificate["request"])
        own = {} if unlearned is None else dict(unlearned)
        if unlearned is None and request.get("method") == "purge":  # made anew, so that the model says nothing itself
            own = {"method": "purge", "classes": request.get("classes")}
    except UNREADABLE as error:
        raise BadCheckpoint(f"{path}: not a certificate: {brief(error)}") from error
    if said is None:
        raise BadCheckpoint(f"{path}: does not name {config.origin}: it was made for another model; {AGAIN}")
    if said != config.files[MODEL]:
        raise BadCheckpoint(
            f"{path}: says {said} of {config.origin}, and {MODEL} is {config.files[MODEL]}: it was made for another "
            f"model; {AGAIN}"
        )
    if other := [key for key in ("method", "classes", *own) if key not in own or request.get(key) != own[key]]:
        raise BadCheckpoint(
            f"{path}: is of another request than the one that left {MODEL}: {other[0]} is {request.get(other[0])!r}, "
            f"and the model says {own.get(other[0])!r}; {AGAIN}"
        )


def file_stamp(path: Path) -> str:
    """SHA-256 and size of a file, read piece by piece, as a config says them."""
    with path.open("rb") as file:
        return f"{hashlib.file_digest(file, 'sha256').hexdigest()} {file.tell()}"
