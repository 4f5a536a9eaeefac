"""Step: the linear head on the same embeddings, trained or solved for, with its accuracies."""

from safetensors.torch import save
from torch import Tensor

from dkvb.lda import discriminants, lda_linear
from dkvb.linear import fit_linear, linear_logits
from dkvb.metrics import accuracy
from dkvb.sums import Sums, WholeEmbeddings
from jobs import inputs
from jobs.images import copies
from jobs.kinds.linear import Asks
from jobs.saves import TrainingSaves, drop
from jobs.step import SPLITS, Facts, Task, Work
from jobs.worker import use_one_core
from store.files import write_atomic
from store.layout import LINEAR, SUMS


def prepare(task: Task[Asks]) -> list[str]:
    """One unit."""
    return ["linear"]


def open_work(task: Task[Asks]) -> Work:
    """Make the head of the embeddings, then look at both splits."""
    use_one_core()

    def fit(unit: str) -> Facts:
        splits = {}
        for split in SPLITS:
            labels = inputs.labels(task, split)
            splits[split] = inputs.embeddings(task, split)[labels >= 0], labels[labels >= 0]
        v = len(inputs.read_manifest(task).classes)
        make = solve if task.asks.lda else train
        weights, fitted = make(task, *splits["train"], v)
        tensors = {"weight": weights[:-1].contiguous(), "bias": weights[-1].contiguous()}
        write_atomic(task.output.path / LINEAR, save(tensors))
        accuracies = {
            split: accuracy(linear_logits(z, weights).argmax(1), labels) for split, (z, labels) in splits.items()
        }
        return {**fitted, "accuracy": accuracies}

    return fit


def train(task: Task[Asks], z: Tensor, labels: Tensor, v: int) -> tuple[Tensor, Facts]:
    """Weights (d_z + 1, v) of a trained head, and how it was trained."""
    settings = task.asks.settings
    assert settings is not None, "the plan gives one of both"
    saves = TrainingSaves(task.output, "linear")
    trained = fit_linear(z, labels, settings, v=v, seed=task.asks.seed, saves=saves)
    notes = {"notes": saves.notes} if saves.notes else {}
    return trained.weights, {"epochs": trained.epochs, "validation": trained.validation, **notes}


def solve(task: Task[Asks], z: Tensor, labels: Tensor, v: int) -> tuple[Tensor, Facts]:
    """Weights (d_z + 1, v) of a head by linear discriminant analysis; its sums are kept beside it."""
    settings, bits = task.asks.lda, task.asks.bits
    assert settings is not None
    assert bits is not None, "the plan gives it with the settings"
    sums = Sums.of(WholeEmbeddings.of(z, bits), labels, v=v)
    write_atomic(task.output.path / SUMS, sums.to_bytes())
    return lda_linear(discriminants(sums, settings), bits), {"items": sums.items.tolist()}


def finish(task: Task[Asks]) -> Facts:
    """How the head was trained and what it reaches."""
    shared, notes = copies.across(task.inputs["train"], task.inputs["test"]), []
    if shared is not None and shared.items:
        labels = f"; {shared.relabelled} of them with another label" if shared.relabelled else ""
        notes.append(
            f"{shared.items} test images are copies of training images, byte for byte{labels}: they flatter accuracy"
        )
    drop(task.output)
    facts = dict(task.output.marks()["linear"])
    notes += facts.get("notes", [])
    return {**facts, "copies": None if shared is None else shared.items, "notes": notes}
