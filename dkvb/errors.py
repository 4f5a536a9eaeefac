"""Errors of the dkvb package: one base, every leaf also a builtin."""

from collections.abc import Sequence
from typing import Self


class DkvbError(Exception):
    """Base of every error the dkvb package raises on purpose; its text is meant for the user."""

    exit_code = 1
    """Exit code of a command that ends with this error."""
    final = True
    """Whether another attempt would fail the same way."""


class ShapeMismatch(DkvbError, ValueError):
    """Two tensors that belong together do not fit."""

    @classmethod
    def between(cls, name: str, shape: Sequence[int], other: str, expected: Sequence[int]) -> Self:
        """The error for two named tensors whose shapes disagree."""
        return cls(f"{name} has shape {tuple(shape)}, which does not fit {other} of shape {tuple(expected)}")


class BadBudget(DkvbError, ValueError):
    """More pairs or examples than there are, a share outside [0, 1], or an unknown way to rank pairs."""

    exit_code = 2


class BadCheckpoint(DkvbError, ValueError):
    """A file that is not a checkpoint of this package, or a damaged one."""


class ModelMissing(DkvbError, FileNotFoundError):
    """An exported model that is neither in a folder nor on a hub within reach."""


class NoOnnx(DkvbError, ImportError):
    """ONNX was asked for, and its libraries are not installed."""

    exit_code = 2


class OnnxDiffers(DkvbError, ArithmeticError):
    """An ONNX graph that computes something else than the model in torch."""


class BackboneSpecError(DkvbError, ValueError):
    """A backbone that cannot exist: an unknown name, or settings that do not go together."""


class BackboneWeightsMissing(DkvbError, FileNotFoundError):
    """Weights that are neither on this machine nor within its reach."""


class BackboneWeightsInvalid(DkvbError, ValueError):
    """A weight file that is damaged, unsafe to open, or made for another model."""


class BadImages(DkvbError, ValueError):
    """Images of a mode, shape or dtype that a backbone does not take."""


class BadSetting(DkvbError, ValueError):
    """A setting that a method does not allow."""


class NoTriton(DkvbError, ImportError):
    """A GPU, and no Triton to compute on it."""


class BadSums(DkvbError, ValueError):
    """Sums over items that would be rounded, were damaged, or do not hold the items that are to be taken away."""


class ExtensionMissing(DkvbError, ImportError):
    """An extension that a spec names and that is not installed here, or not in the version that was planned with."""

    exit_code = 2


class ExtensionFailed(DkvbError, RuntimeError):
    """Code of an extension that raised something, or gave what its protocol does not allow."""
