"""The backbone that a checkpoint records: loaded as its header says, and checked to be that very one."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dkvb.backbones import Backbone, BackboneSpec, embed, load_backbone
from dkvb.errors import BackboneWeightsInvalid, BadCheckpoint


def backbone_of(header: Mapping[str, Any], *, weights: str | None = None) -> Backbone:
    """The backbone that a checkpoint was made with: its weights, image size and preprocessing, as its header says.

    header: of a `dkvb.bottleneck.Bottleneck`.
    weights: where they lie here, if they came from a file or folder that lies elsewhere.
    raises: BackboneWeightsInvalid where what is loaded is not what the checkpoint was made with; BadCheckpoint for a
        header without a backbone; what `load_backbone` raises.
    """
    said = header.get("backbone")
    try:
        facts: dict[str, Any] = dict(said or {})
        library, name, source, size = (facts[key] for key in ("library", "name", "weights", "size"))
        sizes = _takes_sizes(library, name)
        spec = BackboneSpec(
            library=library,
            name=name,
            weights=weights or _weights_of(library, source),
            layer=facts["layer"],
            image_size=size[0] if sizes else None,
        )
        made = load_backbone(spec, seed=facts["seed"] or 0)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise BadCheckpoint(f"header: found backbone {said!r}, expected what `load_backbone` records") from error
    ignored = ("weights", "versions", "device")  # where they came from, and with what; the tensors are hashed
    if differ := [key for key in made.facts if key not in ignored and made.facts[key] != facts.get(key)]:
        told = ", ".join(f"{key} {made.facts[key]!r}, expected {facts.get(key)!r}" for key in differ)
        raise BackboneWeightsInvalid(f"{library} {name}: not the backbone of this checkpoint: {told}")
    return made


def _weights_of(library: str, source: str) -> str:
    """What to ask for as weights, by the source that was recorded."""
    if library == "efficientnet-lite":
        return "random" if source == "random" else "pretrained"
    # open_clip's tag stands in brackets behind the repository that it leads to.
    tagged = re.fullmatch(r"hf-hub:\S+ \((.+)\)", source) if library == "open_clip" else None
    return tagged[1] if tagged else source


def _takes_sizes(library: str, name: str) -> bool:
    """Whether a network takes images of any size."""
    if library == "open_clip":
        return False
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(f"tf_efficientnet_{name}" if library == "efficientnet-lite" else name)
    return not getattr(known, "fixed_input_size", False)


def embed_half(backbone: Backbone, images: Tensor) -> Tensor:
    """The embeddings of a batch in half precision, in which they are stored and keys and codes were made.

    images, raises: as of `embed`.
    returns: (b, d_z) float16.
    """
    return embed(backbone, images).half()
