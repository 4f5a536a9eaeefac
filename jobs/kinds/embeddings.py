"""Embeddings of one split: what the step is asked, what it reads, and what a worker needs for it."""

from dataclasses import dataclass, field

from dkvb.backbone_spec import BackboneSpec
from jobs.memory import PROCESS, WEIGHTS, Sizes
from jobs.spec.images import SplitImages
from jobs.step import IF_SET, Inputs
from store.decoding import PLAIN, Decoding

VERSION = 1
LEASE_S = 3600
ON_GPU = True
INPUTS = Inputs(["manifest", "train"])
"""The manifest of the images, and that of the training images, whose classes they have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """Which images are embedded, and how."""

    images: SplitImages
    backbone: BackboneSpec
    batch: int
    """Images of a forward pass."""
    decoding: Decoding = field(default=PLAIN, metadata=IF_SET)
    decode: str = field(default="pil", metadata=IF_SET)
    """By what pixels are read: "pil" or "torchvision"."""
    seed: int | None
    """Of random weights; None for others."""
    weights_file: str | None = field(default=None, metadata=IF_SET)
    """SHA-256 of the file that the weights are read from."""
    flip: bool = field(default=False, metadata=IF_SET)
    """Whether every image is mirrored."""
    extension: str | None = field(default=None, metadata=IF_SET)
    """Distribution and version of the backbone, where it is an extension's."""


AHEAD = 2
"""Batches made ready while the GPU is busy: the next one, and one more because some take longer."""

EDGE = 256
"""Pixels of an image's edge, of a backbone that has its own."""


def memory(asks: Asks, sizes: Sizes) -> int:
    """Weights twice while they are loaded, batches that wait, and a forward pass: 28 times its pixels.

    That is a worker of one CPU, or of a GPU: on every further CPU it holds one more batch passes through.
    """
    edge = asks.backbone.image_size or EDGE
    shard = 2 * sizes.d_z * min(sizes.items, 1 << 16)
    return PROCESS + WEIGHTS + (28 + 2 + AHEAD) * 12 * asks.batch * edge**2 + shard
