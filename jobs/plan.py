"""The plan: which steps an experiment has, what each depends on, and what it will cost.

manifest -> embeddings -> keys -> codes[train] -> codes[test], neighbours, values, counts -> sweep
            embeddings -> linear
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dkvb.backbones import embedding_width
from dkvb.neighbours import NEIGHBOURS
from jobs import codes, counts, embeddings, keys, linear, manifest, neighbours, sweep, values
from jobs.errors import BadSpec
from jobs.spec import Spec
from jobs.step import Step, StepModule
from store.artefacts import Artefact, digest, file_digest, open_root
from store.errors import StoreError
from store.images import Images, open_images

MODULES: Mapping[str, StepModule] = {
    "manifest": manifest,
    "embeddings": embeddings,
    "keys": keys,
    "codes": codes,
    "neighbours": neighbours,
    "values": values,
    "linear": linear,
    "counts": counts,
    "sweep": sweep,
}

UNKNOWN = "unknown until the images are seen"


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of an experiment, in an order in which they can run."""

    spec: Spec
    steps: tuple[Step, ...]

    def step(self, label: str) -> Step:
        """A step by its label, such as "codes[test]"."""
        return next(step for step in self.steps if step.label == label)

    def stands(self, root: Path) -> bool:
        """Whether nothing is left to do on a root."""
        return all(step.task(root).output.done for step in self.steps)

    def digests(self) -> dict[str, str]:
        """Label -> digest."""
        return {step.label: step.digest for step in self.steps}


def image_source(spec: Spec, location: str, split: str) -> Images:
    """The images of one split."""
    pattern = spec.images.train if split == "train" else spec.images.test
    return open_images(
        spec.images.kind,
        location,
        pattern=pattern,
        shard_items=spec.images.shard_items,
        class_file=spec.images.classes,
    )


def make_plan(spec: Spec, location: str | None) -> Plan:
    """The steps; digests need the listing of the images (names and sizes, nothing is opened).

    location: where the images lie; None makes a plan without them, good for looking at only.
    raises: BadSpec when the images are not given but needed; store.images.ImagesMissing.
    """
    if not location and spec.images.kind != "digits":
        raise BadSpec(f"{spec.name}: images of kind {spec.images.kind!r} lie somewhere: give --images DIR")
    # Workers have working directories of their own.
    local = location is not None and "://" not in location
    where = {"location": str(Path(location or "").resolve()) if local else location or ""}
    return Plan(spec, _steps(spec, where, {split: _listing(spec, where["location"], split) for split in SPLITS}))


def sketch(spec: Spec) -> Plan:
    """The plan of an experiment whose images are not here: its steps are right, their digests are not."""
    return Plan(spec, _steps(spec, {}, dict.fromkeys(SPLITS, UNKNOWN)))


SPLITS = ("train", "test")


def _listing(spec: Spec, location: str, split: str) -> str:
    try:
        return digest([[file.name, file.bytes] for file in image_source(spec, location, split).listing()])
    except (StoreError, OSError):
        raise
    except Exception as error:  # what a remote file system raises has no common base
        raise BadSpec(
            f"{location}: cannot be listed ({type(error).__name__}: {error}); check the address, the credentials, and "
            "that its file system is installed (pip install 'dkvb-unlearning[s3]' for s3://)"
        ) from error


def _steps(spec: Spec, where: dict[str, Any], listings: Mapping[str, str]) -> tuple[Step, ...]:
    made: list[Step] = []

    def add(kind: str, split: str = "", *, asks: dict[str, Any], needs: Mapping[str, Step], **checks: Any) -> Step:
        step = Step(
            kind=kind,
            split=split,
            version=MODULES[kind].VERSION,
            spec=asks,
            inputs=dict(needs),
            where={**where, **checks},
        )
        made.append(step)
        return step

    full: dict[str, Any] = asdict(spec)
    seed = spec.seed
    drawn: dict[str, Any] = {"seed": seed if spec.backbone.weights == "random" else None}
    if Path(spec.backbone.weights).is_file():
        drawn["weights_file"] = file_digest(spec.backbone.weights)
    expect = spec.images.expect
    images: dict[str, dict[str, Any]] = {
        split: {
            "kind": spec.images.kind,
            "pattern": full["images"][split],
            "shard_items": spec.images.shard_items,
            "class_file": spec.images.classes,
            "on_error": spec.images.on_error,
        }
        for split in SPLITS
    }
    manifests: dict[str, Step] = {}
    for split in SPLITS:
        expected = {"items": expect.get(split), "classes": expect.get("classes")}
        asks: dict[str, Any] = {"images": images[split], "listing": listings[split]}
        manifests[split] = add("manifest", split, asks=asks, needs={}, expect=expected, forget=spec.sweep.classes)
    embedded: dict[str, Step] = {}
    for split in SPLITS:
        asks = {"images": images[split], "backbone": full["backbone"], "batch": spec.embeddings.batch, **drawn}
        needs = {"manifest": manifests[split], "train": manifests["train"]}
        embedded[split] = add("embeddings", split, asks=asks, needs=needs)

    settings = {name: value for name, value in full["keys"].items() if name != "sample"}
    size = {name: full["bottleneck"][name] for name in ("c", "m", "d_k")}
    asks = {**size, "sample": spec.keys.sample, "settings": settings, "seed": seed}
    key = add("keys", asks=asks, needs={"train": embedded["train"]})
    train = add("codes", "train", asks={}, needs={"embeddings": embedded["train"], "keys": key})
    seen = {"seen": train} if spec.bottleneck.selectable == "used" else {}
    test = add("codes", "test", asks={}, needs={"embeddings": embedded["test"], "keys": key, **seen})

    labelled = {"manifest": manifests["train"], "embeddings": embedded["train"], "codes": train, "keys": key}
    asks = {"settings": full["values"], "seed": seed, "selectable": spec.bottleneck.selectable}
    value = add("values", asks=asks, needs=labelled)
    count = add("counts", asks={}, needs=labelled)
    splits = {"manifest": manifests["train"], **embedded}
    add("linear", asks={"settings": full["linear"], "seed": seed}, needs=splits)
    lists = {
        split: add(
            "neighbours", split, asks={"r": NEIGHBOURS}, needs={"embeddings": embedded[split], "keys": key, **seen}
        )
        for split in SPLITS
    }
    needs = {**splits, "codes_train": train, "codes_test": test, "values": value, "counts": count}
    needs |= {f"neighbours_{split}": lists[split] for split in SPLITS}
    add("sweep", asks={"classes": spec.sweep.classes, "methods": _methods(full["sweep"])}, needs=needs)
    return tuple(made)


def _methods(sweep_spec: dict[str, Any]) -> dict[str, Any]:
    """The grids in one form: unit, numbers, and what else the method asks."""
    methods = {}
    for method in ("uva", "uve"):
        if (asked := sweep_spec[method]) is not None:
            rest = {key: value for key, value in asked.items() if key not in ("shares", "pairs", "examples")}
            ((unit, grid),) = ((u, asked[u]) for u in ("shares", "pairs", "examples") if asked.get(u) is not None)
            methods[method] = {"unit": unit, "grid": grid, **rest}
    return methods


def cost(spec: Spec, sizes: Mapping[str, int]) -> dict[str, float]:
    """What the experiment asks of a machine, from sizes alone.

    sizes: items of "train" and "test", and number of "classes".
    returns: distances (keys, codes), bytes on disk and in memory, by name; unit in the name.
    """
    n, t, v = sizes["train"], sizes["test"], sizes["classes"]
    c, m, d_k = spec.bottleneck.c, spec.bottleneck.m, spec.bottleneck.d_k
    d_z = embedding_width(spec.backbone)
    seen = min(spec.keys.sample or n, n)
    return {
        "images": n + t,
        "embeddings_bytes": 2.0 * (n + t) * d_z,
        "key_distances": float(spec.keys.epochs) * seen * c * m,
        "code_distances": 2.0 * (n + t) * c * m,
        "codes_bytes": 2.0 * (n + t) * c,
        "neighbours_bytes": 2.0 * (n + t) * c * NEIGHBOURS,
        "keys_bytes": 4.0 * c * m * d_k,
        "values_bytes": 4.0 * c * m * v,
        "projection_bytes": 4.0 * c * d_z * d_k,
    }


def describe(spec: Spec, location: str | None, root: Path | None) -> dict[str, Any]:
    """The plan as JSON: steps with digests and what stands, sizes, cost, notes.

    Works without the images too: digests are then unknown, sizes those the spec expects.
    """
    if root is not None and root.exists():
        open_root(root, create=False)
    seen = location is not None or spec.images.kind == "digits"
    made = make_plan(spec, location) if seen else sketch(spec)
    steps = []
    for step in made.steps:
        artefact = Artefact(root, step.kind, step.digest) if root and seen else None
        state = "unknown" if artefact is None else "stands" if artefact.done else "to do"
        inputs = sorted({needed.label for needed in step.inputs.values()})
        steps.append({"step": step.label, "digest": step.digest if seen else None, "state": state, "inputs": inputs})
    sizes = dict(spec.images.expect)
    known = {"train", "test", "classes"} <= sizes.keys()
    return {
        "name": spec.name,
        "images": f"{spec.images.kind} at {location}" if location else spec.images.kind,
        "images_seen": seen,
        "steps": steps,
        "sizes": sizes,
        "cost": cost(spec, sizes) if known else None,
    }


def describe_text(about: Mapping[str, Any]) -> str:
    """The plan for people."""
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
        asked = about["cost"]
        lines += [
            f"  {asked['images']:,.0f} images through the backbone",
            f"  {asked['key_distances']:.2e} distances to fit the keys, "
            f"{asked['code_distances']:.2e} for codes and neighbours",
            *(
                f"  {asked[f'{name}_bytes'] / 2**20:,.0f} MiB of {name}"
                for name in ("embeddings", "codes", "neighbours", "projection", "keys", "values")
            ),
        ]
    return "\n".join(lines)
