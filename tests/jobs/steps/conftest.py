"""The small bottleneck of tests/jobs/comparison, for the steps that compare."""

from tests.jobs.comparison.conftest import swept

__all__ = ["swept"]
