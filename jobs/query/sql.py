"""SQL over the tables of a root, read-only: DuckDB in memory, without files, network, extensions and foreign names.

docs/decisions/014 says why it is DuckDB: polars' SQL reads any file that a query names.
"""

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from jobs.errors import BadRequest
from jobs.query.item_keys import item_keys
from jobs.query.stored import Stored
from jobs.results import compare_tables, sets_tables, sweep_tables
from jobs.results.names import COMPARE_TABLES, SETS_TABLES
from jobs.step import SPLITS
from store.artefacts import as_written
from store.errors import StoreError

SECONDS = 60
"""After which a query is given up."""

LOCKED: Mapping[str, Any] = {
    "temp_directory": "",  # what does not fit into memory is an error
    "memory_limit": "2GB",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,  # a name that is no table is not looked for among Python's variables
    "enable_external_access": False,  # no file, no network, no ATTACH, no COPY, no INSTALL
    "lock_configuration": True,  # and none of this can be taken back
}


OF_TRAINED = ("oracle_gap", "selection", "selection_rows", "costs", "scope")
"""Tables that a comparison of heads that are solved for does not have."""


def counts(stored: Stored) -> pl.DataFrame:
    """One row for each pair that a class hits: class, codebook, key, count."""
    parts = []
    for k in range(len(stored.classes)):
        codebook, key = (hits := stored.activations.of_class(k)).nonzero()
        parts.append(
            pl.DataFrame({"codebook": codebook, "key": key, "count": hits[codebook, key]}).with_columns(
                pl.lit(k, pl.Int32).alias("class"), pl.selectors.integer().cast(pl.Int32)
            )
        )
    return pl.concat(parts).select("class", "codebook", "key", "count")


def names(stored: Stored) -> pl.DataFrame:
    """One row for each class: class, name."""
    return pl.DataFrame({"class": range(len(stored.classes)), "name": stored.classes})


def items(stored: Stored) -> pl.DataFrame:
    """One row for each item: split, row (as the manifest counts), class (null for a skipped item), shard, item_key.

    Keys are null where the version that read the images recorded none.
    """
    parts = []
    for split in SPLITS:
        shards = stored.manifest(split).shards
        names = [shard.name for shard in shards for _ in range(shard.items)]
        keys = item_keys(stored, split, shards)
        parts.append(
            pl.DataFrame({"class": stored.labels(split), "shard": names})
            .with_columns(
                pl.lit(None if keys is None else pl.Series(keys, dtype=pl.String), pl.String).alias("item_key")
            )
            .with_row_index("row")
            .with_columns(pl.lit(split).alias("split"), pl.when(pl.col("class") >= 0).then(pl.col("class")))
        )
    return pl.concat(parts).select("split", "row", "class", "shard", "item_key")


def tables() -> dict[str, Callable[[Stored], pl.DataFrame]]:
    """What a query may name, and how each is made."""
    made = {**sweep_tables.TABLES, **sets_tables.TABLES, **compare_tables.TABLES}
    results = {name: (lambda stored, make=make: make(stored.experiment)) for name, make in made.items()}
    return {
        **results,
        "names": names,
        "items": items,
        "counts": counts,
        "load": lambda stored: stored.activations.load(),
    }


def there(stored: Stored) -> dict[str, Callable[[Stored], pl.DataFrame]]:
    """Those of `tables` that the experiment's spec asks for, whether or not their steps are finished."""
    experiment = stored.experiment
    with as_written(experiment.path):
        compared = experiment.spec.get("compare")
        missing = set() if "sets" in experiment.steps else {*SETS_TABLES}
        if compared is None:
            missing.update(COMPARE_TABLES)
        else:
            missing.update(() if compared.get("metrics") else ("metrics", "metrics_rows"))
            missing.update(() if compare_tables.labels_of(experiment, "compare") else OF_TRAINED)
    return {name: make for name, make in tables().items() if name not in missing}


def query(stored: Stored, text: str, *, seconds: float = SECONDS) -> pl.DataFrame:
    """Answer a query.

    text: one SELECT in DuckDB's dialect. Its tables are `tables`; only those it names are read.
    returns: the rows; of "show tables" the names of all that there are.
    raises: BadRequest for a text that is not one SELECT, takes too long or too much memory, or names what is not there.
    """
    if re.fullmatch(r"\s*show\s+tables\s*;?\s*", text, re.IGNORECASE):
        return pl.DataFrame({"table": [*there(stored)]})
    try:
        import duckdb
    except ImportError as error:
        raise BadRequest("SQL needs DuckDB; pip install 'dkvb-unlearning[sql]'") from error
    with duckdb.connect(":memory:") as base:
        missing = fill(base, stored, text)
        for name, value in LOCKED.items():
            base.execute(f"SET {name} = {value!r}")
        overdue = threading.Timer(seconds, base.interrupt)
        overdue.start()
        try:
            if (
                len(statements := base.extract_statements(text)) != 1
                or str(statements[0].type) != "StatementType.SELECT"
            ):
                raise BadRequest("a query is one SELECT; nothing can be written")
            return pl.DataFrame(base.sql(text).to_arrow_table())
        except duckdb.InterruptException as error:
            raise BadRequest(f"the query took more than {seconds:g} seconds and was given up") from error
        except duckdb.Error as error:
            why = "".join(f"\n{name} is not there: {reason}" for name, reason in missing.items())
            raise BadRequest(f"{error}\ntables: {', '.join(there(stored))}{why}") from error
        finally:
            overdue.cancel()


def fill(base: Any, stored: Stored, text: str) -> dict[str, str]:
    """Make the tables that a query names; returns those that cannot be made, and why."""
    missing = {}
    for name, make in tables().items():
        if not re.search(rf"\b{name}\b", text, re.IGNORECASE):
            continue
        try:
            base.register("made", make(stored).to_arrow())
        except (BadRequest, StoreError) as error:
            missing[name] = str(error)
            continue
        base.execute(f"CREATE TABLE {name} AS SELECT * FROM made")
        base.unregister("made")
    return missing
