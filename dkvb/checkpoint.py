"""What a checkpoint says of its model, read without its tensors and without torch."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from dkvb.errors import BadCheckpoint

FORMAT = "dkvb-bottleneck/1"

UNREADABLE = (OSError, SafetensorError, AttributeError, KeyError, json.JSONDecodeError)
"""What reading a file raises that is no checkpoint."""


def read_header(path: Path | str) -> dict[str, Any]:
    """What the model is: class names, backbone, specs, digests.

    raises: BadCheckpoint when the file is missing, damaged, or no bottleneck.
    """
    try:
        with safe_open(path, "np") as file:
            said = json.loads((file.metadata() or {}).get("dkvb", "{}"))
        if (found := said.get("format")) != FORMAT:
            raise BadCheckpoint(f"{path}: format found {found!r}, expected {FORMAT!r}")
        header: dict[str, Any] = said["header"]
        return header
    except UNREADABLE as error:
        raise BadCheckpoint(f"{path}: not a readable bottleneck checkpoint: {error}") from error
