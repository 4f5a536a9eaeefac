"""What a request did, as records and for people. No torch: a request waits for it."""

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from jobs.kept import ELSEWHERE, folder_text
from jobs.printable import per_cent, shown

if TYPE_CHECKING:
    from jobs.query.measure import Measured

VERSION = 4
"""Raised whenever the same request would give another result, so that no folder holds files of two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSpec:
    """What a mask is made of: `spec.json` of its artefact, and part of its header."""

    version: int
    classes: list[str]
    method: str
    """ "uva", by another rank "uva-values" or "uva-contrast"; "uve"."""
    budget: int
    """N, as given or as chosen."""
    share: float | None
    tau: float | None
    """The share that the rule's N holds; None where N or a share was given."""
    scope: str | None
    """Of uva."""
    seed: int | None
    """Of uve."""
    bottleneck: str
    """Digest of the values step."""
    counts: str
    """Digest of the counts step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a mask takes away."""

    budget: int
    """N; of several classes under uve the largest."""
    pairs_masked: int
    pairs_masked_share: float
    """Of all pairs."""
    forget_hit_share: float
    """Of the classes' training activations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlearned:
    """What a request did."""

    spec: MaskSpec
    effect: Effect
    measured: "Measured | None"
    """What the mask did; None where that was not measured."""
    not_measured: str
    """Why not; empty where it was."""
    mask: str
    """Where it is."""
    checkpoint: str | None
    """Where it is, if there is one."""
    mask_only: bool
    mask_seconds: float
    """From the request to the mask on disk."""
    seconds: float
    """Of all of it but what was measured."""
    still_there: list[str]
    """What on the root holds items of the classes, or was made of them: folders (`jobs.kept.kept_folders`)."""
    certificate: str
    """Where the certificate of this request is, in the log of the root."""

    def to_json(self) -> dict[str, Any]:
        """All of it in one JSON object."""
        rest = {field.name: getattr(self, field.name) for field in fields(self)}
        measured = None if self.measured is None else self.measured.to_json()
        return {**asdict(rest.pop("spec")), **asdict(rest.pop("effect")), **rest, "measured": measured}


def as_text(done: Unlearned) -> str:
    """What was done, for people."""
    spec, effect = done.spec, done.effect
    if spec.tau is not None:
        of = " of what is ranked" if spec.method.startswith("uva-") else ""
        chosen = f", the smallest that holds {100 * spec.tau:g} %{of}"
    else:
        chosen = "" if spec.share is None else f", by share {spec.share:g}"
    checkpoint = done.checkpoint or "none, as asked"
    if done.checkpoint and done.mask_only:
        checkpoint += " (of an earlier request)"
    return "\n".join(
        [
            f"masked: {', '.join(map(shown, spec.classes))} ({spec.method}, N = {spec.budget}{chosen})",
            f"  masked pairs  {effect.pairs_masked} ({per_cent(effect.pairs_masked_share)} of all), holding "
            f"{per_cent(effect.forget_hit_share, 1)} of the classes' training activations",
            *(done.measured.lines() if done.measured else [f"  not measured  {done.not_measured}"]),
            f"  mask          {done.mask} ({1000 * done.mask_seconds:.0f} ms)",
            f"  checkpoint    {checkpoint} ({1000 * done.seconds:.0f} ms in all)",
            f"  certificate   {done.certificate}",
            *folder_text("still there   what holds their items or was made of them:", done.still_there),
            f"  elsewhere     {ELSEWHERE}",
        ]
    )
