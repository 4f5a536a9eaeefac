"""Images of an experiment, as its backbone takes them: what a graph is compared with torch on."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from dkvb.backbones import Backbone
from jobs.errors import BadRequest
from jobs.images.ahead import batches
from jobs.images.decoders import load_by
from jobs.images.embedded import Passage, decoded
from jobs.query.stored import Stored
from jobs.results.experiment import Experiment
from jobs.spec.images import SplitImages
from jobs.step import SPLITS
from store.artefacts import as_written
from store.decoding import PLAIN, Decoding

BATCH = 16
"""Images of a batch: a graph holds (c, BATCH, m) scores at once."""

NO_PLACE = ("digits",)
"""Kinds of images that come with a library."""


def pictures(experiment: Experiment, backbone: Backbone, place: str | None, most: int) -> Iterator[Tensor]:
    """Batches of test images, and of training images where these are too few; spread evenly over each split.

    place: where the experiment's images lie, as `dkvb run --images` was told; not needed of digits.
    most: images in all; those that cannot be read are left out.
    returns: (b, 3, h, w) float32, what the backbone's preprocessing makes of them.
    raises: BadRequest without a place; ImagesMissing, ImageSourceError.
    """
    with as_written(experiment.path):
        kind = experiment.spec["images"]["kind"]
    if place is None and kind not in NO_PLACE:
        raise BadRequest(f"{experiment.name}: was run on images of kind {kind}; say where they lie with --images DIR")
    return map(torch.stack, batches(islice(_pixels(experiment, backbone, place or "", most), most), BATCH))


def _pixels(experiment: Experiment, backbone: Backbone, place: str, most: int) -> Iterator[Tensor]:
    stored = Stored(experiment)
    for split in reversed(SPLITS):
        step = stored.of_split("embeddings", split)
        with as_written(step.path):
            asked = step.spec()["spec"]
            images = SplitImages.from_json(asked["images"]).open(place)
            how = Passage(
                backbone=backbone,
                batch=BATCH,
                decoding=Decoding(**asked["decoding"]) if "decoding" in asked else PLAIN,
                load=load_by(asked.get("decode", "pil")),
                skip=True,
            )
        shards = stored.manifest(split).shards
        every = max(1, sum(shard.items for shard in shards) // most)
        taken = (item for shard in shards for item in images.encoded(shard))
        for item in islice(taken, 0, None, every):
            if (pixels := decoded(item, how).pixels) is not None:
                yield pixels
