"""Step: the values, and with them the complete bottleneck as one checkpoint."""

from typing import Any

import torch
from torch import Tensor

from dkvb.bottleneck import Bottleneck
from dkvb.checkpoint import identity
from dkvb.codes import encode
from dkvb.counts import count_codes
from dkvb.training import Saves, Trained
from dkvb.values import fit_values
from jobs import inputs
from jobs.kinds.values import Asks
from jobs.saves import TrainingSaves, drop
from jobs.step import Facts, Task, Work, to_json
from jobs.summed import read_summed
from jobs.worker import use_cores
from store.files import write_atomic
from store.layout import CHECKPOINT


def prepare(task: Task[Asks]) -> list[str]:
    """One unit: every step of the training touches all values, and so does a solve."""
    return ["values"]


def open_work(task: Task[Asks]) -> Work:
    """Train on the cached codes, or solve."""
    use_cores()

    def fit(unit: str) -> Facts:
        asks = task.asks
        projection, keys = inputs.tensor(task, "keys", "projection"), inputs.tensor(task, "keys", "keys")
        kept = (inputs.labels(task, "embeddings") >= 0).nonzero().flatten()
        classes = inputs.read_manifest(task).classes
        saves = TrainingSaves(task.output, unit)
        if asks.lda is not None:
            fitted: dict[str, Any] = {}
            values = read_summed(task.inputs["sums"]).values(asks.lda)
            used = count_codes(inputs.some_codes(task, "codes", kept), keys.shape[1]) > 0
        else:
            values, used, trained = train_on(task, kept, saves)
            fitted = {"epochs": trained.epochs, "validation": trained.validation}
        header = {
            "classes": list(classes),
            "backbone": task.inputs["embeddings"].facts()["backbone"],
            **({"epochs": fitted["epochs"]} if fitted else {}),
            "spec": to_json(asks),
            "inputs": {name: f"{part.step}/{part.digest}" for name, part in task.inputs.items()},
        }
        selectable = used if asks.selectable == "used" else torch.ones_like(used)
        bottleneck = Bottleneck(projection, keys, values, selectable, header)
        write_atomic(task.output.path / CHECKPOINT, bottleneck.parts())
        return {
            **fitted,
            "used": int(used.sum()),
            "classes": header["classes"],
            "model": identity(header),
            **({"notes": saves.notes} if saves.notes else {}),
        }

    return fit


def train_on(task: Task[Asks], kept: Tensor, saves: Saves | None = None) -> tuple[Tensor, Tensor, Trained]:
    """Train values on some of the training items alone, by what the task asks.

    task: its inputs are read, its output is not touched.
    kept: (n,) int64 rows of these items, increasing.
    returns: (c, m, v) float32 values; (c, m) bool, the keys that these items use; how the values were trained.
    raises: OSError where there is no room for large values.
    """
    asks = task.asks
    assert asks.settings is not None, "the plan gives one of both"
    projection, keys = inputs.tensor(task, "keys", "projection"), inputs.tensor(task, "keys", "keys")
    codes, m = inputs.some_codes(task, "codes", kept), keys.shape[1]

    def recode(rows: Tensor, used: Tensor) -> Tensor:
        z = inputs.some_embeddings(task, "embeddings", kept[rows])
        return encode(z, projection, keys, selectable=used)

    values, trained = fit_values(
        codes,
        inputs.labels(task, "embeddings")[kept],
        asks.settings,
        m=m,
        v=len(inputs.read_manifest(task).classes),
        seed=asks.seed,
        recode=recode if asks.selectable == "used" else None,
        saves=saves,
    )
    return values, count_codes(codes, m) > 0, trained


def finish(task: Task[Asks]) -> Facts:
    """How the values were made."""
    drop(task.output)
    return dict(task.output.marks()["values"])
