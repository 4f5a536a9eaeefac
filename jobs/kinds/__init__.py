"""The kinds of steps: what a plan has to know of each, without torch; `jobs.steps` does them."""

from collections.abc import Mapping

from jobs.kinds import (
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
from jobs.step import Kind

KINDS: Mapping[str, Kind] = {
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
"""By name, which is part of every digest, and stays."""
