"""Writers: one after another, and into one partition."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

from local.emulators.bigquery import lookups

JOB_THREADS = 32
# Digits of a partition decorator to what they are digits of.
PARTITION_PATTERNS = {4: "%Y", 6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H"}
_READS = re.compile(r"[\s(]*(SELECT|WITH|EXPORT)\b", re.IGNORECASE)
# What leaves tables and their columns as they are, alone or in a script.
_KEEPS_TABLES = re.compile(
    r"[\s(]*(SELECT|WITH|INSERT|UPDATE|DELETE|MERGE|"
    r"BEGIN\s+TRANSACTION|COMMIT|ROLLBACK)\b",
    re.IGNORECASE,
)


def queue_writes(runner: Any, catalog: lookups.Catalog) -> threading.RLock:
    """
    Run writing jobs one after another and accept a job id once.

    Returns what they hold meanwhile.

    Reads are single SELECTs without a destination table, and exports. DuckDB gives
    them a snapshot, so that they neither wait for a writer nor see half of its work. A
    transaction that a client keeps open over several jobs is outside this queue and may
    conflict, as it may in BigQuery.

    What changes rows alone, and a load that adds some, changes nothing in the catalog:
    translations go on to hold.
    """
    from local_bigquery.api import tables as tables_api
    from local_bigquery.catalog import datasets, tabledata, tables
    from local_bigquery.grpc import write
    from local_bigquery.sql import script

    lock = threading.RLock()
    submitting = threading.Lock()

    @contextlib.contextmanager
    def writing() -> Iterator[None]:
        with lock, catalog.changing():
            yield

    def statements_of(configuration: Any) -> list[Any] | None:
        """Return the statements of a query job; None where they cannot be read."""
        try:
            found: list[Any] = script.parse_script(configuration.query or "")
        except Exception:  # the job itself reports what is wrong with its text
            return None
        return found

    def is_read(configuration: Any) -> bool:
        if configuration is None or configuration.destinationTable:
            return False
        statements = statements_of(configuration)
        if statements is None:
            return True
        if len(statements) != 1 or statements[0].kind != "SQL":
            return False
        return bool(_READS.match(statements[0].text))

    def keeps_tables(configuration: Any) -> bool:
        if configuration is None or configuration.destinationTable:
            return False
        return all(
            statement.kind == "SQL" and _KEEPS_TABLES.match(statement.text)
            for statement in statements_of(configuration) or ()
        )

    def keeps_columns(configuration: Any) -> bool:
        """Whether a job loads more rows into a table that is there."""
        load = configuration.load
        if load is None or load.schemaUpdateOptions:
            return False
        if load.writeDisposition not in (None, "WRITE_APPEND"):
            return False
        return bool(tables.exists(*tables.reference(load.destinationTable)))

    def queued(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(*arguments: Any, **named: Any) -> Any:
            with writing():
                return function(*arguments, **named)

        return inner

    run_query, run_other = runner._query, runner._handle
    submit, wait = runner.submit, runner.wait

    def query(job: Any, *rest: Any) -> Any:
        if is_read(job.configuration.query):
            return run_query(job, *rest)
        with lock if keeps_tables(job.configuration.query) else writing():
            return run_query(job, *rest)

    def other(job: Any, *rest: Any) -> Any:
        with lock if keeps_columns(job.configuration) else writing():
            return run_other(job, *rest)

    def submit_once(*arguments: Any, **named: Any) -> Any:
        with submitting:
            return submit(*arguments, **named)

    def wait_submitted(*arguments: Any) -> Any:
        with submitting:  # a job that is found has what to wait for
            pass
        return wait(*arguments)

    runner._query, runner._handle = query, other
    runner.submit, runner.wait = submit_once, wait_submitted
    runner._executor = futures.ThreadPoolExecutor(JOB_THREADS, "job")
    insert_all = queued(tabledata.insert_all)
    tabledata.insert_all = write.tabledata.insert_all = insert_all
    for name in ("create", "update", "delete"):
        setattr(tables, name, queued(getattr(tables, name)))
        setattr(datasets, name, queued(getattr(datasets, name)))
    assert tables_api.tables is tables
    return lock


def merge_in_transactions() -> None:
    """
    Let MERGE join the transaction that its script has begun.

    The emulator's MERGE begins one of its own to find out whether there is one. DuckDB
    then ends the script's with an error.
    """
    import duckdb
    from local_bigquery.jobs import merge, query
    from sqlglot import exp

    run, merged = query._run, merge.run
    in_transaction = threading.local()

    class Joined:
        """A cursor that says that it is in a transaction without asking DuckDB."""

        def __init__(self, cursor: Any) -> None:
            self._cursor = cursor

        def __getattr__(self, name: str) -> Any:
            return getattr(self._cursor, name)

        def execute(self, sql: str, *parameters: Any) -> Any:
            if sql == "BEGIN":
                raise duckdb.TransactionException("already in a transaction")
            return self._cursor.execute(sql, *parameters)

    def run_in(cursor: Any, tree: Any, *rest: Any) -> Any:
        statistics = run(cursor, tree, *rest)
        if isinstance(tree, exp.Transaction):
            in_transaction.cursor = cursor
        elif isinstance(tree, exp.Commit | exp.Rollback):
            in_transaction.cursor = None
        return statistics

    def merge_in(cursor: Any, *rest: Any) -> Any:
        joined = getattr(in_transaction, "cursor", None) is cursor
        return merged(Joined(cursor) if joined else cursor, *rest)

    query._run, merge.run = run_in, merge_in


def write_partitions(runner: Any) -> None:
    """
    Let loads, queries and copies write to one partition, named ``table$20260301``.

    WRITE_TRUNCATE then replaces the rows of that partition alone, in one transaction.
    As in BigQuery, a row of another partition fails the job.
    """
    from local_bigquery.catalog import metadata, tables
    from local_bigquery.engine.database import quote
    from local_bigquery.errors import BigQueryError, not_implemented
    from local_bigquery.models import Table

    write = tables.write
    named = threading.local()

    def destination(job: Any) -> Any:
        configuration = job.configuration
        parts = (configuration.query, configuration.load, configuration.copy_)
        part = next(part for part in parts if part is not None)
        return part.destinationTable

    def naming(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(job: Any, *rest: Any) -> Any:
            named.partition = None
            if job.configuration.extract is None and (target := destination(job)):
                table, _, partition = (target.tableId or "").partition("$")
                target.tableId, named.partition = table, partition or None
            return function(job, *rest)

        return inner

    def write_partition(
        cursor: Any,
        query: str,
        parameters: Any,
        reference: tuple[str, str, str],
        config: Any,
        *rest: Any,
        **options: Any,
    ) -> Any:
        arguments = (cursor, query, parameters, reference, config, *rest)
        partition = getattr(named, "partition", None)
        if partition is None or reference[1] == tables.RESULTS:
            return write(*arguments, **options)
        stored = metadata.load(Table, *reference) or Table()
        partitioning = stored.timePartitioning or config.timePartitioning
        pattern = PARTITION_PATTERNS.get(len(partition))
        if not partitioning or not partitioning.field or not pattern:
            raise not_implemented(f"writing to ${partition} of {reference[2]}")
        column = f"strftime({quote(partitioning.field)}, '{pattern}')"
        outside = cursor.execute(
            f"SELECT 1 FROM ({query}) WHERE {column} IS DISTINCT FROM '{partition}' "
            "LIMIT 1",
            parameters,
        ).fetchone()
        if outside:
            raise BigQueryError(
                "invalid",
                "Some rows belong to different partitions rather than destination "
                f"partition {partition}",
            )
        if not tables.exists(*reference):
            return write(*arguments, **options)
        disposition = config.writeDisposition
        name = tables.name(*reference)
        cursor.execute("BEGIN")
        try:
            if disposition == "WRITE_TRUNCATE":
                cursor.execute(f"DELETE FROM {name} WHERE {column} = '{partition}'")
            config.writeDisposition = "WRITE_APPEND"
            written = write(*arguments, **options)
            cursor.execute("COMMIT")
        except Exception:
            cursor.execute("ROLLBACK")
            raise
        finally:
            config.writeDisposition = disposition
        return written

    tables.write = write_partition
    runner._query, runner._handle = naming(runner._query), naming(runner._handle)
