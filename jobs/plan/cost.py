"""The plan shown: steps, digests, what is done, and what it will cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from dkvb.backbones import embedding_width
from dkvb.neighbours import NEIGHBOURS
from jobs.plan.plan import make_plan, sketch
from jobs.spec.schema import Spec
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
    models, oracles, flipped = 1, 0, 0
    if spec.compare is not None:
        seeds, without = spec.compare.seeds, spec.compare.oracle_kv
        models = len({spec.seed, *seeds}) + (spec.other is not None)
        classes = v if spec.compare.classes is None else len(spec.compare.classes)
        oracles, flipped = len(seeds) * (classes if without is None else len(without)), n
    return {
        "images": n + t + flipped,
        "embeddings_bytes": 2 * 2.0 * (n + t + flipped) * d_z,  # by shard, and all in one array
        "key_distances": float(spec.keys.epochs) * fitted_on * c * m * (models + oracles),
        "code_distances": (2.0 * models + oracles) * (n + t) * c * m,
        "codes_bytes": 2.0 * (n + t) * c * models,
        "neighbours_bytes": 2.0 * (n + t) * c * NEIGHBOURS * models,
        "keys_bytes": 4.0 * c * m * d_k * models,
        "values_bytes": 4.0 * c * m * v * models,
        "projection_bytes": 4.0 * c * d_z * d_k * models,
        "oracles_bytes": 4.0 * oracles * (n + t) * v,
    }


def describe(spec: Spec, location: str | None, root: Place | None) -> dict[str, Any]:
    """The plan as JSON: steps with digests and what is done, sizes, cost, notes.

    Works without the images too: digests are then unknown, sizes those the spec expects.
    """
    if root is not None and exists(root):
        open_root(root, create=False)
    images_seen = location is not None or spec.images.kind == "digits"
    plan = make_plan(spec, location) if images_seen else sketch(spec)
    steps = []
    for step in plan.steps:
        artefact = Artefact(root, step.kind, step.digest) if root and images_seen else None
        state = "unknown" if artefact is None else "done" if artefact.done else "to do"
        inputs = sorted({needed.label for needed in step.inputs.values()})
        steps.append(
            {"step": step.label, "digest": step.digest if images_seen else None, "state": state, "inputs": inputs}
        )
    sizes = dict(spec.images.expect)
    known = {"train", "test", "classes"} <= sizes.keys()
    return {
        "name": spec.name,
        "images": f"{spec.images.kind} at {location}" if location else spec.images.kind,
        "images_seen": images_seen,
        "steps": steps,
        "sizes": sizes,
        "cost": cost(spec, sizes) if known else None,
    }


def describe_text(plans: Sequence[Mapping[str, Any]]) -> str:
    """The plans of a spec for people."""
    texts = [plan_text(about) for about in plans]
    if len(plans) > 1:
        digests = [step["digest"] for about in plans for step in about["steps"]]
        different = "" if None in digests else f", {len(set(digests))} different ones: what is shared is done once"
        texts.append(f"{len(plans)} experiments, {len(digests)} steps{different}.")
    return "\n\n".join(texts)


def plan_text(about: Mapping[str, Any]) -> str:
    """One plan for people."""
    lines = [f"{about['name']}: {about['images']}", ""]
    for step in about["steps"]:
        source = ", ".join(step["inputs"]) or "the images"
        lines.append(f"  {step['step']:<18} {step['digest'] or '-':<17} {step['state']:<8} from {source}")
    if not about["images_seen"]:
        lines += ["", "Digests are known once the images are seen: give --images DIR."]
    lines.append("")
    if about["cost"] is None:
        lines.append("Cost is known for specs that say images.expect = { train = ..., test = ..., classes = ... }.")
    else:
        amounts = about["cost"]
        lines += [
            f"  {amounts['images']:,.0f} images through the backbone",
            f"  {amounts['key_distances']:.2e} distances to fit the keys, "
            f"{amounts['code_distances']:.2e} for codes and neighbours",
            *(
                f"  {amounts[f'{name}_bytes'] / 2**20:,.0f} MiB of {name}"
                for name in ("embeddings", "codes", "neighbours", "projection", "keys", "values", "oracles")
                if amounts[f"{name}_bytes"]
            ),
        ]
    return "\n".join(lines)
