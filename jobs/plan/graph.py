"""The steps of an experiment and what each is made of.

manifest -> embeddings -> keys -> codes[train] -> codes[test], neighbours, values, counts -> sweep
            embeddings -> linear
            codes[train] -> sums -> values, where these are not trained but solved for

With [compare], once for each of its seeds: the same model, and

oracles (keys fitted without a class) -> compare <- tuning (of the first seed)
solved (heads that are solved for, where [compare] names some)

and once, on the first seed's model, lira, costs and scope; scope sees the training images flipped, and those of another
data set if the spec names one, on which keys are then fitted too.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dkvb.backbone_spec import LIBRARIES
from dkvb.extensions import BACKBONES, METHODS, METRICS, find, releases
from dkvb.settings import LdaSettings
from dkvb.sizes import NEIGHBOURS
from jobs.kinds import (
    KINDS,
    codes,
    compare,
    costs,
    counts,
    embeddings,
    keys,
    linear,
    lira,
    manifest,
    neighbours,
    oracles,
    scope,
    sets,
    solved,
    sums,
    sweep,
    tuning,
    values,
)
from jobs.spec.comparison import CompareSpec
from jobs.spec.heads import BITS, SOLVED, SolvedHeads
from jobs.spec.images import ImagesSpec
from jobs.spec.schema import Spec
from jobs.step import SPLITS, Step
from store.checksums import file_stamp
from store.names import one_form


class Graph:
    """Steps as they are added: each after those it needs."""

    def __init__(self, spec: Spec, location: str, listings: Mapping[str, str]) -> None:
        self.steps: list[Step] = []
        self._spec, self._location, self._listings = spec, location, listings

    def add(self, kind: str, split: str = "", *, asks: object, needs: Mapping[str, Step]) -> Step:
        """One step; raises: TypeError, ValueError for asks and inputs that are not its module's."""
        module = KINDS[kind]
        if type(asks) is not module.Asks:
            raise TypeError(f"{kind}: found asks {asks!r}, expected those of its module")
        module.INPUTS.check(kind, needs)
        step = Step(
            kind=kind,
            split=split,
            version=module.VERSION,
            asks=asks,
            inputs=dict(needs),
            location=self._location,
        )
        self.steps.append(step)
        return step

    def add_images(self) -> dict[str, Step]:
        """Manifests and embeddings of both splits; returns the embeddings, and the training manifest."""
        images = self._spec.images
        manifests = {
            split: self.add(
                "manifest",
                split,
                asks=manifest.Asks(images=images.split(split), listing=self._listings[split]),
                needs={},
            )
            for split in SPLITS
        }
        embedded = {
            split: self.add_embeddings(split, images, scanned=manifests[split], train=manifests["train"])
            for split in SPLITS
        }
        return {"manifest": manifests["train"], **embedded}

    def add_embeddings(self, label: str, images: ImagesSpec, *, scanned: Step, train: Step, flip: bool = False) -> Step:
        """One pass of images through the backbone.

        scanned: the manifest of the images; train: that of the training images, whose classes they have.
        flip: mirror every image.
        """
        backbone = self._spec.backbone
        asks = embeddings.Asks(
            images=images.split("test" if label == "test" else "train"),
            backbone=backbone,
            batch=self._spec.embeddings.batch,
            decoding=images.decoding,
            decode=images.decode,
            seed=self.backbone_seed(),
            weights_file=file_stamp(weights).split()[0] if (weights := Path(backbone.weights)).is_file() else None,
            flip=flip,
            extension=self.backbone_extension(),
        )
        return self.add("embeddings", label, asks=asks, needs={"manifest": scanned, "train": train})

    def backbone_extension(self) -> str | None:
        """Distribution and version of the backbone, where it is an extension's; raises: ExtensionMissing."""
        library = self._spec.backbone.library
        return None if library in LIBRARIES else find(BACKBONES, library).release

    def backbone_seed(self) -> int | None:
        """The seed of random weights; others are drawn by none."""
        return self._spec.seed if self._spec.backbone.weights == "random" else None

    def add_model(
        self, embedded: Mapping[str, Step], *, seed: int, mark: str = "", init: Step | None = None
    ) -> dict[str, Step]:
        """Both heads of one seed, with codes, neighbours and counts.

        mark: what tells labels of one model from those of another.
        init: embeddings that keys are fitted on; those of the training images unless given.
        returns: what a step that forgets something needs, by name (`jobs.step.MODEL`).
        """
        spec, selectable = self._spec, self._spec.bottleneck.selectable
        fitted = self.add("keys", mark, asks=self.key_asks(seed), needs={"train": init or embedded["train"]})
        train, test = ({"embeddings": embedded[split], "keys": fitted} for split in SPLITS)
        codes_train = self.add("codes", f"train{mark}", asks=codes.Asks(), needs=train)
        seen = {"seen": codes_train} if selectable == "used" else {}
        codes_test = self.add("codes", f"test{mark}", asks=codes.Asks(), needs={**test, **seen})
        labelled = {
            "manifest": embedded["manifest"],
            "embeddings": embedded["train"],
            "codes": codes_train,
            "keys": fitted,
        }
        lda = spec.values.lda
        summed = {} if lda is None else {"sums": self.add("sums", mark, asks=sums.Asks(), needs=labelled)}
        value_asks = values.Asks(settings=spec.values.settings, seed=seed, selectable=selectable, lda=lda)
        trained = self.add("values", mark, asks=value_asks, needs={**labelled, **summed})
        counted = self.add("counts", mark, asks=counts.Asks(), needs=labelled)
        line = spec.linear
        linear_asks = linear.Asks(settings=line.settings, seed=seed, lda=line.lda, bits=line.whole)
        head = self.add("linear", mark, asks=linear_asks, needs=embedded)
        lists = neighbours.Asks(r=NEIGHBOURS)
        return {
            **embedded,
            "codes_train": codes_train,
            "codes_test": codes_test,
            "neighbours_train": self.add("neighbours", f"train{mark}", asks=lists, needs={**train, **seen}),
            "neighbours_test": self.add("neighbours", f"test{mark}", asks=lists, needs={**test, **seen}),
            "keys": fitted,
            "values": trained,
            "counts": counted,
            "linear": head,
        }

    def key_asks(self, seed: int) -> keys.Asks:
        """How keys are fitted."""
        size, fit = self._spec.bottleneck, self._spec.keys
        return keys.Asks(
            c=size.c,
            m=size.m,
            d_k=size.d_k,
            sample=fit.sample,
            settings=fit.settings,
            seed=seed,
            items=fit.method == "items",
        )

    def add_comparison(self, compared: CompareSpec, embedded: Mapping[str, Step], base: Mapping[str, Step]) -> None:
        """What [compare] adds.

        base: the model of the experiment's own seed.
        """
        spec = self._spec
        classes = compared.classes if compared.classes is not None else spec.sweep.classes
        models = {
            seed: base if seed == spec.seed else self.add_model(embedded, seed=seed, mark=self.mark(seed))
            for seed in compared.seeds
        }
        never = {
            seed: {"oracles": self.add_oracles(compared, classes, model=model, seed=seed)}
            for seed, model in models.items()
            if compared.oracle_kv != [] and compared.on_codes
        }
        if compared.trains:
            self.add_trained(compared, embedded, models, classes, never)
        for seed, model in models.items():
            needs = {**model, **never.get(seed, {})}
            self.add_solved(compared, classes, model=needs, seed=seed, mark=self.mark(seed))

    def add_trained(
        self,
        compared: CompareSpec,
        embedded: Mapping[str, Step],
        models: Mapping[int, Mapping[str, Step]],
        classes: list[str] | None,
        never: Mapping[int, Mapping[str, Step]],
    ) -> None:
        """What is compared on trained heads; models, never (oracles whose keys never saw a class): by seed."""
        spec, first, beside = self._spec, compared.seeds[0], compared.heads is not None
        tuned = self.add("tuning", asks=self.tuning_asks(compared, classes), needs=models[first])
        more = self.tune_extensions(compared, classes, models[first])
        for seed, model in models.items():
            needs = {**model, "tuning": tuned, **more, **never.get(seed, {})}
            self.add("compare", self.mark(seed), asks=self.compare_asks(compared, classes, seed=seed), needs=needs)
        needs = {**models[first], "tuning": tuned}
        if compared.lira_heads:
            lira_asks = lira.Asks(
                classes=classes,
                seed=first,
                tau=compared.tau,
                heads=compared.lira_heads,
                items=compared.lira_items,
                first=compared.lira_classes,
                every=beside,
            )
            self.add("lira", asks=lira_asks, needs=needs)
        cost_asks = costs.Asks(
            classes=classes,
            seed=first,
            tau=compared.tau,
            backbone=spec.backbone,
            drawn=self.backbone_seed(),
            choosing=spec.sweep.grids if beside else None,
            solved=self.solved_heads(compared),
            extension=self.backbone_extension(),
        )
        self.add("costs", asks=cost_asks, needs=needs)
        train = embedded["manifest"]
        needs["flipped"] = self.add_embeddings("flipped", spec.images, scanned=train, train=train, flip=True)
        if spec.other is not None:
            other_asks = manifest.Asks(images=spec.other.split("train"), listing=self._listings["other"])
            needs["other_manifest"] = self.add("manifest", "other", asks=other_asks, needs={})
            other = needs["other_manifest"]
            needs["other"] = self.add_embeddings("other", spec.other, scanned=other, train=other)
            model = self.add_model(embedded, seed=first, mark="@other keys", init=needs["other"])
            asks = self.compare_asks(compared, classes, seed=first, only=compared.tuning_classes)
            self.add("compare", "@other keys", asks=asks, needs={**model, "tuning": tuned, **more})
            few = compared.tuning_classes
            self.add_solved(compared, classes, model=model, seed=first, mark="@other keys", only=few)
        scope_asks = scope.Asks(
            classes=classes, seed=first, tau=compared.tau, proxies=compared.proxies, held_out=beside
        )
        self.add("scope", asks=scope_asks, needs=needs)

    def tuning_asks(self, compared: CompareSpec, classes: list[str] | None) -> tuning.Asks:
        """On which classes settings are chosen; of one class alone none could be, as none chooses for itself."""
        return tuning.Asks(
            classes=classes,
            trials=compared.trials,
            first=compared.tuning_classes,
            seed=compared.seeds[0],
            alone=classes is not None and len({*map(one_form, classes)}) == 1,
        )

    def tune_extensions(
        self, compared: CompareSpec, classes: list[str] | None, model: Mapping[str, Step]
    ) -> dict[str, Step]:
        """The tuning of baselines of extensions, a step of its own, so that ours keep theirs; none without any."""
        if (found := releases(METHODS, compared.methods)) is None:
            return {}
        from jobs.comparison.extended import Extended  # loads the methods, and torch

        baselines = {one.name: found[one.name] for one in Extended.of(found).gradient}
        if not baselines:
            return {}
        asks = replace(self.tuning_asks(compared, classes), extensions=baselines)
        return {compare.EXTENSIONS: self.add("tuning", "extensions", asks=asks, needs=model)}

    def solved_heads(self, compared: CompareSpec) -> SolvedHeads | None:
        """The heads that are solved for and compared; None: none."""
        linear_name, values_name = SOLVED
        named, line = compared.heads or [], self._spec.linear
        if not {*SOLVED} & {*named}:
            return None
        return SolvedHeads(
            values=(self._spec.values.lda or LdaSettings()) if values_name in named else None,
            linear=(line.lda or LdaSettings()) if linear_name in named else None,
            bits=BITS if line.whole is None else line.whole,
        )

    def add_solved(
        self,
        compared: CompareSpec,
        classes: list[str] | None,
        *,
        model: Mapping[str, Step],
        seed: int,
        mark: str,
        only: int | None = None,
    ) -> None:
        """The heads that are solved for, of one model, if any are asked for; only: on the first so many classes."""
        if (heads := self.solved_heads(compared)) is None:
            return
        asked = seed == compared.seeds[0] and compared.lira_heads and only is None
        halves = solved.Halves(heads=compared.lira_heads, items=compared.lira_items, first=compared.lira_classes)
        asks = solved.Asks(
            classes=classes,
            heads=heads,
            seed=seed,
            lira=halves if asked else None,
            first=only,
            metrics=self.metrics(compared),
        )
        wanted = {*solved.INPUTS.needed, *(solved.INPUTS.optional if heads.values is not None else ())}
        self.add("solved", mark, asks=asks, needs={name: step for name, step in model.items() if name in wanted})

    def metrics(self, compared: CompareSpec) -> dict[str, str] | None:
        """Distribution and version of metrics of extensions, which are loaded once, so that bad ones end here."""
        if (found := releases(METRICS, compared.metrics)) is not None:
            from jobs.comparison.extended_metrics import metrics_of  # loads the metrics, and torch

            metrics_of(found)
        return found

    def add_oracles(
        self, compared: CompareSpec, classes: list[str] | None, *, model: Mapping[str, Step], seed: int
    ) -> Step:
        """The models of one seed whose keys never saw a class."""
        fit = self.key_asks(seed)
        asks = oracles.Asks(
            c=fit.c,
            m=fit.m,
            d_k=fit.d_k,
            sample=fit.sample,
            settings=fit.settings,
            seed=seed,
            classes=classes if compared.oracle_kv is None else compared.oracle_kv,
            selectable=self._spec.bottleneck.selectable,
            items=fit.items,
            trained=compared.trains,
            lda=None if (heads := self.solved_heads(compared)) is None else heads.values,
        )
        needs = {name: model[name] for name in ("manifest", "train", "test", "values")}
        return self.add("oracles", self.mark(seed), asks=asks, needs=needs)

    def compare_asks(
        self, compared: CompareSpec, classes: list[str] | None, *, seed: int, only: int | None = None
    ) -> compare.Asks:
        """What is compared on the model of one seed; only: on the first so many of the classes."""
        return compare.Asks(
            classes=classes,
            methods=self._spec.sweep.grids,
            taus=compared.taus,
            weights=compared.weights,
            seed=seed,
            tau=compared.tau,
            first=only,
            beside=compared.heads is not None,
            extensions=releases(METHODS, compared.methods),
            metrics=self.metrics(compared),
        )

    def mark(self, seed: int) -> str:
        """What tells the labels of a seed: nothing for that of the experiment."""
        return "" if seed == self._spec.seed else f"@{seed}"


def steps(spec: Spec, location: str, listings: Mapping[str, str]) -> tuple[Step, ...]:
    """All steps of an experiment, in an order in which they can run.

    location: where the images lie.
    listings: digests of what lies there, by split ("other": of the other data set).
    """
    graph = Graph(spec, location, listings)
    embedded = graph.add_images()
    model = graph.add_model(embedded, seed=spec.seed)
    needs = {name: step for name, step in model.items() if name not in ("keys", "linear")}
    classes = spec.sweep.classes if spec.sweep.each else []
    graph.add("sweep", asks=sweep.Asks(classes=classes, methods=spec.sweep.grids), needs=needs)
    if (asked := spec.sweep.set_asks(spec.seed)) is not None:
        graph.add("sets", asks=sets.Asks(sets=asked, methods=spec.sweep.grids), needs=needs)
    if spec.compare is not None:
        graph.add_comparison(spec.compare, embedded, model)
    return tuple(graph.steps)
