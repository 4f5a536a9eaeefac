"""Weight files: looked up in the cache and on the hub, and read without ever running what is in them."""

import hashlib
import logging
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from dkvb.errors import BackboneWeightsInvalid, BackboneWeightsMissing

HUB_TIMEOUT = 5.0
"""Seconds for the hub to answer; without an answer there is no retry."""


def from_hub(repository: str, names: Sequence[str]) -> Path:
    """The first of the named files that the cache has, else that the hub has; asked once, without retries.

    raises: BackboneWeightsMissing.
    """
    from huggingface_hub import (
        constants,
        get_hf_file_metadata,
        hf_hub_download,
        hf_hub_url,
        try_to_load_from_cache,
    )
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repo, _, revision = repository.partition("@")
    at = revision or None
    for name in names:
        cached = try_to_load_from_cache(repo, name, revision=at)
        if isinstance(cached, str):
            return Path(cached)
    problem: Exception | None = None
    for name in names:
        try:
            # This comes first because hf_hub_download alone retries for most of a minute without a network.
            get_hf_file_metadata(hf_hub_url(repo, name, revision=at), timeout=HUB_TIMEOUT)
            return Path(hf_hub_download(repo, name, revision=at))
        except Exception as error:  # the client's network errors share no base across its versions
            problem = error
            if not isinstance(error, EntryNotFoundError) or isinstance(error, LocalEntryNotFoundError):
                break
    reason = "HF_HUB_OFFLINE=1 is set" if constants.HF_HUB_OFFLINE else f"the hub gave none: {brief(problem)}"
    command = shlex.join(["hf", "download", repo, *(["--revision", revision] if revision else [])])
    raise BackboneWeightsMissing(
        f"{repository}: no {' or '.join(names)} in the cache {constants.HF_HUB_CACHE}, and {reason}. Run "
        f"'{command}' on a machine with a network and copy its cache here, or give a checkpoint file as "
        "weights, or take weights = 'random' for a dry run"
    ) from problem


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name; raises: BackboneWeightsMissing, BackboneWeightsInvalid."""
    if not file.is_file():
        raise BackboneWeightsMissing(f"{file} does not exist; give another file as weights, or 'random' for a dry run")
    try:
        if file.suffix == ".safetensors":
            content = safetensors.torch.load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file can make the readers raise nearly anything
        raise BackboneWeightsInvalid(
            f"{file}: not a readable checkpoint of tensors alone ({brief(error)}); pickled code is never "
            "run here: save the model's state_dict, best as .safetensors"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise BackboneWeightsInvalid(f"{file}: holds no state dict, expected tensors by name; save model.state_dict()")
    return {str(name): tensor for name, tensor in content.items()}


def fill(module: nn.Module, file: Path, name: str) -> None:
    """Give a module every tensor of a file, in place; raises: BackboneWeightsInvalid where one is missing or too many.

    name: of the model, for the error.
    """
    try:
        module.load_state_dict(read_checkpoint(file))
    except RuntimeError as error:
        raise does_not_fit(file, name, error) from error


def does_not_fit(file: Path, name: str, error: Exception | None) -> BackboneWeightsInvalid:
    """The error for weights of another model."""
    return BackboneWeightsInvalid(f"{file} does not fit {name} ({brief(error)}); give the name it was saved from")


def brief(error: Exception | None) -> str:
    """An exception in one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def tensors_digest(module: nn.Module) -> str:
    """SHA-256 over name, dtype, shape and bytes of every tensor of the state dict, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextmanager
def without_warning(beginning: str) -> Iterator[None]:
    """Drop records of the root logger that begin so, for the time of the block; it gets no handler meanwhile."""

    def other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(beginning)

    root, handler = logging.getLogger(), logging.NullHandler()
    root.addFilter(other)
    root.addHandler(handler)  # without any, the first warning would make one that prints from then on
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.removeFilter(other)
