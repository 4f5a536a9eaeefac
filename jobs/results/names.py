"""Names of the tables: a command line that offers them waits for no polars."""

SWEEP_TABLES = ["summary", "classes", "sweep"]
"""Of `jobs.results.sweep_tables`."""

SETS_TABLES = ["sets", "sets_rows"]
"""Of `jobs.results.sets_tables`."""

COMPARE_TABLES = [
    *("compare", "oracle_gap", "attacks", "metrics", "selection", "costs", "scope"),
    *("compare_rows", "beside_rows", "attacks_rows", "metrics_rows", "selection_rows"),
]
"""Of `jobs.results.compare_tables`."""
