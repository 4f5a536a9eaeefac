"""JSON from elsewhere."""

import json
from typing import Any


def from_json(data: bytes | str) -> Any:
    """JSON from elsewhere; raises: ValueError for all that is none, nested beyond reason too."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
