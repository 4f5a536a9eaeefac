"""Every method of unlearning, once: its name, the heads it is tried on, and what it is.

To add a way to choose pairs: a function in `dkvb.orders`, a `MaskMethod` here and in MASKS (which COMPARED holds), and
a higher VERSION of `jobs.kinds.compare`. The comparison then masks at its best N. For sweeps and `dkvb unlearn`
as well: a grid in `jobs.spec.schema`, `make_case` of `jobs.steps.sweep`, `make_mask` of `jobs.unlearn`.

To add a baseline: a class with `unlearn`, `trials` and `flops` in `dkvb.baselines`, a `GradientMethod` here, at the end
of GRADIENT and in COMPARED, and a higher VERSION of `jobs.kinds.tuning` and `jobs.kinds.compare`.

Of another distribution either needs nothing here: `jobs.comparison.extended`.

c: codebooks; m: pairs of a codebook.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dkvb.baselines import Baseline, Dampen, FineTune, ForgetTask, NegGrad, Scrub
from dkvb.orders import RemovalOrder, by_activation, by_contrast, by_example
from jobs.comparison.heads import Head, LinearHead, ValuesHead

BOTH = (LinearHead.name, ValuesHead.name)
VALUES = (ValuesHead.name,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method, whatever it does."""

    name: str
    about: str
    heads: tuple[str, ...] = BOTH
    opened: bool = False
    """Whether attacks open its models: they are probed and taught again. Membership is asked of all."""
    unmasked: bool = False
    """Whether its mask is taken back, pair by pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientMethod(Method):
    """A baseline, tuned on some classes."""

    baseline: Baseline
    """With its default settings: SCRUB's and dampening's are their authors', the others ours."""

    def trials(self, head: Head[Any], count: int) -> Sequence[Baseline]:
        """Settings to try on a head, from the smallest on."""
        return head.trials(self.baseline, count)

    def unlearn(
        self, baseline: Baseline, task: ForgetTask, *, seed: int, important: Tensor | None = None
    ) -> Iterator[Tensor]:
        """The weights after each epoch of one of the trials; arguments as of `Baseline.unlearn`."""
        return baseline.unlearn(task, seed=seed, important=important)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetItems:
    """The training items to forget, as an order of removal is made of them."""

    codes: NDArray[np.int16]
    """(n_f, c)."""
    hits: NDArray[np.int64]
    """(c, m), hits of these items."""
    others: NDArray[np.int64]
    """(c, m), hits of all other training items."""
    seed: int
    """Of the permutation of the items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskMethod(Method):
    """Masks that grow in an order of removal, up to the N that is best on the training items."""

    order: Callable[[ForgetItems], RemovalOrder]
    grid: str | None = None
    """The method of the spec whose grid it has; one of shares without."""
    weight: float | None = None
    """What a hit of another class counts in its ranking, where the rules for N are tried on it; None where not."""
    heads: tuple[str, ...] = VALUES


NONE = Method(name="none", about="The model before anything is forgotten.", opened=True)

SCRUB = GradientMethod(
    name="scrub",
    about="SCRUB: away from the model before on the class, true to labels and it on the rest.",
    baseline=Scrub(),
    opened=True,
)
SCRUB_R = Method(name="scrub+r", about="SCRUB, back at the epoch that errs on the class as on held-out items.")
NEGGRAD = GradientMethod(
    name="neggrad+",
    about="NegGrad+: down the loss of the rest and up that of the class.",
    baseline=NegGrad(),
    opened=True,
)
FINETUNE = GradientMethod(name="finetune", about="Fine-tuning on the rest.", baseline=FineTune(), opened=True)
SSD = GradientMethod(
    name="ssd",
    about="Selective synaptic dampening: weights that matter for the class shrink.",
    baseline=Dampen(),
    opened=True,
)
GRADIENT = (SCRUB, NEGGRAD, FINETUNE, SSD)
"""All that are tuned, in the order of the tuning step's units."""

COLUMN = Method(name="column", about="Control: the class's column of the weights is zero.", opened=True)
LOGIT = Method(name="logit", about="Control: the class's logit is minus infinity.")
RETRAIN = Method(name="retrain", about="The oracle: the same head, trained without the class.", opened=True)

UVA = MaskMethod(
    name="uva",
    about="Unlearning via Activations: the most activated pairs go first.",
    order=lambda items: by_activation(items.hits),
    grid="uva",
    weight=0.0,
    opened=True,
    unmasked=True,
)
UVA_PER_CODEBOOK = MaskMethod(
    name="uva per codebook",
    about="As many pairs of each codebook.",
    order=lambda items: by_activation(items.hits, scope="per-codebook"),
)
UVE = MaskMethod(
    name="uve",
    about="Unlearning via Examples: the pairs of one example after another go.",
    order=lambda items: by_example(items.codes, items.hits, seed=items.seed),
    grid="uve",
    opened=True,
    unmasked=True,
)
MASKS = (UVA, UVA_PER_CODEBOOK, UVE)
"""Every way to choose pairs."""

UVA_RULE = Method(
    name="uva by tau", about="UvA at the N of the rule, which reads no label.", heads=VALUES, opened=True, unmasked=True
)
RANDOM = Method(name="random", about="Control: as many random pairs of each codebook as UvA takes.", heads=VALUES)
UVA_ZERO = Method(name="uva zero", about="UvA, but a masked pair votes zero.", heads=VALUES)
UVA_DROP = Method(name="uva drop", about="UvA, but the codebook of a masked pair does not vote.", heads=VALUES)

COMPARED: tuple[Method, ...] = (
    *(NONE, SCRUB, SCRUB_R, NEGGRAD, FINETUNE, SSD, COLUMN, LOGIT, RETRAIN),
    *(*MASKS, UVA_RULE, RANDOM, UVA_ZERO, UVA_DROP),
)
"""All that are compared, in the order of the tables."""

REACHING = (UVA, UVE)
"""Ways to choose pairs whose reach is looked at: several classes, single items."""

EXACT = Method(
    name="exact",
    about="The class leaves the sums that the head is solved for from.",
    heads=("linear-lda", "values-lda"),
    opened=True,
)
"""On heads that are solved for; on trained ones retraining is what is exact."""

UVA_RECOUNTED = Method(name="uva recounted", about="UvA by the rule, on counts under the mask so far.", heads=VALUES)
UVE_ALL = Method(name="uve all", about="UvE of every example.", heads=VALUES)


def contrast(weight: float) -> MaskMethod:
    """The ranking by contrast with the other classes: rules for N are tried on it, and nothing is masked by it."""
    return MaskMethod(
        name=f"contrast {weight:g}",
        about="The pairs that most set the class apart go first.",
        order=lambda items: by_contrast(items.hits, items.others, weight=weight),
        weight=weight,
    )


def by_proxy(images: str) -> Method:
    """UvA by the rule from counts of other images: half of the test images ("split"), "flipped" or "other" ones."""
    return Method(name=f"uva by {images}", about="UvA by the rule, on counts of other images.", heads=VALUES)


class Trial(NamedTuple):
    """One of the settings that a baseline has tried."""

    place: int
    edge: bool
    """Whether it is the first or last: a better one may lie beyond."""


def chosen(marks: Mapping[str, Any], head: str, method: str, *, forget: int | None) -> Trial:
    """The trial whose mean score over the tuning classes other than the forget class is highest.

    marks: of the units of `jobs.steps.tuning`.
    forget: the class; None where no tuning class is left out.
    """
    rows = [m for m in marks.values() if (m["head"], m["method"]) == (head, method) and m["class"] != forget]
    scores = np.array([[trial["score"] for trial in row["trials"]] for row in rows]).mean(0)
    best = int(scores.argmax())
    return Trial(best, best in (0, len(scores) - 1) and len(scores) > 1)


class Tuned(NamedTuple):
    """A baseline with the settings of that trial."""

    baseline: Baseline
    edge: bool


def tuned(marks: Mapping[str, Any], head: Head[Any], method: GradientMethod, *, forget: int | None) -> Tuned:
    """Choose the settings of a method on a head; arguments as of `chosen`."""
    trial = chosen(marks, head.name, method.name, forget=forget)
    count = len(next(iter(marks.values()))["trials"])
    return Tuned(method.trials(head, count)[trial.place], trial.edge)
