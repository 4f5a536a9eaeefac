"""Places as people write them."""

import re
from pathlib import Path


def written_out(text: str) -> str:
    """A folder written ``~/images`` or ``file:///data`` as a path; an address as it is."""
    if found := re.match(r"file:(//(localhost)?)?/+(?=[^/])", text):
        return f"/{text[found.end() :]}"
    return str(Path(text).expanduser()) if re.match(r"~(/|$)", text) else text
