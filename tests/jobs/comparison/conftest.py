"""The small bottleneck as if earlier steps had written it."""

import pytest

from jobs import inputs
from jobs.comparison import masks
from jobs.comparison.masks import SweptItems
from store import arrays
from tests.jobs.comparison import small


@pytest.fixture
def swept(monkeypatch):
    """The small bottleneck, whose items are read two at a time."""
    there = small.stored()
    monkeypatch.setattr(masks, "BLOCK", 2)
    monkeypatch.setattr(arrays, "open_array", lambda path, name: there[path, name])
    monkeypatch.setattr(
        inputs, "embeddings", lambda task, split, *, start=0, stop=None: small.embeddings(split)[start:stop]
    )
    return SweptItems(small.task(), small.bottleneck(), small.KEPT)
