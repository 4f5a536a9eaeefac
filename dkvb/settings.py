"""Settings of keys and of heads: what a spec is made of, so without torch."""

from dataclasses import dataclass, field
from typing import Annotated

from dkvb.errors import BadSetting
from dkvb.limits import above, at_least, check_limits, from_below, from_to, one_of, whole

OPTIMIZERS = ("nesterov", "sgd")

IF_SET = {"in JSON": "if set"}
"""As `jobs.step.IF_SET`: digests of trainings without such a setting stay as they were."""

MOST_DECAY = 0.5
"""With momentum 0.9 a learning rate of 1 stays stable up to about 0.85."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """How keys are fitted; the defaults are the DKVB authors', except for what becomes of a dead key (`ema_step`)."""

    decay: Annotated[float, from_to(0, 1)] = 0.95
    """Share of the old average that is kept at each batch."""
    smoothing: Annotated[float, at_least(0)] = 1e-5
    """Laplace smoothing of the counts."""
    epochs: Annotated[int, whole(0)] = 10
    """Passes over the init data; 0 leaves the keys at their random start."""
    batch: Annotated[int, whole(1)] = 256
    """Items of a batch."""
    dead: Annotated[float, at_least(0)] = 0.1
    """A key whose average count falls below ``dead * batch / m`` is replaced; 0 replaces none."""

    def __post_init__(self) -> None:
        check_limits(self, BadSetting)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How a head is trained."""

    optimizer: Annotated[str, one_of(*OPTIMIZERS)] = "nesterov"
    """ "nesterov" (full batch, preconditioned) or "sgd" (the DKVB authors', who take up to 2000 epochs)."""
    epochs: Annotated[int, whole(1)] = 60
    """Passes over the training items; with a validation split, the most that are tried."""
    lr: Annotated[float, above(0)] | None = None
    """Learning rate; unless given 1.0 for nesterov, 0.3 for sgd."""
    momentum: Annotated[float, from_below(0, 1)] = 0.9
    """Momentum of nesterov."""
    batch: Annotated[int, whole(1)] = 256
    """Items of a batch of sgd."""
    clip: Annotated[float, above(0)] = 1.0
    """Largest norm of a gradient of sgd."""
    label_smoothing: Annotated[float, from_below(0, 1)] = 0.1
    """Share of the target spread evenly over the classes."""
    decay: Annotated[float, from_to(0, MOST_DECAY)] = field(default=0.0, metadata=IF_SET)
    """Of values, with nesterov: each item adds decay / 2 times the mean squared length of the rows that it fetches to
    the loss, which makes its minimum unique and its training items less than certain; up to 0.5."""
    validation: Annotated[float, from_below(0, 1)] = 0.1
    """Share of the training items held out to choose the number of epochs; 0 trains all epochs."""

    def __post_init__(self) -> None:
        check_limits(self, BadSetting)
        if self.decay and self.optimizer != "nesterov":
            raise BadSetting(f"decay: found {self.decay}, expected none with {self.optimizer}, or nesterov")

    @property
    def step(self) -> float:
        """The learning rate, given or by default."""
        return self.lr if self.lr is not None else 1.0 if self.optimizer == "nesterov" else 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class LdaSettings:
    """How discriminants are made of sums."""

    shrinkage: Annotated[float, above(0)] = 0.3
    """Times the mean variance of a feature, added to every variance."""

    def __post_init__(self) -> None:
        check_limits(self, BadSetting)
