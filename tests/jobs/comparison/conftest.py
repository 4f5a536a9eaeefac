"""The small bottleneck as if earlier steps had written it."""

import pytest

from jobs import inputs
from jobs.comparison.masks import SweptBottleneck
from jobs.inputs import SweptItems
from store import arrays
from tests.jobs.comparison import small


@pytest.fixture
def swept(monkeypatch):
    """The small bottleneck, whose items are read two at a time."""
    there = small.stored()
    monkeypatch.setattr(inputs, "BLOCK", 2)
    monkeypatch.setattr(arrays, "open_array", lambda path, name: there[path, name])
    monkeypatch.setattr(
        inputs, "embeddings", lambda task, split, *, start=0, stop=None: small.embeddings(split)[start:stop]
    )
    monkeypatch.setattr(inputs, "labels", lambda task, split: small.LABELS[split])
    return SweptBottleneck(small.bottleneck(), {split: SweptItems.of(small.task(), split) for split in small.LABELS})
