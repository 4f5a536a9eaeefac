"""What a checkpoint says of its model, read without its tensors and without torch."""

import json
from pathlib import Path
from typing import IO, Any, Protocol

from safetensors import SafetensorError

from dkvb.errors import BadCheckpoint

FORMAT = "dkvb-bottleneck/1"

LONGEST = 100_000_000
"""Bytes of the longest header that safetensors reads."""

UNREADABLE = (OSError, SafetensorError, AttributeError, KeyError, RecursionError, TypeError, ValueError)
"""What reading a file raises that is no checkpoint."""


class Openable(Protocol):
    """A path, on a disk or elsewhere."""

    def open(self, mode: str) -> IO[bytes]: ...  # noqa: D102


def read_header(path: Openable | str) -> dict[str, Any]:
    """What the model is: class names, backbone, specs, digests. Reads the head of the file alone.

    raises: BadCheckpoint when the file is missing, damaged, or no bottleneck.
    """
    try:
        with (Path(path) if isinstance(path, str) else path).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LONGEST:
                raise ValueError("it does not begin with a header")
            said = json.loads(json.loads(file.read(length)).get("__metadata__", {}).get("dkvb", "{}"))
        if (found := said.get("format")) != FORMAT:
            raise BadCheckpoint(f"{path}: format found {found!r}, expected {FORMAT!r}")
        return dict(said["header"])
    except UNREADABLE as error:
        raise BadCheckpoint(f"{path}: not a readable bottleneck checkpoint: {error}") from error
