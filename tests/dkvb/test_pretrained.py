"""An exported folder as a torch module: what was exported and nothing else, wherever it lies."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from dkvb.bottleneck import Bottleneck
from dkvb.errors import BackboneWeightsInvalid, BadCheckpoint, BadSetting, ModelMissing, ShapeMismatch
from dkvb.linear import linear_logits
from dkvb.pretrained import CERTIFICATE, CONFIG, MODEL, Config, check_certificate, file_stamp, from_pretrained
from dkvb.pretrained import read_config as read
from dkvb.recorded import backbone_of
from dkvb.torch import LinearModel, Model
from tests.dkvb import naive
from tests.dkvb.models import batch, timm_spec

C, M, V, N, D_Z = 5, 7, 3, 23, 7
UNLEARNED: dict[str, object] = {"method": "uva", "classes": ["cat"], "budget": 3}
HEADER = {"unlearned": UNLEARNED, "classes": ["ant", "bee", "cat"], "keys": "ab" * 32}
ORIGIN = "unlearned/0123456789abcdef/bottleneck.safetensors"


def write_config(folder, head="values", header=HEADER):
    files = {name: file_stamp(folder / name) for name in (MODEL, CERTIFICATE) if (folder / name).exists()}
    config = Config(head=head, experiment="tiny", origin=ORIGIN, header=header, files=files)
    (folder / CONFIG).write_text(json.dumps(config.to_json()))
    return file_stamp(folder / CONFIG).split()[0]


@pytest.fixture
def bottleneck():
    return replace(naive.random_bottleneck(1, c=C, m=M, v=V, integer=True), header=HEADER)


@pytest.fixture
def folder(bottleneck, tmp_path):
    folder = tmp_path / "cat-free"
    folder.mkdir()
    (folder / MODEL).write_bytes(bottleneck.to_bytes())
    said = {"files": {ORIGIN: file_stamp(folder / MODEL)}, "request": {**UNLEARNED, "pairs": 7}}
    (folder / CERTIFICATE).write_text(json.dumps({"certificate": said, "signature": None}))
    write_config(folder)
    return folder


@pytest.fixture
def linear(tmp_path):
    folder = tmp_path / "linear"
    folder.mkdir()
    gen = torch.Generator().manual_seed(4)
    save_file({"weight": torch.randn(D_Z, V, generator=gen), "bias": torch.randn(V, generator=gen)}, folder / MODEL)
    write_config(folder, head="linear")
    return folder


@pytest.fixture
def z():
    return naive.random_items(1, N, integer=True).half()


def test_a_bottleneck_says_what_its_checkpoint_says(folder, bottleneck, z):
    model = from_pretrained(folder, backbone=False)
    assert isinstance(model, Model)
    assert torch.equal(model(z), bottleneck.logits(z))
    assert model.classes == HEADER["classes"]
    assert not model.training


def test_a_linear_head_says_what_its_weights_say(linear, z):
    model = from_pretrained(str(linear), backbone=False)
    assert isinstance(model, LinearModel)
    weights = torch.cat([model.weight, model.bias[None]])
    assert torch.equal(model(z), linear_logits(z, weights))
    assert "classes=3, d_z=7" in repr(model)
    assert set(model.state_dict()) == {"weight", "bias"}
    with pytest.raises(ShapeMismatch, match=r"weight \(d_z, v\)"):
        model(z[:, 1:])
    with pytest.raises(BadSetting, match="in another precision"):
        model.half()(z)
    with pytest.raises(BadSetting, match="loaded without its backbone"):
        _ = model.transform


@pytest.mark.parametrize("name", [MODEL, CERTIFICATE])
@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_file_that_is_not_as_exported_is_refused(folder, name, damage):
    data = (folder / name).read_bytes()
    changed = {"changed": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[:-1], "gone": None}[damage]
    (folder / name).unlink()
    if changed is not None:
        (folder / name).write_bytes(changed)
    with pytest.raises(BadCheckpoint, match=rf"{name}: .*export it again"):
        from_pretrained(folder, backbone=False)


def test_a_digest_names_one_model_and_no_other(folder, bottleneck):
    digest = file_stamp(folder / CONFIG).split()[0]
    from_pretrained(folder, backbone=False, digest=digest.upper())
    # Somebody changes the model, and everything that speaks of it.
    other = replace(bottleneck, values=bottleneck.values + 1)
    (folder / MODEL).write_bytes(other.to_bytes())
    said = {"files": {ORIGIN: file_stamp(folder / MODEL)}, "request": {**UNLEARNED, "pairs": 7}}
    (folder / CERTIFICATE).write_text(json.dumps({"certificate": said, "signature": None}))
    write_config(folder)
    from_pretrained(folder, backbone=False)
    with pytest.raises(BadCheckpoint, match=f"expected {digest}: it is another model"):
        from_pretrained(folder, backbone=False, digest=digest)


def test_a_certificate_of_another_model_is_refused(folder):
    for said in ({"files": {ORIGIN: "0" * 64 + " 1"}}, {"files": {"values/x": file_stamp(folder / MODEL)}}):
        whole = {"certificate": {**said, "request": UNLEARNED}, "signature": None}
        (folder / CERTIFICATE).write_text(json.dumps(whole))
        write_config(folder)
        with pytest.raises(BadCheckpoint, match="made for another model"):
            from_pretrained(folder, backbone=False)
    changes: list[dict[str, object]] = [{"budget": 4}, {"classes": []}, {"method": "uve"}]
    for change in changes:
        other = {"files": {ORIGIN: file_stamp(folder / MODEL)}, "request": {**UNLEARNED, **change}}
        (folder / CERTIFICATE).write_text(json.dumps({"certificate": other, "signature": None}))
        write_config(folder)
        with pytest.raises(BadCheckpoint, match="is of another request than the one that left"):
            from_pretrained(folder, backbone=False)
    (folder / CERTIFICATE).write_text("[]")
    write_config(folder)
    with pytest.raises(BadCheckpoint, match="not a certificate"):
        check_certificate(folder, read(folder))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda said: said.update(format="dkvb-model/2"), "format found 'dkvb-model/2', expected 'dkvb-model/1'"),
        (lambda said: said.update(head="mlp"), "head found 'mlp'"),
        (lambda said: said["files"].update({"../root": "0" * 64 + " 1"}), "at most of"),
        (lambda said: said["files"].pop(MODEL), f"size of {MODEL}"),
        (lambda said: said["files"].update({MODEL: "short"}), f"size of {MODEL}"),
        (lambda said: said["id2label"].update({"0": "cat"}), "id2label: other names"),
        (lambda said: said.pop("header"), "not what `dkvb export` writes"),
        (lambda said: said.update(header=3), "not what `dkvb export` writes"),
        (lambda said: said["header"].update(keys="other"), "its header is not that of"),
    ],
)
def test_a_config_that_no_export_writes_is_refused(folder, change, words):
    said = json.loads((folder / CONFIG).read_text())
    change(said)
    (folder / CONFIG).write_text(json.dumps(said))
    with pytest.raises(BadCheckpoint, match=words):
        from_pretrained(folder, backbone=False)


@pytest.mark.parametrize("content", ["", "[]", "null", "{", '{"format": "dkvb-model/1"}'])
def test_a_config_that_is_none_is_refused(folder, content):
    (folder / CONFIG).write_text(content)
    with pytest.raises(BadCheckpoint, match=CONFIG):
        from_pretrained(folder, backbone=False)


def test_a_folder_that_is_none_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelMissing, match="no such folder, and no repository"):
        from_pretrained("gone")
    with pytest.raises(ModelMissing, match="no such folder, and no repository"):
        from_pretrained(tmp_path / "not" / "there")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelMissing, match=r"empty/config.json: .*name a folder that `dkvb export` wrote"):
        from_pretrained("empty")
    with pytest.raises(ModelMissing, match="has no revision 'v1'"):
        from_pretrained("empty", revision="v1")


@pytest.mark.parametrize("weight", [torch.zeros(D_Z, V + 1), torch.zeros(D_Z)])
def test_a_linear_head_that_does_not_fit_is_refused(linear, weight):
    save_file({"weight": weight, "bias": torch.zeros(V)}, linear / MODEL)
    write_config(linear, head="linear")
    with pytest.raises(BadCheckpoint, match="expected \\(d_z, v\\) and \\(v,\\) of 3 classes"):
        from_pretrained(linear, backbone=False)
    save_file({"bias": torch.zeros(V)}, linear / MODEL)
    write_config(linear, head="linear")
    with pytest.raises(BadCheckpoint, match="not a readable linear head"):
        from_pretrained(linear, backbone=False)


ALONE = """
import sys
import torch
from dkvb.pretrained import from_pretrained

model = from_pretrained(sys.argv[1], backbone=False)
model(torch.zeros(2, 7))
heavy = ("ray", "zarr", "numba", "polars", "timm", "open_clip", "huggingface_hub", "onnx", "jobs", "store", "cluster")
print([name for name in heavy if name in sys.modules])
"""


def test_a_copy_is_loaded_elsewhere_without_ray_zarr_and_the_root(folder, tmp_path):
    elsewhere = shutil.copytree(folder, tmp_path / "else" / "where")
    shutil.rmtree(folder)
    line = [sys.executable, "-c", ALONE, elsewhere]
    done = subprocess.run(line, capture_output=True, text=True, cwd="/", check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.fixture(params=["lite0", "layer3"])
def loaded(request, lite0):
    if request.param == "lite0":
        return lite0
    from dkvb.backbones import load_backbone

    return load_backbone(timm_spec(layer="layer3"), seed=3)


def test_a_backbone_s_tensors_take_the_place_of_its_weights(loaded, tmp_path, monkeypatch):
    tensors = {name: tensor.clone() for name, tensor in loaded.module.state_dict().items()}
    save_file(tensors, tmp_path / "backbone.safetensors")

    def gone(*_):
        raise AssertionError("the weights themselves are not looked for")

    monkeypatch.setattr("dkvb.efficientnet_lite.weights_file", gone)
    again = backbone_of({"backbone": loaded.facts}, tensors=tmp_path / "backbone.safetensors")
    assert again.facts["weights_sha256"] == loaded.facts["weights_sha256"]
    images = batch(loaded, 2)
    assert torch.equal(again.module(images), loaded.module(images))
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    save_file({**tensors, name: tensors[name] + 1}, tmp_path / "backbone.safetensors")
    with pytest.raises(BackboneWeightsInvalid, match="not the backbone of this checkpoint: weights_sha256"):
        backbone_of({"backbone": loaded.facts}, tensors=tmp_path / "backbone.safetensors")
    tensors.pop(name)
    save_file(tensors, tmp_path / "backbone.safetensors")
    with pytest.raises(BackboneWeightsInvalid, match="does not fit"):
        backbone_of({"backbone": loaded.facts}, tensors=tmp_path / "backbone.safetensors")


def test_a_folder_holds_a_checkpoint_as_it_is(folder, bottleneck):
    assert torch.equal(Bottleneck.load(folder / MODEL).values, bottleneck.values)
