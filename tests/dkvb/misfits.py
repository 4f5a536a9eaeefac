"""Tensors of a bottleneck and of its items, of which one does not fit the others."""

from typing import Any

import pytest
import torch

FITTING = {"z": (5, 7), "projection": (3, 7, 2), "keys": (3, 11, 2), "selectable": (3, 11)}

each_misfit = pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("z", (5, 6)),
        ("z", (7,)),
        ("projection", (2, 7, 2)),
        ("projection", (3, 7, 5)),
        ("keys", (2, 11, 2)),
        ("keys", (3, 11, 5)),
        ("selectable", (3, 13)),
        ("selectable", (2, 11)),
        ("selectable", (5, 11)),
        ("selectable", (3, 1)),
    ],
)


def tensors_with(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Ones by name; `name` has this shape, all others those that fit."""
    shapes = {**FITTING, name: shape}
    return {
        key: torch.ones(own, dtype=torch.bool if key == "selectable" else torch.float32) for key, own in shapes.items()
    }
