"""The parts of a spec that say how a head is made: trained, or solved for from sums over items."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Annotated

from dkvb.limits import above, one_of, whole
from dkvb.settings import LdaSettings, TrainSettings
from jobs.spec.bounds import Wrong, refuse
from jobs.step import IF_SET

METHODS = ("trained", "lda")

TRAINED = ("linear", "values")
"""Heads that are trained, as [compare] names them."""

SOLVED = ("linear-lda", "values-lda")
"""Heads that are solved for, likewise."""

BITS = 10
"""Bits after the point of whole embeddings, unless given."""

MOST_BITS = 24
"""The smallest step of a float16 is 2^-24."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec(TrainSettings):
    """How a head is made."""

    method: Annotated[str, one_of(*METHODS)] | None = None
    """ "trained", as unless given, or "lda": by linear discriminant analysis from sums, which can forget exactly."""
    shrinkage: Annotated[float, above(0)] | None = None
    """Of lda: times the mean variance of a feature, added to every variance; 0.3 unless given."""

    def __post_init__(self) -> None:
        TrainSettings.__post_init__(self)
        refuse(self._wrong())

    def _wrong(self) -> Iterator[Wrong]:
        for part in fields(self):
            given, trains = getattr(self, part.name), part.name in TrainSettings.__dataclass_fields__
            if part.name != "method" and trains == (self.method == "lda") and given != part.default:
                why = "lda trains nothing" if trains else 'it belongs to method = "lda"'
                yield Wrong(f"found {given}, but {why}: leave it out", (part.name,))

    @property
    def _lda(self) -> dict[str, float]:
        return {} if self.shrinkage is None else {"shrinkage": self.shrinkage}

    @property
    def settings(self) -> TrainSettings | None:
        """How it is trained; None: not at all."""
        if self.method == "lda":
            return None
        return TrainSettings(**{part.name: getattr(self, part.name) for part in fields(TrainSettings)})

    @property
    def lda(self) -> LdaSettings | None:
        """How it is solved for; None: it is trained."""
        return LdaSettings(**self._lda) if self.method == "lda" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearSpec(HeadSpec):
    """How the linear head is made."""

    bits: Annotated[int, whole(0, MOST_BITS)] | None = None
    """Of lda: an embedding is rounded to multiples of 2^-bits; 10 unless given. It may reach 2^(15 - bits)."""

    def _wrong(self) -> Iterator[Wrong]:
        yield from HeadSpec._wrong(self)
        if self.decay and self.method != "lda":
            yield Wrong(f"found {self.decay}, but it belongs to [values]: leave it out", ("decay",))

    @property
    def whole(self) -> int | None:
        """Bits after the point of whole embeddings; None: it is trained."""
        if self.method != "lda":
            return None
        return BITS if self.bits is None else self.bits


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedHeads:
    """Heads that are solved for and compared, as the step is told of them: part of its digest."""

    values: LdaSettings | None = field(default=None, metadata=IF_SET)
    """None: not compared; likewise below."""
    linear: LdaSettings | None = field(default=None, metadata=IF_SET)
    bits: int = BITS
    """Bits after the point of whole embeddings."""

    @property
    def names(self) -> list[str]:
        """Of those that are there."""
        return [name for name, lda in zip(SOLVED, (self.linear, self.values), strict=True) if lda is not None]
