"""Headers of checkpoints and masks: what they say of their model, read without torch; and tensors, mapped."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from dkvb.errors import BadCheckpoint

FORMAT = "dkvb-bottleneck/1"
MASK_FORMAT = "dkvb-mask/1"

LONGEST = 100_000_000
"""Most bytes of a header that safetensors reads."""

UNREADABLE = (OSError, SafetensorError, AttributeError, KeyError, RecursionError, TypeError, ValueError)
"""What may be raised while a file is read that is no checkpoint."""


class Openable(Protocol):
    """A path, on a disk or elsewhere."""

    def open(self, mode: str) -> IO[bytes]: ...  # noqa: D102


def read_header(path: Openable | str) -> dict[str, Any]:
    """Read what a checkpoint's model is (class names, backbone, specs, digests) from the head of the file alone.

    raises: BadCheckpoint when the file is missing, damaged, or no bottleneck.
    """
    return dict(_read(path, FORMAT, "bottleneck checkpoint", lambda metadata: dict(metadata["header"])))


def read_mask_header(path: Openable | str) -> dict[str, Any]:
    """Read what a mask is (the request that it answers, the model it was made for) from the head of the file alone.

    raises: BadCheckpoint when the file is missing, damaged, or no mask.
    """
    return dict(_read(path, MASK_FORMAT, "mask", dict))


def identity(header: Mapping[str, Any]) -> str:
    """SHA-256 of what a model is by its header: equal for a checkpoint and for every one unlearned from it.

    The header holds digests of keys, codes, images and the backbone's weights, and the spec.
    """
    model = {name: value for name, value in header.items() if name != "unlearned"}
    return hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest()


def safetensors_head(about: Mapping[str, Any], tensors: Mapping[str, tuple[str, Sequence[int], int]]) -> bytes:
    """The first bytes of a safetensors file: all but its tensors.

    about: what the file is (JSON).
    tensors: type in the words of safetensors, shape and number of bytes, by name, in the order in which they follow.
    """
    # One entry: safetensors writes several in no fixed order, and equal models must be equal bytes.
    table: dict[str, Any] = {"__metadata__": {"dkvb": json.dumps(about, sort_keys=True)}}
    end = 0
    for name, (dtype, shape, size) in tensors.items():
        begin, end = end, end + size
        table[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    head = json.dumps(table, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head


def mapped(file: Path, name: str) -> NDArray[Any]:
    """One tensor of a safetensors file, mapped into memory; raises: BadCheckpoint."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            about = json.loads(opened.read(length))[name]
        dtype = {"F32": np.float32, "BOOL": np.bool_}[about["dtype"]]
        return np.memmap(file, dtype, "r", offset=8 + length + about["data_offsets"][0], shape=tuple(about["shape"]))
    except (MemoryError, *UNREADABLE) as error:
        raise BadCheckpoint(f"{file}: not readable: {error}") from error


def _read(path: Openable | str, form: str, what: str, take: Callable[[Any], Any]) -> Any:
    """What `take` takes of the JSON in the metadata of a safetensors file; raises: BadCheckpoint."""
    try:
        with (Path(path) if isinstance(path, str) else path).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LONGEST:
                raise ValueError("it does not begin with a header")
            metadata = json.loads(json.loads(file.read(length)).get("__metadata__", {}).get("dkvb", "{}"))
        if (written := metadata.get("format")) != form:
            raise BadCheckpoint(f"{path}: format found {written!r}, expected {form!r}")
        return take(metadata)
    except BadCheckpoint:
        raise
    except UNREADABLE as error:
        raise BadCheckpoint(f"{path}: not a readable {what}: {error}") from error
