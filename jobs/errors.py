"""Errors of the jobs package: one base, every leaf also a builtin."""


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


class GpuDiffers(JobsError, ArithmeticError):
    """A GPU computed something else than the CPU where both give equal bits."""


class BadRequest(JobsError, ValueError):
    """Something the user asked of a root or a queue that it cannot answer or do."""

    exit_code = 2
