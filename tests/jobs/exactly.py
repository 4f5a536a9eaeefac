"""Heads by linear discriminant analysis, made anew of items that are given: what requests must leave."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from dkvb.bottleneck import Bottleneck
from dkvb.counts import count_codes
from dkvb.lda import LdaSettings, discriminants, lda_linear, lda_values
from dkvb.sums import SelectedKeys, Sums, WholeEmbeddings
from jobs.learn import LearnRequest, learn
from jobs.learned import read_learned
from jobs.summed import read_whole_keys
from store import arrays
from store.artefacts import Artefact

LDA = {"values": None, "values.method": "lda", "linear": None, "linear.method": "lda"}
ANT, BEE, CAT, DOG = range(4)
"""Classes; the last is of no split."""
M, ITEMS = 13, 41
BITS = 10


@dataclass
class Heads:
    """Both heads, and their sums as bytes."""

    sums: bytes
    values: Tensor
    selectable: Tensor
    linear_sums: bytes
    linear: bytes


def keys_of(experiment):
    return arrays.read(experiment.artefact("manifest[train]").data, "item_key").tolist()


def rows_of(experiment, k):
    return (train_items(experiment)[2] == k).nonzero().flatten().tolist()


def train_items(experiment):
    """Codes, embeddings and labels of the training items."""
    codes = arrays.read(experiment.artefact("codes[train]").data, "codes")
    data = experiment.artefact("embeddings[train]").data
    z, labels = arrays.read_shards(data, "embeddings"), arrays.read_shards(data, "labels")
    return torch.from_numpy(codes), torch.from_numpy(z), torch.from_numpy(labels).long()


def learned_items(done):
    """Codes, embeddings and labels of what a request learned."""
    folder = Path(done.linear).parent
    read = read_learned(Artefact(folder.parents[1], "unlearned", folder.name))
    return tuple(torch.from_numpy(part) for part in (read.codes, read.embeddings, read.labels))


def anew(experiment, gone=(), learned=(), v=3, bits=BITS):
    """Both heads of all training items but some, and of learned ones, on the experiment's keys."""
    rest = torch.ones(ITEMS, dtype=torch.bool)
    rest[list(gone)] = False
    parts = [tuple(part[rest] for part in train_items(experiment)), *learned]
    codes, z, labels = (torch.cat(each) for each in zip(*parts, strict=True))
    linear_sums = Sums.of(WholeEmbeddings.of(z, bits), labels, v=v)
    weights = lda_linear(discriminants(linear_sums, LdaSettings()), bits)
    linear = save({"weight": weights[:-1].contiguous(), "bias": weights[-1].contiguous()})
    if "sums" not in experiment.steps:
        return Heads(b"", torch.empty(0), torch.empty(0), linear_sums.to_bytes(), linear)
    keys = read_whole_keys(experiment.artefact("sums"))
    sums = Sums.of(SelectedKeys.of(codes, keys), labels, v=v)
    values = lda_values(discriminants(sums, LdaSettings()), keys)
    return Heads(sums.to_bytes(), values, count_codes(codes, M) > 0, linear_sums.to_bytes(), linear)


def teach(experiment, images, *classes):
    return learn(experiment, LearnRequest(images=str(images), classes=classes))


def written(done):
    """Both heads as a request wrote them."""
    folder = Path(done.linear).parent
    linear = (folder / "linear_sums.safetensors").read_bytes(), Path(done.linear).read_bytes()
    if done.checkpoint is None:
        return Heads(b"", torch.empty(0), torch.empty(0), *linear)
    model = Bottleneck.load(done.checkpoint)
    return Heads(Path(done.sums).read_bytes(), model.values, model.selectable, *linear)


def check(done, expected):
    """Whether a request left these heads, to the last bit."""
    there = written(done)
    assert there.sums == expected.sums
    assert there.linear_sums == expected.linear_sums
    assert torch.equal(there.values, expected.values)
    assert torch.equal(there.selectable, expected.selectable)
    assert there.linear == expected.linear


def linear_of(done):
    return load_file(done.linear)
