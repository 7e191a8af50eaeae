"""Writers, one after another."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

JOB_THREADS = 32
# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.jobs.query": ("def execute(",),
    "local_bigquery.jobs.runner": (
        "HANDLERS = {",
        "_executor = concurrent.futures.ThreadPoolExecutor(",
    ),
    "local_bigquery.catalog.tabledata": ("def insert_all(",),
    "local_bigquery.catalog.tables": (
        "def create(",
        "def update(",
        "def delete(",
    ),
    "local_bigquery.catalog.datasets": (
        "def create(",
        "def update(",
        "def delete(",
    ),
}
_READS = re.compile(r"[\s(]*(SELECT|WITH|EXPORT)\b", re.IGNORECASE)


def queue_writes(runner: Any) -> threading.RLock:
    """
    Run writing jobs one after another; return what they hold meanwhile.

    Reads are single SELECTs without a destination table, and exports. DuckDB gives
    them a snapshot, so that they neither wait for a writer nor see half of its work. A
    transaction that a client keeps open over several jobs is outside this queue and may
    conflict, as it may in BigQuery.
    """
    from local_bigquery.catalog import datasets, tabledata, tables
    from local_bigquery.grpc import write
    from local_bigquery.jobs import query
    from local_bigquery.sql import script

    lock = threading.RLock()
    execute = query.execute

    def is_read(configuration: Any, *, dry_run: bool = False, **_: Any) -> bool:
        if dry_run or configuration.destinationTable:
            return dry_run
        try:
            text = "" if configuration.query is None else configuration.query
            statements = script.parse_script(text)
        except Exception:  # the job itself reports the fault in its text
            return True
        if len(statements) != 1 or statements[0].kind != "SQL":
            return False
        return bool(_READS.match(statements[0].text))

    def queued(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(*arguments: Any, **named: Any) -> Any:
            with lock:
                return function(*arguments, **named)

        return inner

    def execute_in_turn(*job: Any, **how: Any) -> Any:
        # The last argument that has no name is the job's configuration.
        with contextlib.nullcontext() if is_read(job[-1], **how) else lock:
            return execute(*job, **how)

    query.execute = execute_in_turn
    for kind, handle in runner.HANDLERS.items():
        runner.HANDLERS[kind] = queued(handle)
    runner._executor = futures.ThreadPoolExecutor(JOB_THREADS, "job")
    tabledata.insert_all = write.tabledata.insert_all = queued(tabledata.insert_all)
    for name in ("create", "update", "delete"):
        setattr(tables, name, queued(getattr(tables, name)))
        setattr(datasets, name, queued(getattr(datasets, name)))
    return lock
