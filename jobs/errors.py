"""Errors of the jobs package: one base, every leaf also a builtin."""


class JobsError(Exception):
    """Base of every error the jobs package raises on purpose; its text is meant for the user."""
