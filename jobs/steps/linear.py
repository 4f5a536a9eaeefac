"""Step: the linear head on the same embeddings, with its accuracies."""

from dataclasses import dataclass

from safetensors.torch import save

from dkvb.linear import fit_linear, linear_logits
from dkvb.metrics import accuracy
from dkvb.training import TrainSettings
from jobs import inputs
from jobs.images import copies
from jobs.step import SPLITS, Facts, Inputs, Task, Work
from jobs.worker import use_one_core
from store.files import write_atomic
from store.layout import LINEAR

VERSION = 1
LEASE_S = 86400
ON_GPU = False
INPUTS = Inputs(["manifest", "train", "test"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """How the head is trained."""

    settings: TrainSettings
    seed: int


def prepare(task: Task[Asks]) -> list[str]:
    """One unit."""
    return ["linear"]


def open_work(task: Task[Asks]) -> Work:
    """Train on the embeddings, then look at both splits."""
    use_one_core()

    def fit(unit: str) -> Facts:
        splits = {}
        for split in SPLITS:
            labels = inputs.labels(task, split)
            splits[split] = inputs.embeddings(task, split)[labels >= 0], labels[labels >= 0]
        v = len(inputs.read_manifest(task).classes)
        trained = fit_linear(*splits["train"], task.asks.settings, v=v, seed=task.asks.seed)
        tensors = {"weight": trained.weights[:-1].contiguous(), "bias": trained.weights[-1].contiguous()}
        write_atomic(task.output.path / LINEAR, save(tensors))
        accuracies = {
            split: accuracy(linear_logits(z, trained.weights).argmax(1), labels)
            for split, (z, labels) in splits.items()
        }
        return {"epochs": trained.epochs, "validation": trained.validation, "accuracy": accuracies}

    return fit


def finish(task: Task[Asks]) -> Facts:
    """How the head was trained and what it reaches."""
    shared, notes = copies.across(task.inputs["train"], task.inputs["test"]), []
    if shared is not None and shared.items:
        labels = f"; {shared.relabelled} of them with another label" if shared.relabelled else ""
        notes.append(
            f"{shared.items} test images are copies of training images, byte for byte{labels}: they flatter accuracy"
        )
    facts = dict(task.output.marks()["linear"])
    return {**facts, "copies": None if shared is None else shared.items, "notes": notes}
