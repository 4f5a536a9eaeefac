"""Methods of extensions (`dkvb.methods` entry points), taken up by the comparison as if they were its own.

An entry point names one of two things, whose protocols are ours:

- a baseline: an instance of a frozen dataclass that derives from `dkvb.baselines.Baseline`; its fields are its
  settings, numbers and texts, of which `trials` gives those to choose from;
- a way to choose pairs: a function of `jobs.comparison.methods.ForgetItems` that returns a `dkvb.orders.RemovalOrder`.

c: codebooks; m: pairs of a codebook; v: classes.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dkvb.baselines import Baseline, ForgetTask
from dkvb.extensions import METHODS, Extension
from dkvb.orders import RemovalOrder
from jobs.comparison.heads import Head
from jobs.comparison.methods import COMPARED, EXACT, ForgetItems, GradientMethod, MaskMethod

OWN = frozenset(method.name for method in (*COMPARED, EXACT))
"""Names that no extension may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedBaseline(GradientMethod):
    """A baseline of an extension, which is told what it was given wrong."""

    extension: Extension

    def trials(self, head: Head[Any], count: int) -> Sequence[Baseline]:
        """Settings to try, as `Baseline.trials`; raises: ExtensionFailed."""
        with self.extension.running():
            made: Any = list(head.trials(self.baseline, count))
            told = [json.dumps(asdict(one), sort_keys=True) for one in made]
        if len(made) != count or not all(isinstance(one, Baseline) for one in made):
            raise self.extension.failed(f"trials: found {len(made)}, expected {count} baselines: {', '.join(told)}")
        return list(made)

    def unlearn(
        self, baseline: Baseline, task: ForgetTask, *, seed: int, important: Tensor | None = None
    ) -> Iterator[Tensor]:
        """The weights after each epoch, as copies; raises: ExtensionFailed, also for no epoch."""
        own, shape = replace(task, weights=task.weights.clone()), task.weights.shape
        with self.extension.running():
            passes = iter(baseline.unlearn(own, seed=seed, important=important))
        epoch = 0
        while True:
            with self.extension.running():
                weights: Any = next(passes, None)
            if weights is None and epoch:
                return
            epoch += 1
            fits = isinstance(weights, Tensor) and weights.shape == shape and weights.dtype == torch.float32
            if not fits or not bool(weights.isfinite().all()):
                found = f"{tuple(weights.shape)} {weights.dtype}" if isinstance(weights, Tensor) else repr(weights)
                expected = f"finite {tuple(shape)} {torch.float32}"
                raise self.extension.failed(f"unlearn: found weights {found} after epoch {epoch}, expected {expected}")
            yield weights.detach().clone()


@dataclass(frozen=True, slots=True)
class Extended:
    """The methods of extensions that a comparison takes up."""

    gradient: tuple[GradientMethod, ...] = ()
    masks: tuple[MaskMethod, ...] = ()

    @classmethod
    def of(cls, releases: Mapping[str, str] | None) -> "Extended":
        """Load them.

        releases: name -> distribution and version that the plan was made with, None: none.
        raises: ExtensionMissing where another version is here, or none; ExtensionFailed.
        """
        made = [method(Extension(METHODS, name, release)) for name, release in (releases or {}).items()]
        gradient = tuple(one for one in made if isinstance(one, GradientMethod))
        return cls(gradient, tuple(one for one in made if isinstance(one, MaskMethod)))


def method(extension: Extension) -> GradientMethod | MaskMethod:
    """Load a method; raises: ExtensionMissing, ExtensionFailed."""
    found = extension.load()
    if extension.name in OWN:
        raise extension.failed("that is the name of a method of our own; its distribution has to give it another")
    about = (getattr(found, "__doc__", None) or "").strip().partition("\n")[0]
    if isinstance(found, Baseline) and is_dataclass(found):
        return ExtendedBaseline(name=extension.name, about=about, baseline=found, opened=True, extension=extension)
    if callable(found) and not isinstance(found, type):
        order = partial(checked_order, extension, found)
        return MaskMethod(name=extension.name, about=about, order=order, opened=True)
    raise extension.failed(
        f"found {found!r}, expected an instance of a dataclass that derives from dkvb.baselines.Baseline, or a "
        "function of jobs.comparison.methods.ForgetItems that returns a dkvb.orders.RemovalOrder"
    )


def checked_order(
    extension: Extension, choose: Callable[[ForgetItems], RemovalOrder], items: ForgetItems
) -> RemovalOrder:
    """The order that a function of an extension gives; raises: ExtensionFailed unless it fits the items' (c, m)."""
    with extension.running():
        order: Any = choose(replace(items, hits=items.hits.copy(), others=items.others.copy()))
    if not isinstance(order, RemovalOrder):
        raise extension.failed(f"found a {type(order).__name__}, expected a dkvb.orders.RemovalOrder")
    for name in ("position", "hits"):
        found: Any = getattr(order, name)
        whole = isinstance(found, np.ndarray) and np.issubdtype(found.dtype, np.integer)
        if not whole or found.shape != items.hits.shape:
            told = f"{found.shape} {found.dtype}" if isinstance(found, np.ndarray) else f"a {type(found).__name__}"
            raise extension.failed(f"order.{name}: found {told}, expected {items.hits.shape} int64")
    position: Any = order.position
    if position.min() < 0 or not 0 <= order.available <= position.size:
        expected = f"places from 0 on, and from 0 to {position.size} available"
        raise extension.failed(
            f"order: found places from {position.min()} on and {order.available} available, expected {expected}"
        )
    return order
