"""The snippets of docs/how-to/serve.md, run as they stand on a real checkpoint: they predict what the pipeline does."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from dkvb.backbones import BackboneSpec, load_backbone
from dkvb.bottleneck import Bottleneck
from dkvb.errors import BackboneWeightsInvalid, BadCheckpoint
from dkvb.recorded import backbone_of
from jobs.unlearn import Request, unlearn
from store import arrays
from tests.tiny import picture

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "serve.md"
PLACE = re.compile(r"roots/cifar10/unlearned/<digest>/")
MODEL = re.compile(r"roots/cifar10/values/<digest>/")


def snippets(word):
    """The Python blocks of the page that use a name."""
    return [text for text in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if word in text]


def test_the_snippet_predicts_what_the_pipeline_predicts(own):
    (load,), (mask,) = snippets("backbone_of"), snippets("masked_by")
    done = unlearn(own, Request(classes=["cat"]))
    assert done.checkpoint is not None
    folder = f"{Path(done.checkpoint).parent}/"
    found, labels = [], arrays.read_shards(own.artefact("embeddings[test]").data, "labels")
    z = torch.from_numpy(arrays.read_shards(own.artefact("embeddings[test]").data, "embeddings"))
    for k, count in ((0, 7), (1, 3), (2, 5)):
        for number in range(1000, 1000 + count):
            names: dict[str, Any] = {"image": picture(k, number, 32)}
            exec(PLACE.sub(folder, load), names)
            assert names["z"].dtype == torch.float16
            gaps = (names["z"].float() - z.float()).abs().amax(1)  # a batch of one is summed in another order
            assert gaps.min() < 0.01
            found.append((int(gaps.argmin()), names["name"]))
    model = Bottleneck.load(done.checkpoint)
    expected = [own.classes[k] for k in model.logits(z).argmax(1)]
    assert sorted(found) == list(enumerate(expected))
    assert (labels >= 0).all()
    names = {"Bottleneck": Bottleneck}
    exec(MODEL.sub(f"{own.artefact('values').path}/", PLACE.sub(folder, mask)), names)
    assert torch.equal(names["bottleneck"].selectable, model.selectable)


def test_the_backbone_is_the_checkpoint_s_to_the_pixel(finished):
    header = Bottleneck.load(finished.artefact("values").path / "bottleneck.safetensors").header
    assert backbone_of(header).facts["size"] == [32, 32]
    larger = load_backbone(BackboneSpec(library="efficientnet-lite", name="lite0", image_size=64)).facts
    assert backbone_of({"backbone": larger}).facts == larger
    mixed = {**header, "backbone": {**header["backbone"], "size": [64, 64]}}
    with pytest.raises(BackboneWeightsInvalid, match="not the backbone of this checkpoint: resize 73, expected 36"):
        backbone_of(mixed)


def test_another_backbone_than_the_checkpoint_s_is_refused(finished):
    header = Bottleneck.load(finished.artefact("values").path / "bottleneck.safetensors").header
    other = {**header, "backbone": {**header["backbone"], "weights_sha256": "0" * 64}}
    with pytest.raises(BackboneWeightsInvalid, match="not the backbone of this checkpoint: weights_sha256"):
        backbone_of(other)
    for damaged in ({}, {"backbone": {"library": "timm"}}, {"backbone": 3}):
        with pytest.raises(BadCheckpoint, match="header: found backbone"):
            backbone_of(damaged)
