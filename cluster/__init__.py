"""Ray and nothing else: sessions and bounded maps of units over actors."""

OWNER = "dkvb-unlearning"
