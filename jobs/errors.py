"""Errors of the jobs package: one base, every leaf also a builtin; and what they suggest."""

import difflib
from typing import Any


class JobsError(Exception):
    """Base of every error the jobs package raises on purpose; its text is meant for the user."""

    exit_code = 1
    """Of a command that it ends."""
    final = True
    """Whether another attempt at the same would meet it again."""


class BadSpec(JobsError, ValueError):
    """A spec that cannot be read or asks for what does not exist."""

    exit_code = 2


class StepFailed(JobsError, RuntimeError):
    """Units of a step failed; what is done stays, and the same command goes on from there.

    unreachable: whether it was only that a store did not answer.
    """

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.final = not unreachable


class BadRequest(JobsError, ValueError):
    """A question or an order the user gave that the root cannot answer."""

    exit_code = 2


def nearest(word: str, known: Any) -> str:
    """A hint at the nearest known word, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""
