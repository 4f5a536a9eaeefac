"""The choice of a backbone, and what follows from it alone: a spec is read without torch.

timm, open_clip and what brings torch take seconds to import, so they are imported where a choice is theirs.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated

from dkvb import efficientnet_lite
from dkvb.errors import BackboneSpecError
from dkvb.extensions import BACKBONES, named
from dkvb.limits import check_known, check_limits, one_of, whole
from dkvb.preprocessing import LARGEST_IMAGE, SMALLEST_IMAGE

LIBRARIES = ("timm", "open_clip", "efficientnet-lite")
LAYERS = ("layer3", "layer4")
PRECISIONS = ("float32", "bfloat16")
ONLY_RESNETS = "layer = {!r}: only timm ResNets have it; leave it out"
CHOSEN = {
    ("timm", "resnet50.tv_in1k", "pretrained", "layer4"): 2048,
    ("open_clip", "ViT-B-32-quickgelu", "openai", None): 512,
}
"""Choices of shipped specs (library, name, weights, layer) at their own image size, and the widths of their embeddings:
their libraries are not asked, which takes seconds. A test asks them."""

CHECKPOINT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneSpec:
    """The choice of a backbone, checked when it is made, without weights and network; raises: BackboneSpecError."""

    library: Annotated[str, named(BACKBONES, *LIBRARIES)]
    """Whose model it is: the library that computes it, or an extension (docs/extend.md)."""
    name: str
    """The library's name for it: "resnet50.a1_in1k" (timm), "ViT-B-32-quickgelu" (open_clip), "lite0"."""
    weights: str = "pretrained"
    """open_clip: a tag; timm: "pretrained" or "local-dir:..."; both: "hf-hub:...", a file, or "random"."""
    layer: Annotated[str, one_of(*LAYERS)] | None = None
    """timm ResNets: stop after "layer3" or "layer4" and average; unless given, the model's own pooled output."""
    image_size: Annotated[int, whole(SMALLEST_IMAGE, LARGEST_IMAGE)] | None = None
    """Pixels, for networks that take any size; unless given, the model's own."""
    # Came later, so it is part of the JSON of which digests are made only where it is set (`jobs.step.IF_SET`).
    precision: Annotated[str, one_of(*PRECISIONS)] = field(default="float32", metadata={"in JSON": "if set"})
    """ "bfloat16" multiplies in it, as torch's autocast does, and selects other keys; weights and sums stay float32."""

    def __post_init__(self) -> None:
        check_limits(self, BackboneSpecError)
        if _chosen(self) is not None:
            return
        if self.library == "open_clip":
            _check_open_clip(self)
        elif self.library == "efficientnet-lite":
            _check_efficientnet_lite(self)
        elif self.library == "timm":
            _check_timm(self)
        else:
            _check_extension(self)


@cache
def embedding_width(spec: BackboneSpec) -> int:
    """The embedding width ``d_z`` of a backbone, without its weights and the memory for a model."""
    if (width := _chosen(spec)) is not None:
        return width
    if spec.library == "efficientnet-lite":
        return efficientnet_lite.WIDTH
    if spec.library not in LIBRARIES:
        from dkvb import backbone_extensions

        return backbone_extensions.width(spec.library, spec.name)
    if spec.library == "open_clip":
        import open_clip

        return int(open_clip.get_model_config(spec.name)["embed_dim"])
    from dkvb.backbones import timm_width

    return timm_width(spec)


def _chosen(spec: BackboneSpec) -> int | None:
    """The width that is known of a choice of ours; None for others."""
    return None if spec.image_size else CHOSEN.get((spec.library, spec.name, spec.weights, spec.layer))


def timm_name(spec: BackboneSpec) -> str:
    """What timm calls the network."""
    return f"tf_efficientnet_{spec.name}" if spec.library == "efficientnet-lite" else spec.name


def architecture(spec: BackboneSpec) -> str:
    """The same without the tag of its weights."""
    return timm_name(spec).partition(".")[0]


def hub_or_folder(weights: str) -> tuple[str, str] | None:
    """("hf-hub" or "local-dir", what follows it) for weights that are given so; None for others."""
    source, _, place = weights.partition(":")
    return (source, place) if source in ("hf-hub", "local-dir") and place else None


def hub_repository(weights: str) -> str | None:
    """The repository of weights that are given as "hf-hub:..."; None for others."""
    source, place = hub_or_folder(weights) or ("", None)
    return place if source == "hf-hub" else None


def is_checkpoint(weights: str) -> bool:
    """Whether this names a weight file, by its ending."""
    return Path(weights).suffix in CHECKPOINT_SUFFIXES


def _check_extension(spec: BackboneSpec) -> None:
    from dkvb import backbone_extensions

    check_known(BackboneSpecError, "name", spec.name, backbone_extensions.names(spec.library))
    if spec.layer:
        raise BackboneSpecError(ONLY_RESNETS.format(spec.layer))


def _check_efficientnet_lite(spec: BackboneSpec) -> None:
    """As `_check_timm`, without timm: these networks are few, and all alike."""
    check_known(BackboneSpecError, "name", spec.name, tuple(efficientnet_lite.STAGE_LENGTHS))
    check_known(BackboneSpecError, "weights", spec.weights, ("pretrained", "random"))
    if spec.layer:
        raise BackboneSpecError(ONLY_RESNETS.format(spec.layer))


def _check_timm(spec: BackboneSpec) -> None:
    import timm

    check_known(BackboneSpecError, "name", spec.name, (*timm.list_models(), *timm.list_models(include_tags=True)))
    published = timm.models.get_pretrained_cfg(timm_name(spec))
    if not (spec.weights in ("pretrained", "random") or hub_or_folder(spec.weights) or is_checkpoint(spec.weights)):
        raise BackboneSpecError(
            f"weights = {spec.weights!r}: timm takes 'pretrained', 'random', 'hf-hub:...', "
            f"'local-dir:...' or a file ending in {', '.join(CHECKPOINT_SUFFIXES)}"
        )
    if spec.weights == "pretrained" and not published.hf_hub_id:
        raise BackboneSpecError(
            f"weights = 'pretrained': the hub has none for {spec.name}; give a checkpoint file instead"
            + (f", such as {published.url} downloaded beforehand" if published.url else "")
        )
    if spec.layer and timm.model_entrypoint(architecture(spec)).__module__ != "timm.models.resnet":
        raise BackboneSpecError(ONLY_RESNETS.format(spec.layer))
    if spec.image_size and published.fixed_input_size:
        raise BackboneSpecError(
            f"image_size = {spec.image_size}: {spec.name} takes {published.input_size[-1]} pixels only; "
            "leave it out, or take a convolutional network"
        )


def _check_open_clip(spec: BackboneSpec) -> None:
    import open_clip

    check_known(BackboneSpecError, "name", spec.name, open_clip.list_models())
    config = open_clip.get_model_config(spec.name)
    if "hf_model_name" in config["text_cfg"]:
        raise BackboneSpecError(f"name = {spec.name!r}: its text tower needs transformers; take another")
    if spec.layer:
        raise BackboneSpecError(ONLY_RESNETS.format(spec.layer))
    if spec.image_size:
        raise BackboneSpecError(f"image_size = {spec.image_size}: open_clip models take one size; leave it out")
    if spec.weights == "random" or is_checkpoint(spec.weights) or hub_repository(spec.weights):
        return
    tag = open_clip.get_pretrained_cfg(spec.name, spec.weights)
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(spec.name)) or "it has none"
        raise BackboneSpecError(
            f"weights = {spec.weights!r}: open_clip takes a tag of {spec.name} ({tags}), 'hf-hub:...', 'random' or a "
            f"file ending in {', '.join(CHECKPOINT_SUFFIXES)}"
        )
    quick = bool(tag.get("quick_gelu"))
    if quick != bool(config.get("quick_gelu")):
        other = f"{spec.name}-quickgelu" if quick else spec.name.removesuffix("-quickgelu")
        remedy = f"take name = {other!r}" if other in open_clip.list_models() else "take another tag"
        trained, computes = ("with", "without") if quick else ("without", "with")
        raise BackboneSpecError(
            f"weights = {spec.weights!r} were trained {trained} QuickGELU, {spec.name} computes {computes} "
            f"it, which gives wrong embeddings; {remedy}"
        )
