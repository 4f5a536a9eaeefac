"""JSON that comes from elsewhere, and may be anything."""

import json
from typing import Any


def from_json(data: bytes | str) -> Any:
    """Parse JSON; raises: ValueError for anything else, and for JSON that is nested beyond reason."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
