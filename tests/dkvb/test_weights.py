"""Weight files and the hub: read without running what is in them, refused by name, found without a network."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from dkvb.backbones import Backbone, embed, load_backbone
from dkvb.errors import BackboneWeightsInvalid, BackboneWeightsMissing
from tests.dkvb.models import batch, clip_spec, timm_spec
from tests.paths import REPOSITORY


def saved(backbone: Backbone, folder: Path, suffix: str, **more: Tensor) -> Path:
    tensors = {**backbone.module.state_dict(), **more}
    path = folder / f"model{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_local_checkpoint_comes_back_bit_for_bit(resnet18: Backbone, tmp_path: Path, suffix: str) -> None:
    path = saved(resnet18, tmp_path, suffix)
    again = load_backbone(timm_spec(weights=str(path)), seed=99)
    assert again.facts["weights_sha256"] == resnet18.facts["weights_sha256"]
    assert again.facts["weights"] == str(path)
    assert again.facts["seed"] is None
    images = batch(resnet18, 2)
    assert torch.equal(embed(again, images), embed(resnet18, images))


def test_a_head_for_any_number_of_classes_is_taken_off(resnet18: Backbone, tmp_path: Path) -> None:
    head = {"fc.weight": torch.ones(13, 512), "fc.bias": torch.ones(13)}
    again = load_backbone(timm_spec(weights=str(saved(resnet18, tmp_path, ".pth", **head))))
    assert again.d_z == 512
    assert again.facts["weights_sha256"] == resnet18.facts["weights_sha256"]


def test_a_checkpoint_wrapped_in_state_dict_is_unwrapped(resnet18: Backbone, tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": resnet18.module.state_dict()}, tmp_path / "model.pth")
    again = load_backbone(timm_spec(weights=str(tmp_path / "model.pth")))
    assert again.facts["weights_sha256"] == resnet18.facts["weights_sha256"]


def test_a_folder_saved_by_timm_is_read_with_its_configuration(resnet18: Backbone, tmp_path: Path) -> None:
    saved(resnet18, tmp_path, ".safetensors")
    config = '{"architecture": "resnet18", "num_classes": 0, "pretrained_cfg": {"input_size": [3, 96, 96], %s}}'
    settings = '"mean": [0.25, 0.5, 0.75], "std": [1, 1, 1], "classifier": "fc", "crop_pct": 1.0'
    (tmp_path / "config.json").write_text(config % settings)
    again = load_backbone(timm_spec(weights=f"local-dir:{tmp_path}"))
    assert again.facts["weights_sha256"] == resnet18.facts["weights_sha256"]
    assert again.facts["mean"] == [0.25, 0.5, 0.75]
    assert again.facts["size"] == [96, 96]
    with pytest.raises(BackboneWeightsInvalid, match="architecture 'resnet18', expected 'resnet34'"):
        load_backbone(timm_spec(name="resnet34", weights=f"local-dir:{tmp_path}"))


def test_a_checkpoint_of_another_model_is_refused_and_never_loaded_in_part(resnet18: Backbone, tmp_path: Path) -> None:
    path = saved(resnet18, tmp_path, ".safetensors")
    with pytest.raises(BackboneWeightsInvalid, match="does not fit resnet34"):
        load_backbone(timm_spec(name="resnet34", weights=str(path)))
    with pytest.raises(BackboneWeightsInvalid, match="does not fit ViT-B-32-quickgelu"):
        load_backbone(clip_spec(weights=str(path)))


class Malice:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.victim}",))


def test_a_checkpoint_that_pickles_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.ones(2), "x": Malice(tmp_path / "ran")}, tmp_path / "model.pth")
    for spec in (timm_spec, clip_spec):
        with pytest.raises(BackboneWeightsInvalid, match="pickled code is never"):
            load_backbone(spec(weights=str(tmp_path / "model.pth")))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "suffix"), [(b"torn", ".pth"), (b"torn", ".safetensors"), (b"", ".pth"), (None, ".pth")]
)
def test_a_torn_or_foreign_file_is_named(tmp_path: Path, content: bytes | None, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    if content is None:
        torch.save([1, 2, 3], path)
    else:
        path.write_bytes(content)
    with pytest.raises(BackboneWeightsInvalid, match=str(path)):
        load_backbone(timm_spec(weights=str(path)))


def test_a_checkpoint_that_does_not_exist_is_a_file_not_found(tmp_path: Path) -> None:
    for weights in (f"{tmp_path}/none.pth", f"local-dir:{tmp_path}/none"):
        with pytest.raises(FileNotFoundError, match="none"):
            load_backbone(timm_spec(weights=weights))


def test_weights_out_of_reach_fail_within_seconds_and_name_the_remedies(tmp_path: Path) -> None:
    # A closed port stands for "no network" everywhere; a fresh process because the settings are read at import.
    script = """
import time
import timm, open_clip
from dkvb.backbones import BackboneSpec, load_backbone
from dkvb.errors import BackboneWeightsMissing
for library, name, weights in (
    ("timm", "resnet18", "pretrained"),
    ("timm", "resnet18", "hf-hub:timm/resnet18.a1_in1k@v1"),
    ("open_clip", "ViT-B-32-quickgelu", "openai"),
):
    spec = BackboneSpec(library=library, name=name, weights=weights)
    begin = time.monotonic()
    try:
        load_backbone(spec)
    except BackboneWeightsMissing as error:
        print(time.monotonic() - begin, error)
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = run.stdout.splitlines()
    assert len(lines) == 3
    assert "--revision v1" in lines[1]
    for line in lines:
        assert float(line.split()[0]) < 5
        assert "hf download timm/" in line
        assert "checkpoint file" in line
        assert "weights = 'random'" in line
        assert str(tmp_path) in line
    assert "Retrying" not in run.stderr


def test_offline_mode_is_named_as_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    begin = time.monotonic()
    with pytest.raises(BackboneWeightsMissing, match="HF_HUB_OFFLINE=1 is set"):
        load_backbone(timm_spec(weights="pretrained"))
    assert time.monotonic() - begin < 5


def test_weights_in_the_local_cache_need_no_network(
    resnet18: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit = "c" * 40
    folder = tmp_path / "models--timm--resnet18.a1_in1k"
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    head = {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    saved(resnet18, folder / "snapshots" / commit, ".safetensors", **head)
    again = load_backbone(timm_spec(weights="pretrained"))
    assert again.facts["weights"] == "hf-hub:timm/resnet18.a1_in1k"
    assert again.facts["weights_sha256"] == resnet18.facts["weights_sha256"]
