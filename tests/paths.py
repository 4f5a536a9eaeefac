"""Where things are that tests look at."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY.parent / "shared" / "data"
"""Real images, where there are any."""
