"""Errors of the dkvb package: one base, every leaf also a builtin."""


class DkvbError(Exception):
    """Base of every error the dkvb package raises on purpose; its text is meant for the user."""
