"""Heads of a few items, every number of which can be worked out by hand."""

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from dkvb.bottleneck import Bottleneck
from dkvb.linear import EmbeddingFeatures
from dkvb.training import TrainSettings
from dkvb.values import CodeFeatures
from jobs.comparison.accuracies import Accuracies
from jobs.comparison.heads import LinearHead, ValuesHead
from jobs.comparison.judge import Judge, Model
from jobs.spec.schema import Grids, UvaGrid, UveGrid

SETTINGS = TrainSettings(epochs=3, validation=0.0)


def by_split(train, test):
    return {"train": torch.tensor(train), "test": torch.tensor(test)}


def scores(predicted, v=3):
    """Logits that say these classes: 9 for the class, 0 for the others."""
    return 9.0 * torch.nn.functional.one_hot(torch.tensor(predicted), v)


def said(train, test, *, method="method", setting=None):
    """A model of the small head that predicts these classes."""
    logits = {"train": scores(train), "test": scores(test)}
    return Model(head(), method, {}, torch.zeros(1, 3), logits, setting or {})


def reached(**shares):
    """Accuracies; those that are not given are 0."""
    return Accuracies(**{name.name: shares.get(name.name, 0.0) for name in fields(Accuracies)})


def linear_head(z, labels):
    """A head whose logits are the embeddings themselves; v is their width."""
    features = {split: EmbeddingFeatures.of(torch.tensor(own)) for split, own in z.items()}
    v = features["train"].x.shape[1] - 1
    return LinearHead(features, labels, torch.cat([torch.eye(v), torch.zeros(1, v)]), SETTINGS)


def values_head(codes, labels, table):
    """A head of c codebooks; table: (c, m, v)."""
    values = torch.tensor(table)
    c, m, v = values.shape
    features = {split: CodeFeatures.of(torch.tensor(own), m) for split, own in codes.items()}
    return ValuesHead(features, labels, values.reshape(c * m, v), SETTINGS)


# Two codebooks of three keys each, at 0, 1 and 3; the first reads the first number of an embedding, the second the
# other. Key k votes for class k, in the first codebook three times as loud: alone it decides.
LABELS = {"train": torch.tensor([0, -1, 1, 2, 0]), "test": torch.tensor([-1, 0, 1])}
KEPT = {split: own >= 0 for split, own in LABELS.items()}
OWN = {split: own[KEPT[split]] for split, own in LABELS.items()}
CODES = {"train": [[0, 1], [2, 0], [1, 2], [2, 1], [0, 2]], "test": [[1, 1], [0, 1], [1, 2]]}
PLACE = [0.0, 1.0, 3.0]
NEAREST = [[0, 1], [1, 0], [2, 1]]
VALUES = torch.stack([3 * torch.eye(3), torch.eye(3)])


def bottleneck():
    projection = torch.tensor([[[1.0], [0.0]], [[0.0], [1.0]]])
    keys = torch.tensor([PLACE, PLACE])[:, :, None]
    return Bottleneck(projection, keys, VALUES, torch.ones(2, 3, dtype=torch.bool), {})


def embeddings(split):
    return torch.tensor([[PLACE[key] for key in codes] for codes in CODES[split]])


def stored():
    """Its arrays by input and name, skipped items included."""
    found = {}
    for split, codes in CODES.items():
        found[f"codes_{split}", "codes"] = np.array(codes, np.int16)
        found[f"neighbours_{split}", "neighbours"] = np.array(NEAREST, np.int16)[np.array(codes)]
    return found


def head():
    """The same bottleneck as a head: its items that are not skipped."""
    codes = {split: np.array(CODES[split])[KEPT[split].numpy()].tolist() for split in CODES}
    return values_head(codes, OWN, VALUES.tolist())


def task(**more: Any) -> Any:
    """A task that has what a test needs of it, and no more."""
    return SimpleNamespace(path=lambda name: name, **more)


def oracle_judge(*, before=(0, 1)):
    """A judge of class 0, whose model before says these classes of the test items."""
    forget = {split: (known == 0).numpy() for split, known in OWN.items()}
    oracle = said([1, 1, 2, 1], [1, 1])
    oracle.logits["test"][0] = 9 * torch.eye(3)[0]  # right on every test item
    return Judge(OWN, forget, [0], said([0, 1, 2, 0], list(before)), oracle)


GRIDS = Grids(
    uva=UvaGrid(unit="shares", grid=[0.5, 1.0], scope="global"), uve=UveGrid(unit="examples", grid=[1], seeds=[0])
)
RULES: dict[str, Any] = {"seed": 0, "tau": 0.9, "taus": [0.5, 1.0], "weights": [0.0, 0.5]}
"""Of a comparison."""

HITS = np.array([[6, 0, 2], [0, 1, 3]])
OTHERS = np.array([[4, 8, 0], [5, 0, 7]])
"""Hits of a class, and of all others."""
