"""The steps of an experiment and what each is made of.

manifest -> embeddings -> keys -> codes[train] -> codes[test], neighbours, values, counts -> sweep
            embeddings -> linear

With [compare], once for each of its seeds: the same model, and

oracles (keys fitted without a class) -> compare <- tuning (of the first seed)

and once, on the first seed's model, lira, costs and scope; scope sees the training images flipped, and those of another
data set if the spec names one, on which keys are then fitted too.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dkvb.neighbours import NEIGHBOURS
from jobs.spec.images import ImagesSpec
from jobs.spec.schema import CompareSpec, Spec
from jobs.step import SPLITS, Step
from jobs.steps import STEPS
from store.artefacts import file_digest
from store.decoding import Decoding


class Graph:
    """Steps as they are added: each after those it needs."""

    def __init__(self, spec: Spec, where: dict[str, Any], other_listing: str | None = None) -> None:
        self.steps: list[Step] = []
        self._spec, self._where, self._other_listing = spec, where, other_listing
        self._full: dict[str, Any] = asdict(spec)

    def add(self, kind: str, split: str = "", *, asks: dict[str, Any], needs: Mapping[str, Step]) -> Step:
        """One step."""
        step = Step(
            kind=kind,
            split=split,
            version=STEPS[kind].VERSION,
            spec=asks,
            inputs=dict(needs),
            where=self._where,
        )
        self.steps.append(step)
        return step

    def images(self, listings: Mapping[str, str]) -> dict[str, Step]:
        """Manifests and embeddings of both splits; returns the embeddings, and the training manifest."""
        spec = self._spec
        manifests: dict[str, Step] = {}
        for split in SPLITS:
            asks = {"images": self.described(spec.images, split), "listing": listings[split]}
            manifests[split] = self.add("manifest", split, asks=asks, needs={})
        found = {"manifest": manifests["train"]}
        for split in SPLITS:
            found[split] = self.embeddings(split, spec.images, manifests[split], manifests["train"])
        return found

    def described(self, images: ImagesSpec, split: str) -> dict[str, Any]:
        """The images of one split."""
        return {
            "kind": images.kind,
            "pattern": images.train if split == "train" else images.test,
            "shard_items": images.shard_items,
            "class_file": images.classes,
            "on_error": images.on_error,
            # Choices that came later are part of the digest where they are made: older roots are found by it.
            **({"columns": images.columns} if images.columns else {}),
        }

    def embeddings(self, label: str, images: ImagesSpec, manifest: Step, train: Step, **more: Any) -> Step:
        """One pass of images through the backbone."""
        spec = self._spec
        drawn: dict[str, Any] = {"seed": spec.seed if spec.backbone.weights == "random" else None}
        if Path(spec.backbone.weights).is_file():
            drawn["weights_file"] = file_digest(spec.backbone.weights)
        described = self.described(images, "test" if label == "test" else "train")
        asks = {
            "images": described,
            "backbone": self._full["backbone"],
            "batch": spec.embeddings.batch,
            **({"decoding": asdict(images.decoding)} if images.decoding != Decoding() else {}),
            **drawn,
            **more,
        }
        return self.add("embeddings", label, asks=asks, needs={"manifest": manifest, "train": train})

    def model(
        self, embedded: Mapping[str, Step], *, seed: int, mark: str = "", init: Step | None = None
    ) -> dict[str, Step]:
        """Both heads of one seed, with codes, neighbours and counts.

        mark: what tells labels of one model from those of another.
        init: embeddings that keys are fitted on; those of the training images unless given.
        returns: what a step that forgets something needs, by name.
        """
        spec, full = self._spec, self._full
        key = self.add("keys", mark, asks=self.key_asks(seed), needs={"train": init or embedded["train"]})
        train = self.add("codes", f"train{mark}", asks={}, needs={"embeddings": embedded["train"], "keys": key})
        seen = {"seen": train} if spec.bottleneck.selectable == "used" else {}
        test = self.add("codes", f"test{mark}", asks={}, needs={"embeddings": embedded["test"], "keys": key, **seen})
        labelled = {"manifest": embedded["manifest"], "embeddings": embedded["train"], "codes": train, "keys": key}
        asks = {"settings": full["values"], "seed": seed, "selectable": spec.bottleneck.selectable}
        value = self.add("values", mark, asks=asks, needs=labelled)
        count = self.add("counts", mark, asks={}, needs=labelled)
        head = self.add("linear", mark, asks={"settings": full["linear"], "seed": seed}, needs=dict(embedded))
        lists = {
            f"neighbours_{split}": self.add(
                "neighbours",
                f"{split}{mark}",
                asks={"r": NEIGHBOURS},
                needs={"embeddings": embedded[split], "keys": key, **seen},
            )
            for split in SPLITS
        }
        codes = {"codes_train": train, "codes_test": test}
        return {**embedded, **codes, **lists, "keys": key, "values": value, "counts": count, "linear": head}

    def key_asks(self, seed: int) -> dict[str, Any]:
        """How keys are fitted."""
        settings = {name: value for name, value in self._full["keys"].items() if name != "sample"}
        size = {name: self._full["bottleneck"][name] for name in ("c", "m", "d_k")}
        return {**size, "sample": self._spec.keys.sample, "settings": settings, "seed": seed}

    def compare(self, asked: CompareSpec, embedded: Mapping[str, Step], base: Mapping[str, Step]) -> None:
        """What [compare] adds.

        base: the model of the experiment's own seed.
        """
        spec, full = self._spec, self._full
        classes = asked.classes if asked.classes is not None else spec.sweep.classes
        models = {
            seed: base if seed == spec.seed else self.model(embedded, seed=seed, mark=self.mark(seed))
            for seed in asked.seeds
        }
        first = asked.seeds[0]
        common: dict[str, Any] = {"classes": classes}
        tune = self.add(
            "tuning",
            asks={**common, "trials": asked.trials, "first": asked.tuning_classes, "seed": first},
            needs=models[first],
        )
        grids = {"methods": methods_of(full["sweep"]), "taus": asked.taus, "weights": asked.weights}
        for seed, model in models.items():
            needs = {**model, "tuning": tune}
            if asked.oracle_kv != []:
                without = classes if asked.oracle_kv is None else asked.oracle_kv
                asks = {**self.key_asks(seed), "classes": without, "selectable": spec.bottleneck.selectable}
                own = {name: model[name] for name in ("manifest", "train", "test", "values")}
                needs["oracles"] = self.add("oracles", self.mark(seed), asks=asks, needs=own)
            asks = {**common, **grids, "seed": seed, "tau": asked.tau}
            self.add("compare", self.mark(seed), asks=asks, needs=needs)
        needs, ruled = {**models[first], "tuning": tune}, {**common, "seed": first, "tau": asked.tau}
        if asked.lira_heads:
            asks = {"heads": asked.lira_heads, "items": asked.lira_items, "first": asked.lira_classes}
            self.add("lira", asks={**ruled, **asks}, needs=needs)
        drawn = spec.seed if spec.backbone.weights == "random" else None
        self.add("costs", asks={**ruled, "backbone": full["backbone"], "drawn": drawn}, needs=needs)
        images = spec.images
        needs["flipped"] = self.embeddings("flipped", images, embedded["manifest"], embedded["manifest"], flip=True)
        if spec.other is not None:
            asks = {"images": self.described(spec.other, "train"), "listing": self._other_listing}
            needs["other_manifest"] = self.add("manifest", "other", asks=asks, needs={})
            needs["other"] = self.embeddings("other", spec.other, *[needs["other_manifest"]] * 2)
            model = self.model(embedded, seed=first, mark="@other keys", init=needs["other"])
            asks = {**common, **grids, "seed": first, "tau": asked.tau, "first": asked.tuning_classes}
            self.add("compare", "@other keys", asks=asks, needs={**model, "tuning": tune})
        self.add("scope", asks={**ruled, "proxies": asked.proxies}, needs=needs)

    def mark(self, seed: int) -> str:
        """What tells the labels of a seed: nothing for that of the experiment."""
        return "" if seed == self._spec.seed else f"@{seed}"


def steps(spec: Spec, where: dict[str, Any], listings: Mapping[str, str]) -> tuple[Step, ...]:
    """All steps of an experiment, in an order in which they can run.

    where: the images' location; listings: digests of what lies there, by split ("other": of the other data set).
    """
    graph = Graph(spec, where, listings.get("other"))
    embedded = graph.images(listings)
    model = graph.model(embedded, seed=spec.seed)
    needs = {name: step for name, step in model.items() if name not in ("keys", "linear")}
    graph.add("sweep", asks={"classes": spec.sweep.classes, "methods": methods_of(asdict(spec.sweep))}, needs=needs)
    if spec.compare is not None:
        graph.compare(spec.compare, embedded, model)
    return tuple(graph.steps)


def methods_of(sweep_spec: dict[str, Any]) -> dict[str, Any]:
    """The grids in one form: unit, numbers, and what else the method asks."""
    methods = {}
    for method in ("uva", "uve"):
        if (asked := sweep_spec[method]) is not None:
            rest = {key: value for key, value in asked.items() if key not in ("shares", "pairs", "examples")}
            ((unit, grid),) = ((u, asked[u]) for u in ("shares", "pairs", "examples") if asked.get(u) is not None)
            methods[method] = {"unit": unit, "grid": grid, **rest}
    return methods
