"""What kernels compile to for a GPU: sums are rounded as their modules say, also where there is no GPU to run them.

Each kernel is started as the product starts it, with the arguments that it would have; only the start is replaced, by
Triton's compiler for the H100 (compute capability 9.0).
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dkvb.gpu import codes, keys, neighbours, scores, sweep, values
from dkvb.keys import KeySettings
from dkvb.sweep import Items
from tests.dkvb.gpu.drawn import drawn
from tests.dkvb.gpu.test_sweep import case

compiler = pytest.importorskip("triton.compiler")

TYPES = {
    torch.float32: "*fp32",
    torch.int16: "*i16",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.uint8: "*u8",
}
MACHINE = re.compile(r"\b((?:fma|mul|add|sub|div)(?:\.\w+)*\.f32)\b")
"""Arithmetic of single precision in PTX."""


class Compiled:
    """Stands where a kernel is started: compiles it instead, and counts its arithmetic."""

    def __init__(self) -> None:
        self.arithmetic: dict[str, Counter[str]] = {}

    def __call__(self, made: Any, grid: tuple[int, ...], *arguments: Any, num_warps: int = 4, **constants: Any) -> None:
        del grid
        named = dict(zip(made.arg_names, arguments, strict=False)) | constants
        fixed = constants | {name: 1 for name, value in named.items() if type(value) is int and value == 1}
        signature = {name: "constexpr" if name in fixed else kind(value) for name, value in named.items()}
        text = compiler.compile(
            compiler.ASTSource(made, signature, fixed),
            target=compiler.compiler.GPUTarget("cuda", 90, 32),
            options={"num_warps": num_warps, "enable_fp_fusion": False},
        ).asm["ptx"]
        self.arithmetic[made.__name__] = Counter(MACHINE.findall(text))


def kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return TYPES[value.dtype]
    return "fp32" if isinstance(value, float) else "i32"


@pytest.fixture
def compiled(monkeypatch) -> Callable[..., Counter[str]]:
    seen = Compiled()
    for module in (codes, keys, neighbours, scores, sweep, values):
        monkeypatch.setattr(module, "launch", seen)
    return lambda name: seen.arithmetic[name]


@pytest.mark.parametrize("sizes", [{"d_k": 14}, {"c": 1, "m": 1, "d_k": 1, "d_z": 1}], ids=["several", "single"])
def test_scores_are_chains_of_fused_multiply_adds_that_keep_small_numbers(compiled, sizes):
    model, z = drawn(1, 40 if len(sizes) == 1 else 1, **sizes)
    codes.encode(z, model.projection, model.keys)
    neighbours.neighbours(z, model.projection, model.keys, selectable=model.selectable, r=len(z))
    for name in ("_project", "_nearest", "_list"):
        assert set(compiled(name)) == {"fma.rn.f32"}, name


def single() -> tuple[Any, Any, Any]:
    """The smallest sweep: one of everything, which Triton compiles in."""
    model, z = drawn(3, 1, c=1, m=1, v=1, d_z=1, d_k=1)
    lists = torch.zeros(1, 1, 1, dtype=torch.int16)
    return model, Items(z, lists[0], lists), torch.zeros(1, 1, 1, dtype=torch.uint8).numpy()


@pytest.mark.parametrize("made", [lambda: case(2), single], ids=["several", "single"])
def test_a_sweep_adds_values_without_fusing(compiled, made):
    model, items, table = made()
    sets = table.shape[2]
    sweep.sweep(model, items, table, budgets=1 if sets == 1 else 5, forget=[[0]] * sets)
    found = compiled("_sweep")
    assert set(found) <= {"fma.rn.f32", "add.rn.f32", "sub.rn.f32"}
    assert made is single or (found["add.rn.f32"] and found["sub.rn.f32"] and found["fma.rn.f32"])


@pytest.mark.parametrize("v", [1, 5, 1500])
def test_values_are_added_without_fusing_and_divided_exactly(compiled, v):
    picks, weights, error = torch.zeros(4, 2, dtype=torch.int16), torch.zeros(6, v), torch.zeros(4, v)
    values.forward(picks, weights)
    values.ItemsByPair.of(picks, 3, None).accelerate(weights, weights.clone(), error, lr=1.0, momentum=0.9)
    assert set(compiled("_forward")) == {"add.rn.f32", "div.rn.f32"}
    assert set(compiled("_accelerate")) == {"mul.rn.f32", "add.rn.f32", "sub.rn.f32"}


def test_batches_of_keys_are_added_without_fusing(compiled):
    _, z = drawn(4, 40)
    keys.fit_codebooks(z, [0], (8, 5), seed=1, settings=KeySettings(epochs=1, dead=0))
    assert set(compiled("_add")) == {"mul.rn.f32", "add.rn.f32"}
