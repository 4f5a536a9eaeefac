"""An experiment opened in Python: `dkvb.open`.

v: classes; c: codebooks; m: keys of a codebook; n: items of a split, skipped ones included; r: neighbours of an item.
"""

import html
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dkvb.limits import nearest
from jobs.errors import BadRequest
from jobs.printable import per_cent, shown
from jobs.query import sql
from jobs.query.questions import Questions, several
from jobs.query.stored import Stored
from jobs.results.experiment import Experiment, find
from jobs.results.headline import before
from jobs.step import SPLITS
from jobs.unlearn import Request, unlearn
from store import arrays
from store.addresses import written_out
from store.artefacts import Artefact
from store.checksums import checked_on_disk
from store.labelled import Coordinates, Labelled, labelled, with_coordinates
from store.layout import ARRAYS, CHECKPOINT
from store.places import place

if TYPE_CHECKING:
    from dkvb.torch import Model
    from jobs.item_tables import Names

NAMED = 12
"""Classes that the HTML table names."""


class Tables(Mapping[str, pl.DataFrame]):
    """Tables of an experiment by name, each made when it is first looked at."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._makers = sql.there(stored)
        self._made: dict[str, pl.DataFrame] = {}

    def __getitem__(self, name: str) -> pl.DataFrame:
        if name not in self._makers:
            raise KeyError(f"no table {name!r}{nearest(name, self._makers)} (there: {', '.join(self._makers)})")
        if name not in self._made:
            self._made[name] = self._makers[name](self._stored)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def __repr__(self) -> str:
        return f"tables: {', '.join(self)}"


@dataclass(frozen=True, repr=False)
class OpenExperiment:
    """What an experiment holds, read when it is asked for; nothing but `unlearn` and `learn` writes there."""

    experiment: Experiment

    @cached_property
    def stored(self) -> Stored:
        """What questions are answered from."""
        return Stored(self.experiment)

    @property
    def spec(self) -> dict[str, Any]:
        """The spec, as recorded on the root."""
        return self.experiment.spec

    @property
    def classes(self) -> list[str]:
        """(v,) names."""
        return self.stored.classes

    @cached_property
    def tables(self) -> Tables:
        """Name -> polars frame: the tables of `dkvb table`, and those of `dkvb query ROOT sql`."""
        return Tables(self.stored)

    @property
    def query(self) -> Questions:
        """The questions of `dkvb query`, as methods."""
        return Questions(self.stored)

    @property
    def counts(self) -> Labelled:
        """(v, c, m) training items of a class that select a pair; coordinates class (names), codebook, key."""
        data = self.experiment.artefact("counts").data
        return labelled(data, "counts", {"class": ("class", self._names), **self._pairs()})

    @property
    def keys(self) -> Labelled:
        """(c, m, d_k) float32, fitted keys; coordinates codebook, key."""
        return labelled(self.experiment.artefact("keys").data, "keys", self._pairs())

    def codes(self, split: str = "test") -> Labelled:
        """(n, c) int16, the nearest selectable key of an item before anything is masked; -1: none, or skipped.

        split: "test" or "train". Coordinates item (row), class (names, "" of a skipped item), shard, codebook.
        """
        data = self.stored.of_split("codes", split).data
        return labelled(data, "codes", {**self._items(split), **self._pairs("codebook")})

    def neighbours(self, split: str = "test") -> Labelled:
        """(n, c, r) int16, the nearest selectable keys of an item in order; coordinates as of `codes`."""
        data = self.stored.of_split("neighbours", split).data
        return labelled(data, "neighbours", {**self._items(split), **self._pairs("codebook")})

    def embeddings(self, split: str = "test") -> Labelled:
        """(n, d_z) float16, the backbone's outputs; coordinates item, class, shard as of `codes`.

        On roots of older versions they lie shard by shard, and are read into memory.
        """
        data = self.stored.of_split("embeddings", split).data
        if arrays.promised(data, "z"):
            return labelled(data, "z", self._items(split))
        z = arrays.read_shards(data, "embeddings")
        return with_coordinates(z, ARRAYS["embeddings"].dims, self._items(split))

    def unlearn(
        self,
        classes: str | Sequence[str] = (),
        *,
        items: "Names | None" = None,
        method: str = "uva",
        budget: int | None = None,
        share: float | None = None,
        scope: str = "global",
        rank: str | None = None,
        seed: int = 0,
        mask_only: bool = False,
    ) -> dict[str, Any]:
        """Forget classes together, as `dkvb unlearn` does: by a mask, by retraining, or exactly.

        classes: one name or several.
        items: training items to forget (exact, retrain): a list of their keys, a polars Series or DataFrame with a
            column `item_key`, or a file (`jobs.item_tables`).
        method: "uva" or "uve"; or "exact" or "retrain", which the rest is not for: see `jobs.unlearn.Request`.
        mask_only: no checkpoint.
        returns: what was done; "mask" and "checkpoint" are the files.
        raises: BadRequest, BadBudget, BadSums, BadCheckpoint, StoreError.
        """
        if method in ("exact", "retrain"):
            masks_only = {"budget": budget, "share": share, "rank": rank, "seed": seed, "mask_only": mask_only}
            given = [*(name for name, value in masks_only.items() if value), *["scope"] * (scope != "global")]
            if given:
                raise BadRequest(f"{', '.join(given)}: only with masks; leave it out")
            from jobs.exact import ExactRequest, forget_exactly  # torch
            from jobs.item_tables import item_names
            from jobs.retrained import retrain

            names = [] if items is None else item_names(items)
            exactly = ExactRequest(classes=several(classes), items=names)
            done = forget_exactly if method == "exact" else retrain
            return done(self.experiment, exactly).to_json()
        if items is not None:
            raise BadRequest('items: only with method = "exact" or "retrain"; leave it out')
        request = Request(
            classes=several(classes), method=method, budget=budget, share=share, scope=scope, rank=rank, seed=seed
        )
        return unlearn(self.experiment, request, mask_only=mask_only).to_json()

    def learn(
        self, images: str | os.PathLike[str], classes: str | Sequence[str] = (), *, weights: str | None = None
    ) -> dict[str, Any]:
        """Learn the images in class folders exactly, as `dkvb learn` does.

        images: the folder with the class folders; classes: those that are read, all of them unless given.
        weights: where the backbone's weights are, if they lie elsewhere than they did.
        returns: what was done; "checkpoint" and "linear" are the files.
        raises: as `jobs.learn.learn`.
        """
        from jobs.learn import LearnRequest, learn  # torch, and the backbone

        request = LearnRequest(images=os.fspath(images), classes=several(classes), weights=weights)
        return learn(self.experiment, request).to_json()

    def model(self, *, backbone: bool = True, weights: str | None = None) -> "Model":
        """Load the trained model as a torch module; arguments and errors as of `dkvb.torch.load`."""
        from dkvb.torch import load

        with checked_on_disk(self.experiment.artefact("values").path / CHECKPOINT) as file:
            return load(file, backbone=backbone, weights=weights)

    def export(
        self,
        folder: str | os.PathLike[str],
        *,
        request: str | None = None,
        before: bool = False,
        head: str = "values",
        backbone: bool = False,
        onnx: bool = False,
        images: str | None = None,
    ) -> dict[str, Any]:
        """Write a model to a folder of its own, as `dkvb export` does: see `jobs.models.export.Wanted`.

        returns: what was written; "digest" is what `dkvb.pretrained.from_pretrained` takes.
        raises: as `jobs.models.export.export`.
        """
        from jobs.models.export import Wanted, export  # torch

        wanted = Wanted(request=request, before=before, head=head, backbone=backbone, onnx=onnx, images=images)
        return export(self.experiment, Path(folder), wanted).to_json()

    def facts(self) -> dict[str, str]:
        """What it is and how far it is, for people."""
        steps = self.experiment.steps.items()
        done = {
            label for label, digest in steps if Artefact(self.experiment.root, label.partition("[")[0], digest).done
        }
        about = {"root": str(self.experiment.root), "experiment": self.experiment.name}
        about["steps"] = f"{len(done)} of {len(self.experiment.steps)} done"
        if "values" in done:
            names = ", ".join(self.classes[:NAMED])
            more = f" and {len(self.classes) - NAMED} more" if len(self.classes) > NAMED else ""
            about["classes"] = f"{len(self.classes)}: {names}{more}"
        if "counts" in done:
            about["bottleneck"] = f"{self.stored.size[0]} codebooks of {self.stored.size[1]} keys"
        if "sweep" in done:
            model = before(self.experiment)
            for split in SPLITS:
                accuracy, items = model.accuracy[split], sum(model.items[split])
                if accuracy is not None:
                    right = round(accuracy * items)
                    about[f"{split} accuracy"] = f"{per_cent(accuracy)} ({right} of {items} items)"
        return {name: shown(text) for name, text in about.items()}

    def __repr__(self) -> str:
        return "\n".join(f"{name:<16}{text}" for name, text in self.facts().items())

    def _repr_html_(self) -> str:
        cells = [(html.escape(name), html.escape(text)) for name, text in self.facts().items()]
        rows = "".join(f'<tr><th scope="row">{name}</th><td>{text}</td></tr>' for name, text in cells)
        return f'<table style="text-align: left">{rows}</table>'

    @cached_property
    def _names(self) -> NDArray[np.object_]:
        return np.array(self.classes, object)

    def _pairs(self, *axes: str) -> Coordinates:
        """Numbers of codebooks and keys."""
        sizes = dict(zip(("codebook", "key"), self.stored.size, strict=True))
        return {axis: (axis, np.arange(sizes[axis])) for axis in axes or sizes}

    def _items(self, split: str) -> Coordinates:
        """Row, class name and shard of each item."""
        shards = self.stored.manifest(split).shards
        shard = np.repeat(np.array([each.name for each in shards], object), [each.items for each in shards])
        named = np.append(self._names, "")  # of -1, a skipped item
        names = named[self.stored.labels(split)]
        return {"item": ("item", np.arange(len(names))), "class": ("item", names), "shard": ("item", shard)}


def open_experiment(root: str | os.PathLike[str], experiment: str | None = None) -> OpenExperiment:
    """Open an experiment; arguments and errors as of `dkvb_unlearning.open_root`."""
    return OpenExperiment(find(place(written_out(str(root))), experiment))
