"""Memory of a unit: what a worker holds at most, from sizes alone; each kind of step adds up its own (`jobs.kinds`)."""

from collections.abc import Iterator
from dataclasses import dataclass

from dkvb.backbone_spec import BackboneSpec, embedding_width
from dkvb.sizes import GROUP, are_large
from jobs.step import Step
from store.artefacts import Artefact, read_json
from store.layout import MANIFEST
from store.manifest import Manifest
from store.places import Place

PROCESS = 1 << 30
"""Bytes of a worker before its work: Python, torch, Zarr, compiled kernels."""

WEIGHTS = 512 << 20
"""Bytes that a backbone takes while it is loaded: those of ViT-B/16 are 343 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What the memory of a unit, and the cost of a step, follow from; 0 for what is not known yet."""

    train: int = 0
    """Training items."""
    test: int = 0
    """Test items."""
    other: int = 0
    """Items of another data set."""
    v: int = 0
    """Classes."""
    c: int = 0
    """Codebooks."""
    m: int = 0
    """Pairs of a codebook."""
    d_k: int = 0
    """Width of a key."""
    d_z: int = 0
    """Width of an embedding."""

    @property
    def items(self) -> int:
        """Items of the larger split."""
        return max(self.train, self.test, self.other)

    @property
    def table(self) -> int:
        """Bytes of all values."""
        return 4 * self.c * self.m * self.v

    @property
    def bottleneck(self) -> int:
        """Bytes of projections and keys."""
        return 4 * self.c * self.d_k * (self.m + self.d_z)

    @property
    def codes(self) -> int:
        """Bytes of the codes of the training items."""
        return 2 * self.train * self.c

    @property
    def training(self) -> int:
        """Bytes of a training of values, their codes included (`dkvb.values`, `dkvb.large_values`)."""
        errors = 4 * self.train * self.v
        if are_large(2 * self.table):
            return errors + 2 * self.codes + GROUP
        return errors + 2 * self.table + 4 * self.codes

    @property
    def solve(self) -> int:
        """Bytes of sums over selected keys, and of a solve for values: four matrices of all features."""
        return 32 * (self.c * self.d_k) ** 2

    @property
    def scratch(self) -> int:
        """Bytes of a training of values on the worker's disk."""
        return 2 * self.table if are_large(2 * self.table) else 0

    @property
    def heads(self) -> int:
        """Bytes of both trained heads with all items, and of a descent on one of them."""
        items = self.train + self.test
        linear = 4 * items * self.d_z * 2
        return linear + 4 * items * self.c + 5 * self.table + 8 * self.train * self.v


def sizes_of(step: Step, root: Place) -> Sizes:
    """The sizes that a step of a plan has on a root: of what comes before it, as far as that is done."""
    asked: dict[str, int] = {}
    for one in upstream(step):
        if one.kind == "manifest" and one.split in ("train", "test", "other"):
            output = Artefact(root, one.kind, one.digest)
            if output.done:
                manifest = Manifest.from_json(read_json(output.path / MANIFEST))
                asked[one.split] = manifest.items
                if one.split == "train":
                    asked["v"] = len(manifest.classes)
        elif one.kind in ("keys", "oracles"):
            asked |= {name: getattr(one.asks, name) for name in ("c", "m", "d_k")}
        elif one.kind == "embeddings":
            asked["d_z"] = _width(one.asks)
    return Sizes(**asked)


def upstream(step: Step) -> Iterator[Step]:
    """The step and all that it needs, each once."""
    seen, todo = set[int](), [step]
    while todo:
        one = todo.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            todo += one.inputs.values()


def _width(asks: object) -> int:
    backbone = getattr(asks, "backbone", None)
    assert isinstance(backbone, BackboneSpec)
    return embedding_width(backbone)
