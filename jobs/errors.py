"""Errors of the jobs package: one base, every leaf also a builtin."""


class JobsError(Exception):
    """Base of every error the jobs package raises on purpose; its text is meant for the user."""


class BadSpec(JobsError, ValueError):
    """A spec that cannot be read or asks for what does not exist."""


class StepFailed(JobsError, RuntimeError):
    """Units of a step failed; what stands stays, and the same command goes on from there."""


class BadRequest(JobsError, ValueError):
    """A question or an order the user gave that the root cannot answer."""
