"""The report: one HTML page of what an experiment forgot, lost and cost, that needs no network."""
