"""The plan shown: steps, digests, what is done, and what it will cost."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any

from dkvb.backbone_spec import embedding_width
from dkvb.sizes import NEIGHBOURS
from jobs.errors import BadSpec
from jobs.forget_sets import repeated
from jobs.images.counted import Counted
from jobs.kinds import KINDS
from jobs.memory import Sizes
from jobs.plan import needs
from jobs.plan.found import Found, find_sizes
from jobs.plan.needs import Needs
from jobs.plan.plan import Plan, make_plan, sketch
from jobs.spec.schema import Spec
from jobs.step import Step
from store.artefacts import Artefact, open_root
from store.files import exists
from store.places import Place


def cost(spec: Spec, sizes: Mapping[str, int]) -> dict[str, float]:
    """What the experiment asks of a machine, from sizes alone.

    sizes: items of "train" and "test", and number of "classes".
    returns: distances (keys, codes), bytes on disk, by name; unit in the name. With [compare] for all its models; the
    images of another data set are not counted.
    """
    n, t, v = sizes["train"], sizes["test"], sizes["classes"]
    c, m, d_k = spec.bottleneck.c, spec.bottleneck.m, spec.bottleneck.d_k
    d_z = embedding_width(spec.backbone)
    fitted_on = min(spec.keys.sample or n, n)
    models, oracles, logits, flipped = 1, 0, 0, 0
    if spec.compare is not None:
        seeds, without = spec.compare.seeds, spec.compare.oracle_kv
        models = len({spec.seed, *seeds}) + (spec.other is not None)
        classes = v if spec.compare.classes is None else len(spec.compare.classes)
        flipped = n * spec.compare.trains
        if spec.compare.on_codes:
            oracles = len(seeds) * (classes if without is None else len(without))
            logits = oracles * (spec.compare.trains + spec.compare.solves_values)
    by_lda, d = spec.values.lda is not None, c * d_k
    return {
        "images": n + t + flipped,
        "embeddings_bytes": 2 * 2.0 * (n + t + flipped) * d_z,  # by shard, and all in one array
        "key_distances": float(spec.keys.passes) * fitted_on * c * m * (models + oracles),
        "code_distances": (2.0 * models + oracles) * (n + t) * c * m,
        "codes_bytes": 2.0 * (n + t) * c * models,
        "neighbours_bytes": 2.0 * (n + t) * c * NEIGHBOURS * models,
        "keys_bytes": 4.0 * c * m * d_k * models,
        "values_bytes": 4.0 * c * m * v * models,
        "sums_bytes": (8.0 * d * (d + v) + 2.0 * c * m * d_k) * models * by_lda,
        "projection_bytes": 4.0 * c * d_z * d_k * models,
        "oracles_bytes": 4.0 * logits * (n + t) * v,
    }


def needed(spec: Spec, steps: Sequence[Step], found: Mapping[str, int]) -> list[needs.Needs]:
    """What the steps of a spec need; found: as of `cost`."""
    sizes = needs.sizes_asked(dict(found), spec.bottleneck, embedding_width(spec.backbone))
    return [needs.needs(step, sizes) for step in steps]


RAY_GIB = 2
"""GiB of a pod for Ray itself and its object store."""


def pod_memory(specs: Sequence[Spec]) -> tuple[int, int]:
    """GiB of a pod with a GPU, and of one without, in which every step of some specs has room.

    raises: BadSpec for a spec that does not say its sizes.
    """
    largest = {True: 0, False: 0}
    for spec in specs:
        if not {"train", "test", "classes"} <= spec.images.expect.keys():
            raise BadSpec(
                f"{spec.name}: says no sizes, which memory follows from; expected images.expect = {{ train = ..., "
                "test = ..., classes = ... }"
            )
        steps = sketch(spec).steps
        for step, need in zip(steps, needed(spec, steps, spec.images.expect), strict=True):
            on_gpu = KINDS[step.kind].ON_GPU
            largest[on_gpu] = max(largest[on_gpu], need.memory)
    gpu, cpu = (RAY_GIB - (-size >> 30) for size in (largest[True], largest[False]))
    return gpu, cpu


ON_DISK = ("embeddings", "codes", "neighbours", "projection", "keys", "sums", "values", "oracles")
"""What takes room on the disk, in the words of `cost`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The plan of one experiment, and what is known of it before it runs."""

    spec: Spec
    plan: Plan
    """Where the images are not here, its steps are right and their digests are not."""
    location: str | None
    done: frozenset[str] | None
    """Digests of the steps that are done on the root; None where no root was given, or the images are not here."""
    images_seen: bool
    found: Found
    sizes: Sizes | None
    """Of all steps; None where it is not known how many images there are."""
    needs: list[Needs] | None
    """Of each step, likewise."""
    cost: dict[str, float] | None
    """As of the function `cost`, likewise."""

    def state(self, step: Step) -> str | None:
        """Whether a step is "done" or "to do" on the root; None where that cannot be said."""
        if self.done is None:
            return None
        return "done" if step.digest in self.done else "to do"

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        return {
            "name": self.spec.name,
            "images": self.images,
            "images_seen": self.images_seen,
            "steps": [
                {
                    "step": step.label,
                    "digest": step.digest if self.images_seen else None,
                    "state": self.state(step),
                    "inputs": inputs_of(step),
                }
                for step in self.plan.steps
            ],
            "sizes": dict(self.found.sizes),
            "sizes_from": self.found.source,
            "notes": list(self.found.notes),
            "cost": self.cost,
            "needs": None if self.needs is None else [asdict(one) for one in self.needs],
        }

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.done is not None and all(step.digest in self.done for step in self.plan.steps)

    @property
    def bytes(self) -> float:
        """What it takes on the disk, before compression; 0 where that is not known."""
        return 0 if self.cost is None else sum(self.cost[f"{name}_bytes"] for name in ON_DISK)

    @property
    def images(self) -> str:
        """Which images, in words."""
        kind = self.spec.images.kind
        return f"{kind} at {self.location}" if self.location else kind


def inputs_of(step: Step) -> list[str]:
    """Labels of the steps that a step is made of."""
    return sorted({needed.label for needed in step.inputs.values()})


def look_ahead(spec: Spec, location: str | None, root: Place | None, *, counted: Counted | None = None) -> Planned:
    """The plan of a spec, with what is done on a root, and what its images hold where they are here.

    counted: what they hold, if they were counted already.
    raises: as `make_plan`; NotARoot.
    """
    if root is not None and exists(root):
        open_root(root, create=False)
    images_seen = location is not None or spec.images.kind == "digits"
    plan = make_plan(spec, location) if images_seen else sketch(spec)
    done = None
    if root is not None and images_seen:
        done = frozenset(step.digest for step in plan.steps if Artefact(root, step.kind, step.digest).done)
    found = find_sizes(spec, plan, location=location, root=root if done is not None else None, counted=counted)
    if (asked := spec.sweep.set_asks(spec.seed)) is not None and "classes" in found.sizes:
        found = replace(found, notes=[*found.notes, *repeated(asked, found.sizes["classes"])])
    sizes = None
    if {"train", "test", "classes"} <= found.sizes.keys():
        sizes = needs.sizes_asked(dict(found.sizes), spec.bottleneck, embedding_width(spec.backbone))
    return Planned(
        spec=spec,
        plan=plan,
        location=location,
        done=done,
        images_seen=images_seen,
        found=found,
        sizes=sizes,
        needs=None if sizes is None else [needs.needs(step, sizes) for step in plan.steps],
        cost=None if sizes is None else cost(spec, found.sizes),
    )


def plan_text(planned: Planned, *, cpus: int = 1, memory: float = inf, whose: str = "this machine") -> str:
    """One plan for people, on so many CPUs, on machines with so much memory (bytes) each; whose: it is, in words."""
    lines = [f"{planned.spec.name}: {planned.images}", *(f"  {text}" for text in planned.found.lines()), ""]
    known = [name for name, there in (("digest", planned.images_seen), ("state", planned.done is not None)) if there]
    widths = {"digest": 16, "state": 8}
    for step in planned.plan.steps:
        cells = {"digest": step.digest, "state": planned.state(step) or ""}
        shown = "".join(f"{cells[name]:<{widths[name]}} " for name in known)
        lines.append(f"  {step.label:<18} {shown}from {', '.join(inputs_of(step)) or 'the images'}")
    if not planned.images_seen:
        lines += ["", "  What of it is done already follows from the images: give --images DIR, and --root."]
    if (amounts := planned.cost) is not None and planned.needs is not None:
        lines += [
            "",
            f"  {amounts['images']:,.0f} images through the backbone",
            f"  {amounts['key_distances']:.2e} distances to fit the keys, "
            f"{amounts['code_distances']:.2e} for codes and neighbours",
            f"  disk: {needs.size(planned.bytes)} before compression: "
            + ", ".join(
                f"{amounts[f'{name}_bytes'] / 2**20:,.0f} MiB of {name}" for name in ON_DISK if amounts[f"{name}_bytes"]
            ),
            "",
            *needs.lines(planned.needs, cpus=cpus, memory=memory, whose=whose),
        ]
    return "\n".join(lines)


def plans_text(plans: Sequence[Planned], *, cpus: int = 1, memory: float = inf, whose: str = "this machine") -> str:
    """The plans of a spec for people, likewise."""
    texts = [plan_text(planned, cpus=cpus, memory=memory, whose=whose) for planned in plans]
    if len(plans) > 1:
        digests = [step.digest for planned in plans for step in planned.plan.steps]
        seen = all(planned.images_seen for planned in plans)
        different = f", {len(set(digests))} different ones: what is shared is done once" if seen else ""
        texts.append(f"{len(plans)} experiments, {len(digests)} steps{different}.")
    return "\n\n".join(texts)


def room(plans: Sequence[Planned], *, memory: float) -> list[str]:
    """What some plans take at most of a machine with so much memory (bytes), and of the disk, in words."""
    all_needs = [need for planned in plans for need in planned.needs or ()]
    if not all_needs:
        return []
    most = max(need.memory for need in all_needs)
    return [
        f"memory: at most {needs.size(most)} a worker, of the {needs.size(memory)} of this machine",
        f"disk: at most {needs.size(sum(planned.bytes for planned in plans))}",
    ]
