"""The steps of an experiment, a file each."""

from collections.abc import Mapping

from jobs.step import StepModule
from jobs.steps import (
    codes,
    compare,
    costs,
    counts,
    embeddings,
    keys,
    linear,
    lira,
    manifest,
    neighbours,
    oracles,
    scope,
    sets,
    solved,
    sums,
    sweep,
    tuning,
    values,
)

STEPS: Mapping[str, StepModule] = {
    "manifest": manifest,
    "embeddings": embeddings,
    "keys": keys,
    "codes": codes,
    "neighbours": neighbours,
    "sums": sums,
    "values": values,
    "linear": linear,
    "counts": counts,
    "sweep": sweep,
    "sets": sets,
    "oracles": oracles,
    "tuning": tuning,
    "compare": compare,
    "solved": solved,
    "lira": lira,
    "costs": costs,
    "scope": scope,
}
"""By kind (`jobs.kinds`)."""
