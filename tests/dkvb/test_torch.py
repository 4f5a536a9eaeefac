"""A checkpoint as a torch module."""

import copy
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from dkvb.bottleneck import Bottleneck
from dkvb.checkpoint import MASK_FORMAT, identity
from dkvb.codes import encode
from dkvb.errors import BadCheckpoint, BadSetting, ShapeMismatch
from dkvb.plain import BLOCK, encode_plain
from dkvb.torch import Model, load
from tests.dkvb import naive

C, M, V, N = 5, 7, 3, 23
HEADER = {"classes": ["ant", "bee", "cat"], "keys": "ab" * 32}


@pytest.fixture
def bottleneck():
    """On whole numbers, so that both paths decide ties alike; one codebook has no selectable key."""
    plain = naive.random_bottleneck(1, c=C, m=M, v=V, integer=True)
    selectable = torch.rand(C, M, generator=torch.Generator().manual_seed(2)) > 0.3
    selectable[3] = False
    return replace(plain, header=HEADER, selectable=selectable)


@pytest.fixture
def file(bottleneck, tmp_path):
    path = tmp_path / "bottleneck.safetensors"
    path.write_bytes(bottleneck.to_bytes())
    return path


@pytest.fixture
def model(file):
    return load(file, backbone=False)


@pytest.fixture
def z():
    return naive.random_items(1, N, integer=True).half()


def write_mask(path, mask, model=HEADER):
    about = {"format": MASK_FORMAT, "model": identity(model), "classes": ["ant"]}
    save_file({"mask": mask}, path, {"dkvb": json.dumps(about)})
    return path


def test_logits_are_those_of_the_bottleneck(model, bottleneck, z):
    assert torch.equal(model.codes(z), bottleneck.codes(z))
    assert (model.codes(z)[:, 3] == -1).all()
    assert torch.equal(model(z), bottleneck.logits(z))
    assert model.classes == HEADER["classes"]
    assert not model.training
    assert "classes=3, codebooks=5, keys=7, d_z=7" in repr(model)


@pytest.mark.parametrize("n", [0, 1, BLOCK + 3])
@pytest.mark.parametrize("every", [True, False])
def test_codes_in_plain_torch_are_those_of_the_kernel_on_whole_numbers(bottleneck, n, every):
    z, selectable = naive.random_items(3, n, integer=True), None if every else bottleneck.selectable
    found, expected = (
        path(z, bottleneck.projection, bottleneck.keys, selectable=selectable) for path in (encode_plain, encode)
    )
    assert found.dtype == torch.int16
    assert torch.equal(found, expected)


def test_a_mask_makes_a_model_that_has_forgotten_and_leaves_the_first_as_it_is(model, bottleneck, z, tmp_path):
    mask = torch.rand(C, M, generator=torch.Generator().manual_seed(5)) < 0.4
    path = write_mask(tmp_path / "mask.safetensors", mask)
    before = model(z)
    forgetful = model.mask(path)
    assert isinstance(forgetful, Model)
    assert torch.equal(forgetful(z), bottleneck.masked(mask).logits(z))
    assert torch.equal(forgetful.selectable, bottleneck.selectable & ~mask)
    assert forgetful.header["unlearned"]["classes"] == ["ant"]
    assert torch.equal(model(z), before)
    assert "unlearned" not in model.header
    again = forgetful.mask(write_mask(tmp_path / "more.safetensors", ~mask))
    assert not again.selectable.any()
    assert not again(z).any()


def test_a_mask_of_another_model_is_refused(model, tmp_path):
    mask = torch.zeros(C, M, dtype=torch.bool)
    with pytest.raises(BadCheckpoint, match="made for another model"):
        model.mask(write_mask(tmp_path / "mask.safetensors", mask, model={**HEADER, "keys": "cd" * 32}))
    with pytest.raises(BadCheckpoint, match=r"expected torch.bool \(5, 7\)"):
        model.mask(write_mask(tmp_path / "mask.safetensors", mask[:, 1:].contiguous()))


def test_the_state_of_one_model_is_loaded_into_another(model, bottleneck, z):
    other = Model(replace(bottleneck, values=torch.zeros(C, M, V)))
    assert not other(z).any()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(z), model(z))
    assert set(model.state_dict()) == {"projection", "keys", "values", "selectable"}
    assert list(model.parameters()) == []
    assert torch.equal(copy.deepcopy(model)(z), model(z))


def test_the_model_moves(model):
    """No other device need be there: on "meta" there are shapes alone."""
    moved = copy.deepcopy(model).to("meta")
    assert {tensor.device.type for tensor in moved.state_dict().values()} == {"meta"}


@pytest.mark.gpu
def test_codes_on_a_gpu_are_those_of_the_cpu(model, z):
    expected = model(z)
    moved = copy.deepcopy(model).to("cuda")
    assert moved(z).device.type == "cuda"
    assert torch.equal(moved(z).cpu(), expected)


def test_precision_is_not_changed_in_silence(model, z):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = model(z)
    assert torch.equal(inside, model(z))
    with pytest.raises(BadSetting, match="items select other keys"):
        copy.deepcopy(model).half()(z)


def test_what_does_not_fit_is_refused(model, z):
    with pytest.raises(ShapeMismatch, match=r"z \(b, d_z\)"):
        model(z[:, 1:])
    with pytest.raises(ShapeMismatch):
        model(z[0])
    with pytest.raises(BadSetting, match="loaded without its backbone"):
        model(torch.zeros(1, 3, 32, 32))
    with pytest.raises(BadSetting, match="loaded without its backbone"):
        _ = model.transform


def test_gradients_reach_values_that_ask_for_them(model, z):
    model.values.requires_grad_()
    model(z).sum().backward()
    assert model.values.grad is not None
    assert model.values.grad.any()


ALONE = """
import sys
import torch
from dkvb.torch import load

model = load(sys.argv[1], backbone=False)
model(torch.zeros(2, 7))
heavy = ("ray", "zarr", "numba", "polars", "timm", "open_clip", "jobs", "store")
print([name for name in heavy if name in sys.modules])
print(torch.__file__)
"""


def test_a_model_is_used_without_ray_zarr_and_numba(file):
    done = subprocess.run([sys.executable, "-c", ALONE, file], capture_output=True, text=True, timeout=120, cwd="/")
    assert done.returncode == 0, done.stderr
    said, library = done.stdout.splitlines()
    assert said == "[]"
    assert library == torch.__file__


def test_a_bottleneck_is_read_without_the_compiled_kernels(file):
    load_it = "from dkvb.bottleneck import Bottleneck\nBottleneck.load(sys.argv[1])"
    code = f"import sys\n{load_it}\nprint('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, timeout=120, cwd="/")
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
    assert isinstance(Bottleneck.load(file), Bottleneck)
