"""Backbones: what an embedding is, how wide, and which backbones cannot be."""

import io
import subprocess
import sys
import threading
from typing import Any

import polars as pl
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from dkvb import backbone_spec
from dkvb.backbones import Backbone, BackboneSpec, embed, embedding_width, load_backbone
from dkvb.errors import BackboneSpecError, BadImages
from dkvb.exact import exact_float32
from tests.dkvb.models import CIFAR, batch, clip_spec, needs_cifar, timm_spec
from tests.paths import REPOSITORY


@needs_cifar
def test_embeddings_of_real_images_tell_classes_apart() -> None:
    small = load_backbone(BackboneSpec(library="efficientnet-lite", name="lite0", image_size=96))
    table = pl.read_parquet(CIFAR / "test-00000-of-00001.parquet").head(150)
    labels = torch.tensor(table["label"].to_list())
    images = [Image.open(io.BytesIO(row["bytes"])).convert("RGB") for row in table["image"]]
    pixels = torch.stack([small.transform(image) for image in images])
    z = nn.functional.normalize(torch.cat([embed(small, some) for some in pixels.split(17)]))
    nearest = (z @ z.T).fill_diagonal_(-2).argmax(1)
    assert (labels[nearest] == labels).float().mean() > 0.3


# embedding


def test_a_repeated_call_gives_the_same_bits(lite0: Backbone) -> None:
    images = batch(lite0, 5)
    assert torch.equal(embed(lite0, images), embed(lite0, images))


def test_the_order_of_a_batch_does_not_matter(lite0: Backbone) -> None:
    images = batch(lite0, 5)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.equal(embed(lite0, images)[order], embed(lite0, images[order]))


def test_embeddings_need_no_gradient_and_can_train_a_head(resnet18: Backbone) -> None:
    assert not resnet18.module.training
    assert not any(parameter.requires_grad for parameter in resnet18.module.parameters())
    z = embed(resnet18, batch(resnet18, 3).requires_grad_())
    assert z.dtype == torch.float32
    assert not z.requires_grad
    head = nn.Linear(512, 2)
    head(z).sum().backward()
    assert head.weight.grad is not None


def test_autocast_of_the_caller_does_not_lower_the_precision(resnet18: Backbone) -> None:
    images = batch(resnet18, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = embed(resnet18, images)
    assert torch.equal(inside, embed(resnet18, images))


def test_the_precision_settings_of_the_process_are_put_back(resnet18: Backbone) -> None:
    cudnn: Any = torch.backends.cudnn

    def precision() -> tuple[str, bool]:
        return cudnn.conv.fp32_precision, cudnn.deterministic

    before, seen = precision(), []
    handle = resnet18.module.register_forward_pre_hook(lambda *_: seen.append(precision()))
    embed(resnet18, batch(resnet18, 1))
    handle.remove()
    assert seen == [("ieee", True)]
    assert precision() == before


def test_the_settings_stay_until_the_last_of_several_threads_is_through(resnet18: Backbone) -> None:
    cudnn: Any = torch.backends.cudnn
    before, inside, leave = cudnn.deterministic, threading.Event(), threading.Event()
    seen = []

    def first() -> None:
        with exact_float32():
            inside.set()
            assert leave.wait(10)
            seen.append(cudnn.deterministic)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    with exact_float32():
        leave.set()
        thread.join()
        seen.append(cudnn.deterministic)
    assert seen == [True, True]
    assert cudnn.deterministic == before


def test_bfloat16_is_recorded_and_multiplies_in_it_on_the_same_weights(resnet18: Backbone) -> None:
    lower = load_backbone(timm_spec(precision="bfloat16"), seed=3)
    assert {key for key in lower.facts if lower.facts[key] != resnet18.facts[key]} == {"precision"}
    images, seen = batch(resnet18, 3), []
    handle = lower.module.get_submodule("layer1").register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
    z = embed(lower, images)
    handle.remove()
    exact = embed(resnet18, images)
    assert (seen, z.dtype, z.is_inference()) == ([torch.bfloat16], torch.float32, False)
    assert 0 < (z - exact).norm() < 0.05 * exact.norm()
    assert torch.equal(embed(resnet18, images), exact)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 224, 224),
        torch.zeros(2, 3, 223, 224),
        torch.zeros(2, 1, 224, 224),
        torch.zeros(2, 3, 224, 224, dtype=torch.float64),
    ],
    ids=["one image", "height", "channels", "float64"],
)
def test_images_of_another_shape_or_type_are_refused(resnet18: Backbone, images: Tensor) -> None:
    with pytest.raises(BadImages, match="expected \\(b, 3, h, w\\)"):
        embed(resnet18, images)


# widths and random weights


@pytest.mark.parametrize(
    ("spec", "d_z"),
    [
        (timm_spec(name="resnet50", layer="layer3", image_size=64), 1024),
        (timm_spec(name="resnet50", layer="layer4", image_size=64), 2048),
        (timm_spec(name="resnet50", image_size=64), 2048),
        (timm_spec(name="mobilenetv3_small_050", image_size=64), 1024),
        (timm_spec(name="test_vit"), 64),
        *(
            (BackboneSpec(library="efficientnet-lite", name=name, weights="random", image_size=64), 1280)
            for name in ("lite0", "lite1", "lite2")
        ),
        (clip_spec(), 512),
    ],
    ids=lambda value: f"{value.name}-{value.layer}" if isinstance(value, BackboneSpec) else str(value),
)
def test_the_planned_width_is_the_real_one(spec: BackboneSpec, d_z: int) -> None:
    backbone = load_backbone(spec)
    assert embedding_width(spec) == d_z
    assert backbone.d_z == d_z
    assert embed(backbone, batch(backbone, 2)).shape == (2, d_z)
    assert backbone.facts["weights"] == "random"


def test_layer3_is_the_average_of_what_layer3_gives() -> None:
    backbone = load_backbone(timm_spec(layer="layer3", image_size=64), seed=11)
    whole = load_backbone(timm_spec(image_size=64), seed=11)
    images = batch(whole, 3)
    caught: list[Tensor] = []
    whole.module.get_submodule("layer3").register_forward_hook(lambda _module, _inputs, output: caught.append(output))
    embed(whole, images)
    torch.testing.assert_close(embed(backbone, images), caught[0].mean((2, 3)).clone())


def test_clip_embeddings_are_the_image_half_of_encode_image(caplog: pytest.LogCaptureFixture) -> None:
    import open_clip

    backbone = load_backbone(clip_spec(), seed=7)
    assert caplog.records == [], "random weights were asked for"
    torch.manual_seed(7)
    whole = open_clip.create_model("ViT-B-32-quickgelu").eval()
    images = batch(backbone, 2)
    with torch.inference_mode():
        expected = whole.encode_image(images, normalize=False)
    assert torch.equal(embed(backbone, images), expected)
    assert not torch.allclose(embed(backbone, images).norm(dim=1), torch.ones(2))


def test_random_weights_follow_the_seed_and_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    digests = [load_backbone(timm_spec(image_size=64), seed=seed).facts["weights_sha256"] for seed in (0, 1, 0)]
    assert digests[0] == digests[2] != digests[1]
    assert torch.equal(torch.random.get_rng_state(), before)


# refusals


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"library": "tim"}, "did you mean 'timm'?"),
        ({"name": "resnet5O"}, "resnet50"),
        ({"name": "resnet18.a1_in2k"}, "resnet18.a1_in1k"),
        ({"weights": "openai"}, "timm takes"),
        ({"weights": "hf-hub:"}, "timm takes"),
        ({"name": "legacy_seresnet18", "weights": "pretrained"}, "the hub has none"),
        ({"layer": "layer2"}, 'expected "layer3" or "layer4"'),
        ({"name": "test_vit", "layer": "layer3"}, "only timm ResNets"),
        ({"image_size": 31}, "a whole number from 32 to 4096"),
        ({"name": "vit_small_patch16_224", "image_size": 64}, "takes 224 pixels only"),
        ({"library": "open_clip", "name": "ViT-B/32"}, "ViT-B-32"),
        ({"library": "open_clip", "name": "ViT-B-32", "weights": "pretrained"}, "laion2b_s34b_b79k"),
        ({"library": "open_clip", "name": "ViT-B-32", "weights": "openai"}, "'ViT-B-32-quickgelu'"),
        ({"library": "open_clip", "name": "ViT-B-32", "layer": "layer4"}, "only timm ResNets"),
        ({"library": "open_clip", "name": "ViT-B-32", "image_size": 64}, "take one size"),
        ({"library": "open_clip", "name": "roberta-ViT-B-32"}, "transformers"),
        ({"library": "efficientnet-lite", "name": "lite3"}, "lite2"),
        ({"library": "efficientnet-lite", "name": "lite0", "weights": "file.pth"}, "pretrained"),
        ({"library": "efficientnet-lite", "name": "lite0", "layer": "layer4"}, "only timm ResNets"),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_a_backbone_that_cannot_be_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(BackboneSpecError) as caught:
        timm_spec(**settings)
    assert words in str(caught.value)


def test_open_clip_without_weights_cannot_happen_by_leaving_them_out() -> None:
    with pytest.raises(ValueError, match="takes a tag"):
        BackboneSpec(library="open_clip", name="ViT-B-32-quickgelu")


def test_importing_the_module_does_not_import_the_model_libraries() -> None:
    script = "import sys, dkvb.backbones; print({'timm', 'open_clip', 'torchvision'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_of_choices_of_shipped_specs_their_libraries_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = backbone_spec.CHOSEN
    monkeypatch.setattr(backbone_spec, "CHOSEN", {})
    for (library, name, weights, layer), width in chosen.items():
        spec = BackboneSpec(library=library, name=name, weights=weights, layer=layer)
        assert embedding_width.__wrapped__(spec) == width


def test_the_libraries_are_the_three_of_the_documentation() -> None:
    assert backbone_spec.LIBRARIES == ("timm", "open_clip", "efficientnet-lite")
