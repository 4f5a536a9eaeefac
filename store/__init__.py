"""What lies on disk: images, arrays, tables and artefact folders, read and written as NumPy and polars have them."""

OWNER = "dkvb-unlearning"
