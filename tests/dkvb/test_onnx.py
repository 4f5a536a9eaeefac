"""ONNX says what torch says, but for near ties; and a graph that does not is told."""

import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.transforms.functional import to_tensor

from dkvb.backbones import Backbone
from dkvb.errors import BadSetting, NoOnnx, ShapeMismatch
from dkvb.onnx import ROUNDING, Said, compare, compared, write_onnx
from dkvb.torch import LinearModel, Model
from tests.dkvb import naive

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

C, M, V, N, D_Z = 5, 13, 3, 23, 7
SIZE = 17, 19
FACTS: dict[str, Any] = {"size": [*SIZE], "precision": "float32"}
HEADER = {"classes": ["ant", "bee", "cat"], "backbone": FACTS}


class Tiny(nn.Module):
    """A network that takes no time."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.steps = nn.Sequential(nn.Conv2d(3, D_Z, 5, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, images):
        return 20 * self.steps(images)


def backbone(seed=0, facts=FACTS):
    module = Tiny(seed).eval().requires_grad_(requires_grad=False)
    return Backbone(module=module, transform=to_tensor, d_z=D_Z, facts=facts)


def values_model(seed=1, network=0):
    """One codebook has no selectable key, and several keys of others are masked."""
    plain = naive.random_bottleneck(seed, c=C, m=M, v=V)
    selectable = torch.rand(C, M, generator=torch.Generator().manual_seed(2)) > 0.3
    selectable[3] = False
    return Model(replace(plain, header=HEADER, selectable=selectable), backbone(network)).eval()


def linear_model(seed=4, network=0):
    gen = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(D_Z, V, generator=gen), torch.randn(V, generator=gen)
    return LinearModel(weight, bias, HEADER, backbone(network)).eval()


def pictures(n=N, size=8):
    gen = torch.Generator().manual_seed(9)
    return torch.randn(n, 3, *SIZE, generator=gen).split(size)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    written = {}
    for name, model in (("values", values_model()), ("linear", linear_model())):
        (written[name],) = write_onnx(model, folder / f"{name}.onnx")
    return written


def test_a_bottleneck_says_the_same(files):
    found = compare(values_model(), files["values"], pictures())
    assert found.problems() == []
    assert (found.images, found.codes, found.embeddings) == (N, N * C, N * D_Z)
    assert found.head <= ROUNDING
    assert found.searches_differ == 0
    assert f"0 of {N} predictions differ" in found.text()


def test_a_linear_head_says_the_same(files):
    found = compare(linear_model(), files["linear"], pictures())
    assert found.problems() == []
    assert (found.images, found.codes) == (N, 0)
    assert "codes" not in found.text()


@pytest.mark.parametrize("n", [1, 2, 17])
def test_a_batch_may_be_of_any_size_and_outputs_have_names_and_types(files, n):
    session = onnxruntime.InferenceSession(str(files["values"]), providers=["CPUExecutionProvider"])
    (images,) = pictures(n, n)
    logits, z, codes = session.run(["logits", "embeddings", "codes"], {"images": images.numpy()})
    assert (logits.shape, z.shape, codes.shape) == ((n, V), (n, D_Z), (n, C))
    assert [str(each.dtype) for each in (logits, z, codes)] == ["float32", "float16", "int16"]
    assert (codes[:, 3] == -1).all()
    model = values_model()
    assert model.selectable[torch.arange(C), torch.from_numpy(codes).long()][:, [0, 1, 2, 4]].all()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: values_model(network=1), "embeddings differ"),
        (lambda: values_model(seed=2), "codes of equal embeddings differ"),
    ],
)
def test_a_graph_of_another_model_is_told(files, other, words):
    problems = compare(other(), files["values"], pictures()).problems()
    assert any(words in problem for problem in problems), problems


def test_a_graph_with_other_values_is_told(files):
    model = values_model()
    model.values[0] += 1
    problems = compare(model, files["values"], pictures()).problems()
    assert any("logits of equal codes" in problem for problem in problems), problems
    other = linear_model()
    other.bias[1] += 0.5
    problems = compare(other, files["linear"], pictures()).problems()
    assert any("logits of equal codes or embeddings" in problem for problem in problems), problems


def test_a_key_that_is_not_selectable_is_no_near_tie(files):
    model = values_model()
    said = compare(model, files["values"], pictures())
    assert said.tie == 0
    model.selectable[0] = False
    model.selectable[0, 0] = True  # torch can select this one alone
    found = compare(model, files["values"], pictures())
    assert found.tie == torch.inf
    assert found.problems()


def both(model, logits, codes):
    """Sides that differ in what is given alone."""
    z = model.embed(torch.cat(pictures()))
    ours = Said(model.head(z), z, model.codes(z))
    return ours, Said(ours.logits + logits, z, ours.codes + codes)


def test_a_prediction_that_no_code_accounts_for_is_told():
    model = values_model()
    shift = torch.zeros(N, V)
    ours, _ = both(model, shift, 0)
    first, second = ours.logits.topk(2).indices[5]
    margin = float(ours.logits[5, first] - ours.logits[5, second])
    shift[5, second] = 2 * margin
    found = compared(model, *both(model, shift, torch.zeros(1, dtype=torch.int16)))
    assert (found.predictions_differ, found.predictions_unexplained, found.logits_unexplained) == (1, 1, 1)
    assert found.margin == pytest.approx(margin)
    assert len(found.problems()) == 3  # also the logits of equal codes


def test_differences_of_rounding_are_no_problem():
    model = values_model()
    shift = torch.full((N, V), 1e-6)
    found = compared(model, *both(model, shift, torch.zeros(1, dtype=torch.int16)))
    assert found.problems() == []
    assert found.logits == pytest.approx(1e-6, rel=0.1)


def test_what_a_graph_cannot_hold_is_refused(tmp_path):
    with pytest.raises(BadSetting, match="loaded without its backbone"):
        write_onnx(Model(values_model().bottleneck), tmp_path / "a.onnx")
    lower = {**FACTS, "precision": "bfloat16"}
    model = Model(replace(values_model().bottleneck, header={**HEADER, "backbone": lower}), backbone(facts=lower))
    with pytest.raises(BadSetting, match="found a backbone in bfloat16, expected float32"):
        write_onnx(model, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_tensors_of_a_large_graph_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr("dkvb.onnx.LARGEST", 100)
    written = write_onnx(values_model(), tmp_path / "model.onnx")
    assert [path.name for path in written] == ["model.onnx", "model.onnx.data"]
    assert written[0].stat().st_size < written[1].stat().st_size + 50_000
    assert compare(values_model(), written[0], pictures()).problems() == []


def test_nothing_is_compared_with_nothing(files):
    with pytest.raises(ShapeMismatch, match="found none"):
        compare(values_model(), files["values"], [])


def test_missing_libraries_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(NoOnnx, match=r"pip install 'dkvb-unlearning\[onnx\]'"):
        write_onnx(values_model(), tmp_path / "model.onnx")
