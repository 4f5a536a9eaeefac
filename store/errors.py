"""Errors of the store package: one base, every leaf also a builtin."""


class StoreError(Exception):
    """Base of every error the store package raises on purpose; its text is meant for the user."""
