"""Ray and nothing else: sessions, and maps of units over actors."""

OWNER = "dkvb-unlearning"
