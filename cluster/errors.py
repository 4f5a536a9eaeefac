"""Errors of the cluster package: one base, every leaf also a builtin."""


class ClusterError(Exception):
    """Base of every error the cluster package raises on purpose; its text is meant for the user."""
