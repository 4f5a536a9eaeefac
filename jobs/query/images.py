"""What a mask did, measured on images that were given: embedded anew by the checkpoint's own backbone.

n: images; c: codebooks; m: keys of a codebook.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkvb.bottleneck import Bottleneck, decode
from dkvb.recorded import backbone_of
from jobs.errors import BadRequest
from jobs.images.decoders import load_by
from jobs.images.embedded import Passage, embedded
from jobs.printable import shown
from jobs.query.measure import Measured, measured
from jobs.query.outcome import Outcome, judge
from jobs.query.stored import Stored
from jobs.step import Facts
from jobs.worker import device, use_cores, use_one_core
from store.checksums import checked_on_disk
from store.decoding import PLAIN, Decoding
from store.errors import ImageDataError
from store.images import Images, Manifest, Problem, open_images
from store.layout import CHECKPOINT
from store.names import one_form

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
    check_problems(manifest.problems, folder)
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
    made = embed_images(stored, model, images, manifest, weights=weights)
    z, labels = made.z, np.array(index)[made.labels]
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


def check_problems(problems: Sequence[Problem], folder: str) -> None:
    """Whether all in a folder of class folders is as expected; raises: BadRequest naming what is not."""
    if problems:
        first = "; ".join(shown(f"{each.item}: {each.reason}") for each in problems[:SHOWN])
        raise BadRequest(
            f"{folder}: {len(problems)} files or folders are not as expected ({first}): mend them, or take them out"
        )


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedImages:
    """Images that were given, embedded."""

    z: Tensor
    """(n, d_z) float16."""
    labels: NDArray[np.int64]
    """(n,) the place of each image's class in the manifest."""
    backbone: Facts
    """What embedded them, as the embeddings step records it."""


def embed_images(
    stored: Stored,
    model: Bottleneck,
    images: Images,
    manifest: Manifest,
    *,
    weights: str | None,
    fill: bool = False,
) -> EmbeddedImages:
    """Embed images as the experiment's own were: by its backbone, preprocessing and decoder, in batches of its size.

    fill: whether the last batches are filled up, so that the bits of an image depend on no others.
    raises: ImageDataError naming the images that cannot be read; as `dkvb.recorded.backbone_of`.
    """
    use_one_core()  # as the step does, each of its threads (`jobs.images.embedded`)
    backbone = backbone_of(model.header, weights=weights)
    backbone.module.to(device()).to(memory_format=torch.channels_last)
    spec = stored.of_split("embeddings", "test").spec()["spec"]
    decode = spec.get("decode", "pil")
    how = Passage(
        backbone=backbone,
        batch=spec["batch"],
        decoding=Decoding(**spec["decoding"]) if "decoding" in spec else PLAIN,
        load=load_by(decode),
        skip=True,
        fill=fill,
    )
    parts, labels, unread = [], list[int](), list[Facts]()
    for shard in manifest.shards:
        with closing(embedded(images, shard, how)) as stream:
            for batch in stream:
                unread += batch.left_out
                labels += batch.labels
                if batch.z is not None:
                    parts.append(batch.z.half())
    use_cores()
    if unread:
        first = "; ".join(shown(f"{each['item']}: {each['reason']}") for each in unread[:SHOWN])
        raise ImageDataError(f"{images}: {len(unread)} images cannot be read ({first}): mend them, or take them out")
    facts = {**backbone.facts, "device": device().type, **({} if decode == "pil" else {"decode": decode})}
    return EmbeddedImages(torch.cat(parts), np.array(labels), facts)
