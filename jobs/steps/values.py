"""Step: the values, and with them the complete bottleneck as one checkpoint."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dkvb.bottleneck import Bottleneck
from dkvb.checkpoint import identity
from dkvb.codes import encode
from dkvb.counts import count_codes
from dkvb.training import TrainSettings
from dkvb.values import fit_values
from jobs import inputs
from jobs.step import Facts, Inputs, Task, Work, to_json
from jobs.worker import use_cores
from store.files import write_atomic
from store.layout import CHECKPOINT

VERSION = 3
LEASE_S = 604800
ON_GPU = False
INPUTS = Inputs(["manifest", "embeddings", "codes", "keys"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """How the values are trained."""

    settings: TrainSettings
    seed: int
    selectable: str
    """ "used": in evaluation only keys that training used; "all": every key."""


def prepare(task: Task[Asks]) -> list[str]:
    """One unit: every step of the training touches all values."""
    return ["values"]


def open_work(task: Task[Asks]) -> Work:
    """Train on the cached codes."""
    use_cores()

    def fit(unit: str) -> Facts:
        asks = task.asks
        projection, keys = inputs.tensor(task, "keys", "projection"), inputs.tensor(task, "keys", "keys")
        codes, labels = inputs.tensor(task, "codes", "codes"), inputs.labels(task, "embeddings")
        kept = (labels >= 0).nonzero().flatten()
        codes, labels = codes[kept], labels[kept]
        classes = inputs.read_manifest(task).classes
        m = keys.shape[1]

        def recode(rows: Tensor, used: Tensor) -> Tensor:
            z = inputs.embeddings(task, "embeddings")[kept[rows]]
            return encode(z, projection, keys, selectable=used)

        values, trained = fit_values(
            codes,
            labels,
            asks.settings,
            m=m,
            v=len(classes),
            seed=asks.seed,
            recode=recode if asks.selectable == "used" else None,
        )
        used = count_codes(codes, m) > 0
        header = {
            "classes": list(classes),
            "backbone": task.inputs["embeddings"].facts()["backbone"],
            "epochs": trained.epochs,
            "spec": to_json(asks),
            "inputs": {name: f"{part.step}/{part.digest}" for name, part in task.inputs.items()},
        }
        selectable = used if asks.selectable == "used" else torch.ones_like(used)
        bottleneck = Bottleneck(projection, keys, values, selectable, header)
        write_atomic(task.output.path / CHECKPOINT, bottleneck.parts())
        return {
            "epochs": trained.epochs,
            "validation": trained.validation,
            "used": int(used.sum()),
            "classes": header["classes"],
            "model": identity(header),
        }

    return fit


def finish(task: Task[Asks]) -> Facts:
    """How the values were trained."""
    return dict(task.output.marks()["values"])
