"""Requests to forget on the tiny experiment, and what its arrays hold."""

import torch
from safetensors.torch import load_file

from jobs.unlearn import Request, unlearn
from store import arrays

M = 13


def counts_of(experiment):
    return arrays.read(experiment.artefact("counts").data, "counts").astype("int64")


def codes_of(experiment, k):
    codes = arrays.read(experiment.artefact("codes[train]").data, "codes")
    labels = arrays.read_shards(experiment.artefact("embeddings[train]").data, "labels")
    return codes[labels == k]


def items_of(experiment, split):
    data = experiment.artefact(f"embeddings[{split}]").data
    z, labels = arrays.read_shards(data, "embeddings"), arrays.read_shards(data, "labels")
    return torch.from_numpy(z), torch.from_numpy(labels).long()


def mask_of(done):
    return load_file(done.mask)["mask"]


def forget(experiment, *classes, **asked):
    return unlearn(experiment, Request(classes=list(classes), **asked))
