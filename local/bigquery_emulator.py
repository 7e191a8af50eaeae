"""
Run the BigQuery emulator ``local-bigquery`` on this machine only.

    python -m local.bigquery_emulator --port 8090 --grpc-port 8091 \\
        --project propensity-local --data-dir .local/states/demo/bigquery

The emulator is used as published. What local mode needs beyond it is done here, in
the running process, and nothing is changed on disk:

- Its source asks for Python 3.12; two small constructs are rewritten on older ones.
- Small queries take milliseconds; ``bigquery_shortcuts.py`` has what is shorter.
- NUMERIC is exact, as ``bigquery_numbers.py`` calculates it, and times are UTC wherever
  the emulator runs.
- Arrow batches are appended as they come; ``bigquery_stream.py`` has how.
- Tables live in one plain DuckDB file per project, ``<project>.bq.duckdb``. The
  emulator's own catalog, DuckLake, takes 0.24 s a load job and longer with every
  table; a year of daily tables costs a minute there and seconds here. DuckLake's time
  travel is lost; nothing here uses it.
- The one DuckDB extension needed is loaded from its package. Nothing is downloaded.
- Jobs that write run one after another, as BigQuery queues conflicting statements for
  its clients; DuckDB alone would refuse the second of two. Reads are never held up.
- A destination like ``table$20260301`` means that partition, as in BigQuery. The
  emulator would make a table of that name.
- Views are looked up anew by every query, so that one over ``events_*`` has the tables
  that came after it; a wildcard keeps equal rows, and takes columns by their name.
- A table may be partitioned by a range of integers.
- MERGE works within a transaction. EXECUTE IMMEDIATE may give a parameter the name of
  one of its job's. EXPORT DATA writes to buckets only.
- A job id is accepted once, also when two requests bring it at the same time.
- An error inside the emulator is answered with 501, which no client retries. Its 500
  would be retried for ten minutes and look like a hang.
- Results of queries are kept for the newest few hundred queries, so that a long-lived
  emulator does not slow down.

Both servers listen on 127.0.0.1. SIGTERM and Ctrl-C stop them; data survives SIGKILL.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.abc
import importlib.machinery
import importlib.resources
import logging
import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from local import bigquery_numbers, bigquery_shortcuts, bigquery_stream
from local.processes import stop_with

HOST = "127.0.0.1"
EMULATOR_VERSION = "0.4.0"
CATALOG_SUFFIX = ".bq.duckdb"
# The client reads a result in pages; this many newer queries may come in between.
KEPT_RESULTS = 300
JOB_THREADS = 32
# A stream of appends has a thread for as long as it is open.
GRPC_THREADS = 256
UNLIMITED = -1
# Digits of a partition decorator to what they are digits of.
PARTITION_PATTERNS = {4: "%Y", 6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H"}


@dataclass(frozen=True)
class Rewrite:
    """One replacement in a module's source: ``pattern`` must be found in it."""

    pattern: str
    replacement: str
    is_regex: bool = False

    def apply(self, source: str, *, module: str) -> str:
        """Return the source rewritten; ImportError where there is nothing to do."""
        pattern = self.pattern if self.is_regex else re.escape(self.pattern)
        replacement = (
            self.replacement if self.is_regex else self.replacement.replace("\\", r"\\")
        )
        rewritten, count = re.subn(pattern, replacement, source)
        if not count:
            raise ImportError(
                f"{module} is not that of local-bigquery {EMULATOR_VERSION}: "
                f"{self.pattern!r} is not in it. Reinstall with `make setup`."
            )
        return rewritten


# Syntax of Python 3.12 (PEP 695 and PEP 701), said as Python 3.11 can read it.
OLDER_SYNTAX = {
    "local_bigquery.catalog.metadata": (
        Rewrite(r"(def \w+)\[R: Resource\]\(", r"\1(", is_regex=True),
        Rewrite(
            "class Index(Resource):",
            'R = __import__("typing").TypeVar("R")\n\n\nclass Index(Resource):',
        ),
    ),
    "local_bigquery.engine.results": (
        Rewrite(
            """f"THEN error('{message.replace("'", "''")}') ELSE {expression} END\"""",
            """"THEN error('" + message.replace("'", "''") """
            """+ f"') ELSE {expression} END\"""",
        ),
    ),
}
# With parameters, DuckDB runs a query to tell its columns. The first of these two
# lines is in two functions, so that each query ran three times.
_COLUMNS = Rewrite(
    "relation = cur.sql(query, params=params)",
    'relation = cur.sql(f"SELECT * FROM ({query}) LIMIT 0", params=params)',
)
_TEMPORARY = '"SELECT table_name FROM duckdb_tables() WHERE temporary"'
# The functions of geography need an extension of DuckDB that is in no package: every
# first start would download it. Nothing here uses them.
_FUNCTIONS = Rewrite(
    """(pathlib.Path(__file__).parent / "functions").glob("*.sql")""",
    """set((pathlib.Path(__file__).parent / "functions").glob("*.sql")) """
    """- {pathlib.Path(__file__).parent / "functions/geography.sql"}""",
)
REWRITES = {
    "local_bigquery.catalog.tables": (_COLUMNS,),
    "local_bigquery.engine.results": (_COLUMNS,),
    "local_bigquery.sql.dialect": (_FUNCTIONS,),
    # Only a session can have temporary tables yet; to look for them is to read all.
    "local_bigquery.jobs.query": (
        Rewrite(_TEMPORARY, f"{_TEMPORARY} if session else \"SELECT '' WHERE false\""),
    ),
}
if sys.version_info < (3, 12):
    for name, rewrites in OLDER_SYNTAX.items():
        REWRITES[name] = (*REWRITES.get(name, ()), *rewrites)


class RewritingLoader(importlib.machinery.SourceFileLoader):
    """Compile one module from its rewritten source, past any cached bytecode."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = self.get_data(path).decode()
        for rewrite in REWRITES[fullname]:
            source = rewrite.apply(source, module=fullname)
        return compile(source, path, "exec", dont_inherit=True)


class RewritingFinder(importlib.abc.MetaPathFinder):
    """Find the modules of ``REWRITES`` and load them through ``RewritingLoader``."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in REWRITES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None or spec.origin is None:
            return None
        spec.loader = RewritingLoader(fullname, spec.origin)
        return spec


def make_importable() -> None:
    """Have the modules of ``REWRITES`` imported as rewritten."""
    sys.meta_path.insert(0, RewritingFinder())


def connect_plainly(database: Any, data_dir: Path) -> None:
    """Replace the emulator's DuckLake catalog by one DuckDB file per project."""
    import duckdb

    settings = database.settings

    def catalog(project: str) -> Path:
        return data_dir / f"{project}{CATALOG_SUFFIX}"

    def attach(connection: Any, project: str) -> None:
        path = str(catalog(project)).replace("'", "''")
        connection.execute(
            f"ATTACH IF NOT EXISTS '{path}' AS {database.quote(project)} "
            "(STORAGE_VERSION 'v1.4.0')"
        )
        database._attached.add(project)

    @functools.cache
    def connect() -> Any:
        connection = duckdb.connect(config={"autoinstall_known_extensions": False})
        connection.execute(f"LOAD '{extension('icu', duckdb.__version__)}'")
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        emulator = str(data_dir / "emulator.duckdb").replace("'", "''")
        connection.execute(f"ATTACH '{emulator}' AS emulator")
        results = database.quote(bigquery_shortcuts.RESULTS_CATALOG)
        connection.execute(f"ATTACH ':memory:' AS {results}")
        connection.execute(
            f"SET checkpoint_threshold = '{bigquery_shortcuts.CHECKPOINT_THRESHOLD}'"
        )
        connection.execute("DROP SCHEMA IF EXISTS emulator._results CASCADE")
        connection.execute(database.EMULATOR_SCHEMA)
        connection.execute("ATTACH ':memory:' AS bq")
        database.native.register(connection)
        for path in database.FUNCTIONS:
            macro = database.MACRO.sub(r"CREATE MACRO bq.main.\1", path.read_text())
            connection.execute(macro)
        bigquery_numbers.define(connection)
        known = {
            path.name.removesuffix(CATALOG_SUFFIX)
            for path in data_dir.glob(f"*{CATALOG_SUFFIX}")
        }
        for project in sorted(known | {settings.default_project_id}):
            attach(connection, project)
        return connection

    def projects() -> list[str]:
        rows = database.fetch(
            "SELECT database_name FROM duckdb_databases() "
            f"WHERE path LIKE '%{CATALOG_SUFFIX}' ORDER BY database_name"
        )
        return [name for (name,) in rows]

    database._attach = attach
    database._connect = connect
    database.projects = projects


def extension(name: str, duckdb_version: str) -> Path:
    """Return the file of a DuckDB extension, from the package that carries it."""
    package = Path(str(importlib.resources.files(f"duckdb_extension_{name}")))
    file = package / f"extensions/v{duckdb_version}/{name}.duckdb_extension"
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing: the packages duckdb and duckdb-extension-{name} must "
            "have the same version. Reinstall with `make setup`."
        )
    return file


def forget_interrupted_jobs(database: Any) -> None:
    """Drop the jobs of an earlier run, as their results are gone with it."""
    database.execute("DELETE FROM emulator.jobs")


def queue_writes(runner: Any, catalog: bigquery_shortcuts.Catalog) -> threading.RLock:
    """
    Run writing jobs one after another and accept a job id once.

    Returns what they hold meanwhile.

    Reads are single SELECTs without a destination table, and exports. DuckDB gives
    them a snapshot, so that they neither wait for a writer nor see half of its work. A
    transaction that a client keeps open over several jobs is outside this queue and may
    conflict, as it may in BigQuery.
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

    def is_read(configuration: Any) -> bool:
        if configuration is None or configuration.destinationTable:
            return False
        try:
            statements = script.parse_script(configuration.query or "")
        except Exception:  # the job itself reports what is wrong with its text
            return True
        if len(statements) != 1 or statements[0].kind != "SQL":
            return False
        return bool(re.match(r"[\s(]*(SELECT|WITH|EXPORT)\b", statements[0].text, re.I))

    def queued(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(*arguments: Any, **named: Any) -> Any:
            with writing():
                return function(*arguments, **named)

        return inner

    run_query, submit, wait = runner._query, runner.submit, runner.wait

    def query(job: Any, *rest: Any) -> Any:
        if is_read(job.configuration.query):
            return run_query(job, *rest)
        with writing():
            return run_query(job, *rest)

    def submit_once(*arguments: Any, **named: Any) -> Any:
        with submitting:
            return submit(*arguments, **named)

    def wait_submitted(*arguments: Any) -> Any:
        with submitting:  # a job that is found has what to wait for
            pass
        return wait(*arguments)

    runner._query = query
    runner.submit, runner.wait = submit_once, wait_submitted
    runner._handle = queued(runner._handle)
    runner._executor = futures.ThreadPoolExecutor(JOB_THREADS, "job")
    insert_all = queued(tabledata.insert_all)
    tabledata.insert_all = write.tabledata.insert_all = insert_all
    for name in ("create", "update", "delete"):
        setattr(tables, name, queued(getattr(tables, name)))
        setattr(datasets, name, queued(getattr(datasets, name)))
    assert tables_api.tables is tables
    return lock


def follow_views() -> None:
    """
    Put a view's own text in the place of its name, each time that it is queried.

    The emulator fixes the tables of a wildcard when the view is made.
    """
    from local_bigquery.catalog import ddl, metadata, names
    from local_bigquery.models import Table
    from local_bigquery.sql import rules
    from local_bigquery.sql.translate import parse
    from sqlglot import exp

    resolve = rules.tables.resolve

    def common_tables(tree: Any) -> set[str]:
        return {cte.alias_or_name.casefold() for cte in tree.find_all(exp.CTE)}

    def qualify(tree: Any, project: str, dataset: str | None) -> None:
        """Write out project and dataset of every table that is not a common one."""
        common = common_tables(tree)
        for table in tree.find_all(exp.Table):
            is_named = isinstance(table.this, exp.Identifier)
            if not is_named or (not table.db and table.name.casefold() in common):
                continue
            if not table.db and dataset is not None:
                table.set("db", exp.to_identifier(dataset, quoted=True))
            if table.db and not table.catalog:
                table.set("catalog", exp.to_identifier(project, quoted=True))

    def inline(tree: Any, context: Any) -> Any:
        common, target = common_tables(tree), names.target(tree)
        for table in list(tree.find_all(exp.Table)):
            reference = resolve(table, context, common)
            if reference is None or table is target:
                continue
            stored = metadata.load(Table, *reference)
            if stored is None or stored.view is None or not stored.view.query:
                continue
            [body] = parse(stored.view.query)
            qualify(body, *reference[:2])
            alias = table.args.get("alias") or exp.TableAlias(
                this=exp.to_identifier(table.name, quoted=True)
            )
            table.replace(exp.Subquery(this=inline(body, context), alias=alias))
        return tree

    define = ddl._definition

    def define_qualified(tree: Any, project: str, dataset: str) -> Any:
        if tree.args.get("kind") == "VIEW" and tree.expression is not None:
            qualify(tree.expression, project, dataset)
        return define(tree, project, dataset)

    ddl._definition = define_qualified

    def inline_and_bound(tree: Any, context: Any) -> Any:
        tree = inline(tree, context)
        for table in tree.find_all(exp.Table):
            if "information_schema" in table.sql().casefold():
                context.is_rememberable = False
            if table.name.endswith("*"):
                context.is_rememberable = False
                bounds = bigquery_shortcuts.suffix_bounds(table, context)
                table.meta["suffix_bounds"] = bounds
        return tree

    rules.STATEMENT_RULES.insert(0, inline_and_bound)


def union_wildcards() -> None:
    """
    Read ``events_*`` as all rows of all its tables, columns matched by name.

    The emulator takes a distinct union by position: it drops an event that was
    exported twice, and fails where a newer table has one more column. Its union is
    also as deep as there are tables, which a year of days makes too deep.

    Tables that the query's bounds of the suffix exclude are not read, but the last
    one's columns are there in any case.
    """
    from local_bigquery.catalog import names
    from local_bigquery.engine import database
    from local_bigquery.errors import BigQueryError
    from local_bigquery.sql import rules
    from sqlglot import exp, select

    def star(column: Any) -> Any:
        """Return the star of ``*`` or ``e.*``, None for any other column."""
        inner = column.this if isinstance(column, exp.Column) else column
        return inner if isinstance(inner, exp.Star) else None

    def union(selects: list[Any]) -> Any:
        if len(selects) == 1:
            return selects[0]
        middle = len(selects) // 2
        return exp.Union(
            this=union(selects[:middle]),
            expression=union(selects[middle:]),
            distinct=False,
            by_name=True,
        )

    def wildcard(node: Any, context: Any) -> Any:
        if not isinstance(node, exp.Table) or not node.name.endswith("*"):
            return node
        prefix = node.name.rstrip("*")
        project, dataset, _ = names.reference(
            node, context.project_id, context.dataset_id
        )
        tables = [
            name
            for name, kind, _ in database.objects(project, dataset)
            if kind == "TABLE" and name.startswith(prefix)
        ]
        if not tables:
            label = names.label(project, dataset, node.name)
            raise BigQueryError("invalid", f"{label} does not match any table.")
        query = node.find_ancestor(exp.Select)
        for column in query.expressions if query is not None else []:
            found = star(column)
            if found is not None and not found.args.get("except_"):
                found.set("except_", [exp.column("_TABLE_SUFFIX")])
        if query is not None and isinstance(query.parent, exp.Union):
            # In BigQuery both parts have the columns of the newest table of all.
            query.parent.set("by_name", True)

        def rows(name: str) -> Any:
            suffix = exp.Literal.string(name[len(prefix) :])
            return select("*", exp.alias_(suffix, "_TABLE_SUFFIX")).from_(
                exp.table_(name, db=dataset, catalog=project, quoted=True)
            )

        bounds = node.meta.get("suffix_bounds", ())
        chosen = [
            name
            for name in tables
            if all(allows(name[len(prefix) :]) for allows in bounds)
        ]
        selects = [rows(name) for name in chosen]
        if tables[-1] not in chosen:
            selects.append(rows(tables[-1]).where(exp.false()))
        alias = node.args.get("alias") or exp.TableAlias(
            this=exp.to_identifier(prefix or node.name, quoted=True)
        )
        return exp.Subquery(this=union(selects), alias=alias)

    rules.NODE_RULES[rules.NODE_RULES.index(rules.tables.wildcard_table)] = wildcard


def know_ranges() -> None:
    """
    Let a table be partitioned by ranges of integers.

    The emulator has put its own functions in the place of BigQuery's by the time that
    it looks for RANGE_BUCKET, and takes the range for a day.
    """
    from local_bigquery.catalog import ddl
    from sqlglot import exp

    partitioning = ddl._partitioning

    def of_range(node: Any) -> dict[str, Any]:
        call = node.this
        if not isinstance(call, exp.Anonymous) or not str(call.this).endswith(
            "range_bucket"
        ):
            return dict(partitioning(node))
        column, array = call.expressions
        bounds = [one.name for one in array.expressions]
        names = ("start", "end", "interval")
        range_ = dict(zip(names, bounds, strict=True))
        return {"rangePartitioning": {"field": column.name, "range": range_}}

    ddl._partitioning = of_range


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
        given = next(part for part in parts if part is not None)
        return given.destinationTable

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


def bind_inner_parameters() -> None:
    """
    Let EXECUTE IMMEDIATE give a parameter the name that one of its job has.

    The emulator binds the job's value as well, and DuckDB refuses what it cannot use.
    """
    from local_bigquery.sql import rules
    from sqlglot import exp

    parameter = rules.parameters.parameter

    def innermost(node: Any, context: Any) -> Any:
        bound = parameter(node, context)
        if isinstance(node, exp.Parameter):
            name = node.name
            if f"${name}" not in context.parameters.get(name, ""):
                context.used.discard(name)
        return bound

    rules.NODE_RULES[rules.NODE_RULES.index(parameter)] = innermost


def export_to_buckets_only() -> None:
    """Refuse to export to anything but ``gs://``; the emulator would write a file."""
    from local_bigquery.errors import BigQueryError
    from local_bigquery.jobs import extract

    read_options = extract.export_config

    def export_config(tree: Any) -> Any:
        config = read_options(tree)
        if not config.destinationUri.startswith("gs://"):
            raise BigQueryError(
                "invalidQuery",
                "Option 'uri' must be a literal that begins with gs:// in EXPORT DATA "
                f"OPTIONS, not {config.destinationUri}",
            )
        return config

    extract.export_config = export_config


def bound_results(runner: Any, database: Any, kept: int) -> None:
    """Drop the oldest anonymous results once there are as many newer ones."""
    from local_bigquery.catalog import tables
    from local_bigquery.jobs import store

    execute = runner._execute
    finished: deque[tuple[str, str]] = deque()
    dropping = threading.Lock()

    def execute_and_drop(job: Any, *rest: Any) -> None:
        execute(job, *rest)
        with dropping:
            finished.append((job.jobReference.projectId, job.jobReference.jobId))
            if len(finished) <= kept:
                return
            project, job_id = finished.popleft()
            with database.cursor() as cursor:
                result = tables.name(project, tables.RESULTS, job_id)
                cursor.execute(f"DROP TABLE IF EXISTS {result}")
            store.delete(project, job_id)

    runner._execute = execute_and_drop


def answer_internal_errors_for_good() -> None:
    """Answer an error inside the emulator with a status that clients do not retry."""
    from local_bigquery import errors

    errors.STATUSES["dontRetry"] = (501, "UNIMPLEMENTED")


def serve_storage_api(port: int) -> Any:
    """Start the gRPC server of the BigQuery Storage API; the port must be free."""
    import grpc
    from local_bigquery.grpc.server import SERVICES

    server = grpc.server(
        futures.ThreadPoolExecutor(GRPC_THREADS, "grpc"),
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", UNLIMITED),
            ("grpc.max_send_message_length", UNLIMITED),
        ],
    )
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(name, methods)
            for name, methods in SERVICES.items()
        ]
    )
    if not server.add_insecure_port(f"{HOST}:{port}"):
        raise OSError(f"port {port} is taken")
    server.start()
    return server


def interrupt_jobs(runner: Any) -> None:
    """Cancel what is running, so that stopping does not wait for long queries."""
    for running in list(runner._running.values()):
        running.cancelled = True
        if running.cursor is not None:
            running.cursor.interrupt()
    runner._executor.shutdown(wait=True, cancel_futures=True)


def serve(
    port: int,
    grpc_port: int,
    *,
    project: str,
    data_dir: Path,
    storage: str | None,
    keep_results: int = KEPT_RESULTS,
) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Args:
        port: Of the REST API.
        grpc_port: Of the Storage API.
        project: Created if the folder does not hold it yet.
        data_dir: Folder of the databases, made if missing. One process at a time:
            DuckDB locks its files.
        storage: URL of the Cloud Storage emulator that EXPORT DATA writes to.
        keep_results: Of how many queries.

    Raises:
        OSError: A port is taken.
        duckdb.IOException: Another process holds the folder.
    """
    import uvicorn

    make_importable()
    from local_bigquery.settings import settings

    settings.bigquery_host, settings.bigquery_port = HOST, port
    settings.grpc_port, settings.default_project_id = grpc_port, project
    settings.data_dir = data_dir
    settings.storage_emulator_host = storage

    from local_bigquery.engine import database
    from local_bigquery.jobs import runner

    data_dir.mkdir(parents=True, exist_ok=True)
    for leftover in (data_dir / "uploads").glob("*"):
        leftover.unlink()
    connect_plainly(database, data_dir)
    forget_interrupted_jobs(database)
    catalog = bigquery_shortcuts.look_up_by_name(database)
    bigquery_shortcuts.keep_jobs_in_memory(database)
    bigquery_shortcuts.keep_metadata_in_memory(catalog)
    bigquery_shortcuts.keep_results_in_memory()
    bigquery_shortcuts.remember_texts(catalog)
    bigquery_shortcuts.list_tables_at_once()
    bigquery_shortcuts.page_cheaply()
    bigquery_shortcuts.join_array_parameters()
    follow_views()
    union_wildcards()
    merge_in_transactions()
    know_ranges()
    bigquery_numbers.calculate_exactly()
    bind_inner_parameters()
    export_to_buckets_only()
    write_partitions(runner)
    bigquery_stream.append_directly(catalog, queue_writes(runner, catalog))
    bound_results(runner, database, keep_results)
    answer_internal_errors_for_good()

    from local_bigquery.app import app

    # It warns of every property that DuckDB has no use for.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    storage_api = serve_storage_api(grpc_port)
    try:
        uvicorn.run(
            app,
            host=HOST,
            port=port,
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=2,
        )
    except KeyboardInterrupt:
        pass
    finally:
        storage_api.stop(None)
        interrupt_jobs(runner)
        database.connection().close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        "python -m local.bigquery_emulator",
        description="BigQuery on 127.0.0.1, kept in a folder.",
    )
    parser.add_argument("--port", type=int, required=True, help="REST port")
    parser.add_argument("--grpc-port", type=int, required=True, help="Storage API port")
    parser.add_argument("--project", required=True, help="project id")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of data")
    parser.add_argument("--storage", help="URL of the Cloud Storage emulator")
    parser.add_argument("--parent", type=int, help="stop when this process has gone")
    parser.add_argument(
        "--keep-results", type=int, default=KEPT_RESULTS, help="of how many queries"
    )
    given = parser.parse_args(arguments)
    if given.parent is not None:
        stop_with(given.parent)
    serve(
        given.port,
        given.grpc_port,
        project=given.project,
        data_dir=given.data_dir.resolve(),
        storage=given.storage,
        keep_results=given.keep_results,
    )


if __name__ == "__main__":
    main()
