"""What lies on disk: images read, arrays and tables written, artefact folders; numpy and polars in and out."""

OWNER = "dkvb-unlearning"
