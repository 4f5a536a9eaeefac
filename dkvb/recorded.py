"""The backbone that a checkpoint records: loaded as its header says, and checked to be the same."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dkvb.backbone_spec import LIBRARIES
from dkvb.backbones import Backbone, BackboneSpec, embed, load_backbone
from dkvb.errors import BackboneWeightsInvalid, BadCheckpoint


def backbone_of(header: Mapping[str, Any], *, weights: str | None = None, tensors: Path | None = None) -> Backbone:
    """Load the backbone that a checkpoint was made with, by its weights, image size and preprocessing in the header.

    header: of a `dkvb.bottleneck.Bottleneck`.
    weights: where the weights are on this machine, if they came from a file or folder that is elsewhere now.
    tensors: a file with all tensors of the module, as `dkvb export --with-backbone` writes it: nothing else is read.
    raises: BackboneWeightsInvalid where what is loaded is not what the checkpoint was made with; BadCheckpoint for a
        header without a backbone; what `load_backbone` raises.
    """
    recorded = header.get("backbone")
    try:
        facts: dict[str, Any] = dict(recorded or {})
        library, name, source, size = (facts[key] for key in ("library", "name", "weights", "size"))
        sizes = library in LIBRARIES and _takes_sizes(library, name)
        spec = BackboneSpec(
            library=library,
            name=name,
            weights=weights or _weights_of(library, source),
            layer=facts["layer"],
            image_size=size[0] if sizes else facts.get("image_size"),
            precision=facts["precision"],
        )
        made = load_backbone(spec, seed=facts["seed"] or 0, tensors=tensors)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise BadCheckpoint(f"header: found backbone {recorded!r}, expected what `load_backbone` records") from error
    ignored = ("weights", "versions", "device")  # where the weights came from, and by what; their tensors are hashed
    if differ := [key for key in made.facts if key not in ignored and made.facts[key] != facts.get(key)]:
        differences = ", ".join(f"{key} {made.facts[key]!r}, expected {facts.get(key)!r}" for key in differ)
        raise BackboneWeightsInvalid(f"{library} {name}: not the backbone of this checkpoint: {differences}")
    return made


def _weights_of(library: str, source: str) -> str:
    """The `weights` of a BackboneSpec, by the source that was recorded."""
    if library == "efficientnet-lite":
        return "random" if source == "random" else "pretrained"
    # open_clip's tag follows its repository, in brackets.
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
    """The embeddings of a batch in half precision, as they are stored, and as keys and codes were made from them.

    images, raises: as for `embed`.
    returns: (b, d_z) float16.
    """
    return embed(backbone, images).half()
