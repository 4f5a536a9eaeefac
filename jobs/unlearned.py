"""What a request did, as records and for people. No torch: a request waits for it."""

from dataclasses import asdict, dataclass
from typing import Any

from jobs.printable import shown
from jobs.results.headline import GONE


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSpec:
    """What a mask is made of: `spec.json` of its artefact, and part of its header."""

    version: int
    classes: list[str]
    method: str
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
class Share:
    """An accuracy as a count, with its Clopper-Pearson 95 % bounds; None over no items."""

    right: int | None
    items: int
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the sweep saw of a mask."""

    train: Share
    """Of the class's training items."""
    test: Share
    """Of its test items."""
    test_retain: float | None
    """Accuracy over the test items of the other classes, in [0, 1]."""
    test_retain_before: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlearned:
    """What a request did."""

    spec: MaskSpec
    effect: Effect
    measured: Measured | None
    """None where the sweep has not looked at this mask."""
    mask: str
    """Where it is."""
    checkpoint: str | None
    """Where it is, if there is one."""
    mask_only: bool
    mask_seconds: float
    """From the request to the mask on disk."""
    seconds: float
    """Of all of it."""

    def to_json(self) -> dict[str, Any]:
        """All of it in one JSON object."""
        rest = asdict(self)
        return {**rest.pop("spec"), **rest.pop("effect"), **rest}


def as_text(done: Unlearned) -> str:
    """What was done, for people."""
    spec, effect = done.spec, done.effect
    if spec.tau is not None:
        chosen = f", the smallest that holds {100 * spec.tau:g} %"
    else:
        chosen = "" if spec.share is None else f", by share {spec.share:g}"
    checkpoint = done.checkpoint or "none, as asked"
    if done.checkpoint and done.mask_only:
        checkpoint += " (of an earlier request)"
    return "\n".join(
        [
            f"masked: {', '.join(map(shown, spec.classes))} ({spec.method}, N = {spec.budget}{chosen})",
            f"  masked pairs  {effect.pairs_masked} ({100 * effect.pairs_masked_share:.2f} % of all), holding "
            f"{100 * effect.forget_hit_share:.1f} % of the classes' training activations",
            *measured_lines(done),
            f"  mask          {done.mask} ({1000 * done.mask_seconds:.0f} ms)",
            f"  checkpoint    {checkpoint} ({1000 * done.seconds:.0f} ms in all)",
        ]
    )


def measured_lines(done: Unlearned) -> list[str]:
    """What the sweep saw of this mask, for people; or how to have it measured."""
    spec, seen = done.spec, done.measured
    if seen is None:
        if len(spec.classes) > 1:
            return ["  in the sweep  not measured: it forgets each class by itself"]
        name = {"uva": "pairs", "uve": "examples"}[spec.method]
        how = f"a sweep of the class with {name} = [{spec.budget}] in [sweep.{spec.method}] measures it"
        return [f"  in the sweep  not measured at this N: {how}"]
    lines = [
        f"  still known   {share_text(seen.train)} training items of the class",
        f"                {share_text(seen.test)} test items",
    ]
    if max(seen.train.accuracy or 0.0, seen.test.accuracy or 0.0) > GONE:
        lines.append(f"  NOT forgotten: more than {100 * GONE:g} % still known; give a larger N, up to --share 1")
    if seen.test_retain is not None and seen.test_retain_before is not None:
        then, now = 100 * seen.test_retain_before, 100 * seen.test_retain
        lines.append(f"  the others    test accuracy {now:.2f} %, before {then:.2f} %")
    return lines


def share_text(share: Share) -> str:
    """A count of items, and what it says of others like them, for people."""
    if share.accuracy is None or share.low is None or share.high is None:
        return "none of 0"
    bounds = f"95 % interval {100 * share.low:.2f} to {100 * share.high:.2f}"
    return f"{share.right} of {share.items} ({100 * share.accuracy:.2f} %, {bounds})"
