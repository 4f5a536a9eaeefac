"""What a mask did, measured on images that were given: embedded anew by the checkpoint's own backbone.

n: images; c: codebooks; m: keys of a codebook.
"""

from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb.bottleneck import Bottleneck, decode
from dkvb.recorded import backbone_of, embed_half
from jobs.errors import BadRequest
from jobs.printable import shown
from jobs.query.measure import Measured, measured
from jobs.query.outcome import Outcome, judge
from jobs.query.stored import Stored
from jobs.steps.embeddings import AHEAD, ahead, batches, make_ready, problems
from jobs.worker import device, use_cores
from store.checksums import checked_on_disk
from store.decoding import PLAIN, Decoding
from store.images import Images, Manifest, open_images
from store.layout import CHECKPOINT
from store.names import one_form

BATCH = 64
"""Images of a forward pass."""

SHOWN = 5
"""Names in a message."""


def measure_images(
    stored: Stored,
    mask: NDArray[np.bool_],
    forget: Sequence[int],
    folder: str,
    *,
    weights: str | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Measured:
    """What a mask did to images that were given.

    mask: (c, m) bool; forget: indexes of the classes that it is to forget, one or more.
    folder: holds a folder of images for each class, named as the class; classes may be missing.
    weights: where the backbone's weights are, if they came from a file or folder that is elsewhere now.
    tell: is told what is about to be embedded.
    returns: what was measured, on the one split "images".
    raises: BadRequest for folders that are no classes, or no image of a forget class; ImageDataError, ImagesMissing;
        BackboneWeightsInvalid, BackboneWeightsMissing; BadCheckpoint.
    """
    if not len(forget):
        raise BadRequest("measure: found no class that the mask is to forget")
    images = open_images("folder", folder, pattern="")
    manifest = images.scan(on_error="skip")
    index = class_of_folders(stored.classes, manifest, folder)
    if manifest.problems:
        first = "; ".join(shown(f"{each.item}: {each.reason}") for each in manifest.problems[:SHOWN])
        raise BadRequest(
            f"{folder}: {len(manifest.problems)} files or folders are not as expected ({first}): mend them, or take "
            "them out"
        )
    items = manifest.histogram
    if not sum(items[place] for place, k in enumerate(index) if k in forget):
        names = ", ".join(shown(stored.classes[k]) for k in forget)
        raise BadRequest(
            f"{folder}: {manifest.items} images of {len(index)} classes, none of {names}: nothing would show whether "
            "it is forgotten; add a folder of its images"
        )
    tell(f"{manifest.items} images of {len(index)} of {len(stored.classes)} classes in {shown(folder)}")
    with checked_on_disk(stored.experiment.artefact("values").path / CHECKPOINT) as file:
        model = Bottleneck.load(file)
    z, labels = embedded(stored, model, images, manifest, weights=weights)
    labels = np.array(index)[labels]
    before, after = (each.codes(z) for each in (model, model.masked(torch.from_numpy(mask))))
    shares = ((before != after).sum(1) / (before >= 0).sum(1).clamp(min=1)).double().numpy()

    def outcome(codes: Tensor, redirected: NDArray[np.float64]) -> Outcome:
        logits = decode(codes, model.values).numpy()
        return judge(np.arange(len(labels)), labels, logits, forget, redirected)

    return measured(stored, {"images": (outcome(before, np.zeros(len(z))), outcome(after, shares))}, forget, {})


def class_of_folders(classes: Sequence[str], manifest: Manifest, folder: str) -> list[int]:
    """The index of the model's class for each class folder; raises: BadRequest for one that is none."""
    known = {one_form(name): k for k, name in enumerate(classes)}
    if unknown := [name for name in manifest.classes if one_form(name) not in known]:
        names = ", ".join(map(shown, unknown[:SHOWN])) + (", ..." if len(unknown) > SHOWN else "")
        there = ", ".join(map(shown, classes[:SHOWN])) + (", ..." if len(classes) > SHOWN else "")
        raise BadRequest(
            f"{folder}: {len(unknown)} of {len(manifest.classes)} folders are no class of the model ({names}), which "
            f"has {len(classes)} ({there}): name the folder in which the class folders lie, and them as the classes"
        )
    return [known[one_form(name)] for name in manifest.classes]


def embedded(
    stored: Stored, model: Bottleneck, images: Images, manifest: Manifest, *, weights: str | None
) -> tuple[Tensor, NDArray[np.int64]]:
    """Embed images as the experiment's own were.

    returns: (n, d_z) float16, and (n,) the place of each image's class in the manifest.
    raises: ImageDataError for an image that cannot be read; as `dkvb.recorded.backbone_of`.
    """
    use_cores()
    backbone = backbone_of(model.header, weights=weights)
    backbone.module.to(device()).to(memory_format=torch.channels_last)
    spec = stored.of_split("embeddings", "test").spec()["spec"]
    decoding = Decoding(**spec["decoding"]) if "decoding" in spec else PLAIN
    ready = (
        make_ready(items, list(problems(shard, items, skip=False)), backbone.transform)
        for shard in manifest.shards
        for items in batches(images.read(shard, decoding), BATCH)
    )
    parts, labels = [], list[int]()
    with closing(ahead(ready, AHEAD)) as stream:
        for batch in stream:
            assert batch.pixels is not None, "what is no image was refused"
            parts.append(embed_half(backbone, batch.pixels.to(device())).cpu())
            labels += batch.labels
    return torch.cat(parts), np.array(labels)
