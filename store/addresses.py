"""Addresses as people write them on a command line."""

import re
from pathlib import Path


def written_out(text: str) -> str:
    """The path of a folder written as ``~/images`` or ``file:///data``; any other text as it is."""
    if scheme := re.match(r"file:(//(localhost)?)?/+(?=[^/])", text):
        return f"/{text[scheme.end() :]}"
    return str(Path(text).expanduser()) if re.match(r"~(/|$)", text) else text
