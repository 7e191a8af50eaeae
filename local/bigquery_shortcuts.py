"""
Let the BigQuery emulator answer small queries in milliseconds.

The emulator asks DuckDB's catalogue for everything, runs a parameterised query three
times to learn the types of its result, keeps jobs and results in a file, and reads all
shards of a wildcard whatever the query selects. None of that is seen by a client. Here
are the same answers by shorter ways, patched into the running process:

- A result's types come from the plan of its query, which runs once.
- Jobs, and the results of queries, are in memory; both are gone with the process, as
  before. No checkpoint of a file comes between a result and its reader.
- Tables are looked up by name. What a dataset holds is remembered until a writer runs,
  as is what a query is in DuckDB's words.
- ``events_*`` is the shards that the query's bounds of ``_TABLE_SUFFIX`` allow, also
  where the bounds are parameters and reach it through a view. BigQuery prunes so, too.
- ``x IN UNNEST(@xs)`` is a join, however long the array.
- INFORMATION_SCHEMA.TABLES is a list of names, and no look into each table.
- Rows of a page are put together here, and none is made for a client that only waits.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import operator
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

RESULTS_CATALOG = "_results"
# Rows of a page that are put together here; beyond, DuckDB does it faster.
SMALL_PAGE = 2000
# A checkpoint rewrites every table of a file. Until one, changes are in the log, and
# the process keeps them in memory.
CHECKPOINT_THRESHOLD = "64MB"
REMEMBERED_TEXTS = 256
_CATALOG_CHANGE = re.compile(r"\s*(CREATE|DROP|ALTER)\b", re.IGNORECASE)


class Catalog:
    """
    Names of a dataset's tables and views, remembered while nobody changes them.

    ``changing`` is held by whoever may create or drop; meanwhile nothing is remembered,
    and nothing remembered is used.
    """

    def __init__(self, listed: Callable[[str, str], list[Any]]) -> None:
        self._listed = listed
        self._lock = threading.Lock()
        self._generation = 0
        self._writers = 0
        self._known: dict[tuple[str, str], list[Any]] = {}

    def objects(self, project: str, dataset: str) -> list[Any]:
        """Return (name, kind, rows) of a dataset's tables and views; rows are rough."""
        with self._lock:
            generation = self._generation
            if not self._writers and (project, dataset) in self._known:
                return self._known[project, dataset]
        found = self._listed(project, dataset)
        with self._lock:
            if not self._writers and generation == self._generation:
                self._known[project, dataset] = found
        return found

    @property
    def generation(self) -> int | None:
        """A number that is another one after every change; None during a change."""
        with self._lock:
            return None if self._writers else self._generation

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Forget what is known, now and at the end."""
        self._forget(1)
        try:
            yield
        finally:
            self._forget(-1)

    def _forget(self, writers: int) -> None:
        with self._lock:
            self._writers += writers
            self._generation += 1
            self._known.clear()


def look_up_by_name(database: Any) -> Catalog:
    """Replace scans of DuckDB's catalogue, which grow with it, by look-ups."""
    import duckdb
    from local_bigquery.catalog import tables
    from local_bigquery.sql.rules import partitions

    missing = (duckdb.CatalogException, duckdb.BinderException)
    fetch, execute, quote = database.fetch, database.execute, database.quote
    scanned = database.objects
    catalog = Catalog(scanned)

    def objects(
        project: str, dataset: str, table: str | None = None
    ) -> list[tuple[str, str, int]]:
        if table is None:
            return catalog.objects(project, dataset)
        views: list[tuple[str, str, int]] = fetch(
            "SELECT view_name, 'VIEW', 0 FROM duckdb_views() WHERE database_name = ? "
            "AND schema_name = ? AND view_name = ? AND NOT internal",
            [project, dataset, table],
        )
        if views:
            return views
        try:
            [(rows,)] = fetch(f"SELECT count(*) FROM {quote(project, dataset, table)}")
        except missing:
            return []
        return [(table, "TABLE", rows)]

    def columns(name: str, condition: str, parameters: list[str]) -> list[Any]:
        try:
            found: list[Any] = fetch(
                f"SELECT name FROM pragma_table_info(?) WHERE {condition}",
                [name, *parameters],
            )
        except missing:
            return []
        return found

    def fetch_by_name(sql: str, parameters: list[Any] | None = None) -> list[Any]:
        if sql.startswith("SELECT column_name FROM duckdb_columns()"):
            return columns(quote(*(parameters or [])), '"notnull"', [])
        if sql.startswith("SELECT 1 FROM duckdb_columns()"):
            *table, column = parameters or []
            return columns(quote(*table), "name = ?", [column])
        rows: list[Any] = fetch(sql, parameters)
        return rows

    def execute_and_forget(sql: str, parameters: list[Any] | None = None) -> None:
        changes = bool(_CATALOG_CHANGE.match(sql))
        with catalog.changing() if changes else contextlib.nullcontext():
            execute(sql, parameters)

    database.objects = objects
    database.fetch = fetch_by_name
    database.execute = execute_and_forget
    assert tables.database is database
    assert partitions.database is database
    return catalog


def keep_jobs_in_memory(database: Any) -> None:
    """Keep jobs in a dict; INFORMATION_SCHEMA's table of them is filled when asked."""
    from local_bigquery.jobs import query, store
    from local_bigquery.models import Job

    jobs: dict[tuple[str, str], Job] = {}
    save_row, execute = store.save, query.execute

    def save(job: Job) -> Job:
        jobs[job.jobReference.projectId, job.jobReference.jobId] = job
        return job

    def load(project: str, job_id: str) -> Job | None:
        return jobs.get((project, job_id))

    def listed(
        project: str,
        states: list[str] | None = None,
        parent: str | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> list[Job]:
        def created(job: Job) -> int:
            return int(job.statistics.creationTime)

        found = [
            job
            for (owner, _), job in list(jobs.items())
            if owner == project
            and job.statistics.parentJobId == parent
            and (states is None or job.status.state in states)
            and (first is None or created(job) >= first)
            and (last is None or created(job) <= last)
        ]
        return sorted(found, key=lambda job: (-created(job), job.jobReference.jobId))

    def delete(project: str, job_id: str) -> None:
        for key, job in list(jobs.items()):
            if key[0] == project and job_id in (key[1], job.statistics.parentJobId):
                jobs.pop(key, None)

    def execute_on_jobs(
        cursor: Any, project: str, job_id: Any, config: Any, *rest: Any, **named: Any
    ) -> Any:
        if re.search(r"INFORMATION_SCHEMA\W+JOBS", config.query or "", re.IGNORECASE):
            database.execute("DELETE FROM emulator.jobs")
            for job in list(jobs.values()):
                save_row(job)
        return execute(cursor, project, job_id, config, *rest, **named)

    store.save, store.load, store.list_, store.delete = save, load, listed, delete
    query.execute = execute_on_jobs


def keep_metadata_in_memory(catalog: Catalog) -> None:
    """
    Answer what is asked of datasets, tables and the like from memory.

    Their file is read at the first question and written with every change, for later.
    """
    from local_bigquery.catalog import metadata

    save, delete = metadata.save, metadata.delete
    keys_of = metadata.RESOURCES
    lock = threading.RLock()
    known: dict[Any, dict[tuple[str, ...], Any]] = {}

    def stored(model: Any) -> dict[tuple[str, ...], Any]:
        if model not in known:
            kind = metadata.KINDS[model]
            columns = ", ".join(keys_of[kind])
            rows = metadata.fetch(f"SELECT {columns}, resource FROM emulator.{kind}")
            known[model] = {
                tuple(keys): model.model_validate_json(resource)
                for *keys, resource in rows
            }
        return known[model]

    def listed_from_memory(model: Any, *keys: str) -> list[Any]:
        with lock:
            resources = stored(model)
            if len(keys) == len(keys_of[metadata.KINDS[model]]):
                return [resources[keys]] if keys in resources else []
            return [
                resource
                for key, resource in resources.items()
                if key[: len(keys)] == keys
            ]

    def save_in_both(resource: Any, *keys: str) -> Any:
        with lock, catalog.changing():
            resources = stored(type(resource))
            saved = save(resource, *keys)
            resources[keys] = type(resource).model_validate(saved.dump())
            return saved

    def delete_in_both(model: Any, *keys: str) -> None:
        with lock, catalog.changing():
            resources = stored(model)
            found = [key for key in resources if key[: len(keys)] == keys]
            delete(model, *keys)
            for key in found:
                del resources[key]

    metadata.list_, metadata.save = listed_from_memory, save_in_both
    metadata.delete = delete_in_both


def keep_results_in_memory() -> None:
    """
    Put anonymous results into a database of their own, in memory, and read them as is.

    In the emulator's file they would be written to its log and be subject to its
    checkpoints, which run while clients read.
    """
    from local_bigquery.catalog import tables
    from local_bigquery.engine import database
    from local_bigquery.engine import types as engine_types
    from local_bigquery.grpc import read

    physical, query = tables.physical, read._query

    def physical_in_memory(project: str, dataset: str, table: str) -> Any:
        if dataset == tables.RESULTS:
            return RESULTS_CATALOG, "main", f"{project}:{table}"
        return physical(project, dataset, table)

    def query_as_is(path: str, options: Any, data_format: Any) -> Any:
        reference = read.table(path)
        if reference[1] != tables.RESULTS or options.row_restriction:
            return query(path, options, data_format)
        if not tables.exists(*reference):
            return query(path, options, data_format)  # says what is missing
        name = tables.name(*reference)
        selected = {field.casefold() for field in options.selected_fields}
        with database.cursor() as cursor:
            relation = cursor.sql(f"SELECT * FROM {name} LIMIT 0")
            chosen = [
                (column, kind)
                for column, kind in zip(relation.columns, relation.types, strict=True)
                if not selected or column.casefold() in selected
            ]
        fields = [engine_types.field(column, kind) for column, kind in chosen]
        columns = ", ".join(
            read._column(column, kind, data_format) for column, kind in chosen
        )
        return f"SELECT {columns} FROM {name}", fields

    tables.physical = physical_in_memory
    read._query = query_as_is


def remember_texts(catalog: Catalog) -> None:
    """
    Parse a statement, or the text of a view, once, and hand out copies.

    The translation of a query is remembered, too, while nothing changes in the catalog.
    """
    from local_bigquery.jobs import query
    from local_bigquery.sql import script, translate

    @functools.lru_cache(REMEMBERED_TEXTS)
    def parse(sql: str) -> list[Any]:
        trees: list[Any] = parse_anew(sql)
        for number, tree in enumerate(trees):
            tree.meta["text"] = sql, number
        return trees

    def copies(sql: str) -> list[Any]:
        return [tree.copy() for tree in parse(sql)]

    parse_anew = translate.parse
    translate.parse = script.parse = query.parse = copies
    script.parse_script = functools.lru_cache(REMEMBERED_TEXTS)(script.parse_script)
    query.translate = Translations(catalog, query.translate).translate


@dataclass(frozen=True)
class Translation:
    """A query in DuckDB's words, and what of the context goes with it."""

    generation: int
    sql: str
    used: frozenset[str]
    referenced: frozenset[tuple[str, str, str]]


class Translations:
    """
    Translations of queries, remembered while the catalog is what it was.

    A tenth of a second is spent on a long query over a view, mostly on finding out
    types. Left out are queries whose translation depends on more than their text, the
    catalog and the types of parameters: on a wildcard, whose tables the parameters'
    values choose, on a session, and on tables that may expire.
    """

    _ELSEWHERE = re.compile(r"@@|EXTERNAL_QUERY", re.IGNORECASE)

    def __init__(self, catalog: Catalog, translate: Callable[..., Any]) -> None:
        self._catalog = catalog
        self._translate = translate
        self._known: dict[Any, Translation] = {}
        self._lock = threading.Lock()

    def translate(self, tree: Any, context: Any) -> tuple[str, dict[str, Any]]:
        """Return what the emulator's ``translate`` does."""
        generation, key = self._catalog.generation, self._key(tree, context)
        known = self._known.get(key)
        if known is not None and known.generation == generation:
            context.used.clear()
            context.used |= known.used
            context.referenced |= known.referenced
            return known.sql, {name: context.values[name] for name in known.used}
        context.is_rememberable = True
        sql, bound = self._translate(tree, context)
        if (
            key is not None
            and generation is not None
            and generation == self._catalog.generation
            and context.is_rememberable
            and not context.position
            and not any(map(self._may_expire, context.referenced))
        ):
            used, referenced = frozenset(bound), frozenset(context.referenced)
            with self._lock:
                if len(self._known) >= REMEMBERED_TEXTS:
                    self._known.clear()
                self._known[key] = Translation(generation, sql, used, referenced)
        return sql, bound

    def _key(self, tree: Any, context: Any) -> Any:
        from local_bigquery.catalog import row_access
        from sqlglot import exp

        text = tree.meta.get("text")
        session = (context.variables, context.temporary, context.functions)
        if (
            text is None
            or not isinstance(tree, exp.Query)
            or any((*session, context.settings, context.position))
            or self._ELSEWHERE.search(text[0])
        ):
            return None
        return (
            *(text, context.project_id, context.dataset_id, row_access.caller.get()),
            tuple(sorted(context.parameters.items())),
        )

    @staticmethod
    def _may_expire(reference: tuple[str, str, str]) -> bool:
        from local_bigquery.catalog import metadata
        from local_bigquery.models import Table

        stored = metadata.load(Table, *reference)
        return stored is not None and stored.expirationTime is not None


# What INFORMATION_SCHEMA.TABLES says of one table, in a line of texts between tabs.
_LISTED = """
SELECT
    split_part(line, chr(9), 1) AS table_catalog,
    split_part(line, chr(9), 2) AS table_schema,
    split_part(line, chr(9), 3) AS table_name,
    split_part(line, chr(9), 4) AS table_type,
    split_part(line, chr(9), 5) AS is_insertable_into,
    'NO' AS is_typed,
    make_timestamp(CAST(split_part(line, chr(9), 6) AS BIGINT) * 1000) AS creation_time
FROM (SELECT unnest(string_split({lines}, chr(10))) AS line)
WHERE line <> ''
"""


def list_tables_at_once() -> None:
    """
    Answer INFORMATION_SCHEMA.TABLES of a dataset by names, as its list has them.

    The emulator loads every table, counts its rows, and translates a row of constants
    for each: seconds for a year of days.
    """
    import sqlglot
    from local_bigquery.catalog import tables
    from local_bigquery.sql.rules import information_schema as rule
    from sqlglot import exp

    values = rule._values

    def listed(project: str, dataset: str | None) -> Any:
        if dataset is None:
            return rule.table_list(project, dataset)
        lines = []
        for table in tables.list_(project, dataset):
            kind = rule.TABLE_TYPES.get(table.type, table.type)
            can_insert = "YES" if table.type == "TABLE" else "NO"
            name = table.tableReference.tableId
            created = table.creationTime or "0"
            lines.append("\t".join((project, dataset, name, kind, can_insert, created)))
        text = exp.Literal.string("\n".join(lines)).sql("duckdb")
        return sqlglot.parse_one(_LISTED.format(lines=text), dialect="duckdb"), None

    def values_or_listed(columns: Any, rows: Any) -> Any:
        return columns if rows is None else values(columns, rows)

    rule.VIEWS["TABLES"] = listed
    rule._values = values_or_listed


def page_cheaply() -> None:
    """Make JSON rows of small pages here, and no rows where none are asked for."""
    from local_bigquery.engine import results, types
    from local_bigquery.engine.database import quote

    page_by_duckdb = results.page
    infinity = {math.inf: "Infinity", -math.inf: "-Infinity"}

    def number(value: float) -> str:
        if math.isfinite(value):
            return repr(value)
        return infinity.get(value, "NaN")

    plain: dict[str, Callable[[Any], str]] = {
        "STRING": json.dumps,
        "INTEGER": lambda value: f'"{value}"',
        "FLOAT": lambda value: f'"{number(value)}"',
        "BOOLEAN": lambda value: '"true"' if value else '"false"',
    }
    exact = {"VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN"}

    def cell(name: str, kind: Any, int64: bool) -> tuple[str, Callable[[Any], str]]:
        """Return what to select, and how to write its value as JSON."""
        column = quote(name)
        if str(kind) in exact:
            return column, plain[types.field("", kind).type]
        encoded = types.encode(column, kind, int64)
        if types._element(kind) or kind.id == "struct":
            return f"CAST(to_json({encoded}) AS VARCHAR)", str
        return encoded, json.dumps

    def page(  # noqa: PLR0917, the emulator's own signature
        cursor: Any,
        source: str,
        max_results: int | None = None,
        start: int = 0,
        fields: list[str] | None = None,
        int64_timestamps: bool = True,
    ) -> Any:
        [(total,)] = cursor.execute(f"SELECT count(*) FROM {source}").fetchall()
        limit = total if max_results is None else max_results
        wanted = max(0, min(limit, total - start))
        if wanted > SMALL_PAGE:
            return page_by_duckdb(
                cursor, source, max_results, start, fields, int64_timestamps
            )
        if not wanted:
            return results.Page([], total, str(start) if start < total else None)
        relation = cursor.sql(f"SELECT * FROM {source} LIMIT 0")
        cells = [
            cell(name, kind, int64_timestamps)
            for name, kind in zip(relation.columns, relation.types, strict=True)
            if not fields or name.casefold() in fields
        ]
        selected = ", ".join(f"{sql} AS c{i}" for i, (sql, _) in enumerate(cells))
        names = ", ".join(
            quote(name)
            for name in relation.columns
            if not fields or name.casefold() in fields
        )
        found = cursor.execute(
            f"SELECT {selected} FROM (SELECT {names} FROM {source} "
            f"ORDER BY rowid LIMIT {wanted} OFFSET {start})"
        ).fetchall()
        writers = [writer for _, writer in cells]
        rows = [
            '{"f":['
            + ",".join(
                '{"v":null}' if value is None else f'{{"v":{write(value)}}}'
                for value, write in zip(row, writers, strict=True)
            )
            + "]}"
            for row in found
        ]
        end = start + len(rows)
        return results.Page(rows, total, str(end) if end < total else None)

    results.page = page


def join_array_parameters() -> None:
    """
    Find ``x IN UNNEST(@xs)`` of a WHERE by one join.

    The emulator has DuckDB search the array for every row: a second for a thousand
    elements and a million rows, where a join takes milliseconds.
    """
    from local_bigquery.sql import rules
    from sqlglot import exp, select

    def mark(tree: Any, context: Any) -> Any:
        for node in tree.find_all(exp.In):
            unnest = node.args.get("unnest")
            if unnest is None or not isinstance(unnest.expressions[0], exp.Parameter):
                continue
            place = node.find_ancestor(exp.Where, exp.Lambda, exp.AggFunc, exp.Select)
            node.meta["joined"] = isinstance(place, exp.Where)
        return tree

    def join(node: Any, context: Any) -> Any:
        if not (isinstance(node, exp.In) and node.meta.get("joined")):
            return node
        elements = exp.Anonymous(
            this="UNNEST", expressions=node.args["unnest"].expressions
        )
        return exp.In(this=node.this, query=exp.Subquery(this=select(elements)))

    rules.STATEMENT_RULES.insert(0, mark)
    rules.NODE_RULES.append(join)


# -- Pruning --------------------------------------------------------------------------

_SUFFIX = "_table_suffix"
_COMPARED: dict[str, Callable[[str, str], bool]] = {
    "EQ": operator.eq,
    "LT": operator.lt,
    "LTE": operator.le,
    "GT": operator.gt,
    "GTE": operator.ge,
}
_MIRRORED = {"EQ": "EQ", "LT": "GT", "LTE": "GTE", "GT": "LT", "GTE": "LTE"}
Bound = Callable[[str], bool]


def suffix_bounds(table: Any, context: Any) -> list[Bound]:
    """
    Return conditions that a shard's suffix must meet to have rows in the answer.

    Conditions are those conjuncts of WHERE that compare ``_TABLE_SUFFIX`` with string
    constants or parameters: of the query that reads the wildcard, and of queries around
    it that get the suffix under some name, or the end of it, from a subquery which only
    selects, or from a UNION ALL of such.

    Args:
        table: The wildcard, in a statement whose parameters still stand.
        context: The translation's, for the parameters' values.
    """
    from sqlglot import exp

    bounds: list[Bound] = []
    name: str | None = _SUFFIX
    source = table
    skipped = 0
    query = table.find_ancestor(exp.Select)
    while query is not None and name is not None:
        if not _reads(query, source):
            break
        where = query.args.get("where")
        for condition in _conjuncts(where.this) if where is not None else ():
            bound = _bound(condition, name, source.alias_or_name, context)
            if bound is not None:
                bounds.append(functools.partial(_of_end, skipped, bound))
        outer, first = _united(query)
        is_plain = isinstance(outer, exp.Subquery) and not any(
            value for key, value in outer.args.items() if key not in ("this", "alias")
        )
        if not is_plain or not _only_selects(query):
            break
        name, more = _passed_on(query, first, name, source.alias_or_name)
        skipped += more
        source, query = outer, outer.find_ancestor(exp.Select)
    return bounds


def _of_end(skipped: int, bound: Bound, suffix: str) -> bool:
    return bound(suffix[skipped:])


def _united(query: Any) -> tuple[Any, Any]:
    """Return what a query is in, and the SELECT that names the columns there."""
    from sqlglot import exp

    outer, first = query.parent, query
    harmless = {"this", "expression", "distinct", "by_name"}
    while isinstance(outer, exp.Union):
        is_all = not outer.args.get("distinct")
        if not is_all or any(v for k, v in outer.args.items() if k not in harmless):
            break
        first = outer.left
        while isinstance(first, exp.Union):
            first = first.left
        outer = outer.parent
    return outer, first


def _reads(query: Any, source: Any) -> bool:
    """Whether ``source`` stands in the FROM or in a JOIN of ``query`` itself."""
    from sqlglot import exp

    parent = source.parent
    return isinstance(parent, exp.From | exp.Join) and parent.parent is query


def _only_selects(query: Any) -> bool:
    """Whether a condition on a selected column may as well be checked before."""
    from sqlglot import exp

    harmless = {"kind", "hint", "expressions", "from", "from_", "joins", "where"}
    if any(value for key, value in query.args.items() if key not in harmless):
        return False
    return not any(
        window.find_ancestor(exp.Select) is query
        for window in query.find_all(exp.Window)
    )


def _conjuncts(condition: Any) -> Iterator[Any]:
    from sqlglot import exp

    if isinstance(condition, exp.Paren):
        yield from _conjuncts(condition.this)
    elif isinstance(condition, exp.And):
        yield from _conjuncts(condition.this)
        yield from _conjuncts(condition.expression)
    else:
        yield condition


def _is_suffix(node: Any, name: str, source: str) -> bool:
    from sqlglot import exp

    return (
        isinstance(node, exp.Column)
        and node.name.casefold() == name
        and node.table.casefold() in ("", source.casefold())
    )


def _passed_on(
    query: Any, first: Any, name: str, source: str
) -> tuple[str | None, int]:
    """
    Return the name under which ``query`` selects the suffix, None if it does not, and
    how many characters of it are left out at the beginning.

    Args:
        query: A SELECT.
        first: The SELECT that names its columns: of a union, the first.
        name: Of the suffix in what the query reads.
        source: By what name it reads that.
    """
    from sqlglot import exp

    for position, column in enumerate(query.expressions):
        if column.is_star and first is not query:
            break
        inner = column.this if isinstance(column, exp.Alias) else column
        begin = 1
        if isinstance(inner, exp.Substring) and not inner.args.get("length"):
            start = inner.args.get("start")
            if not (isinstance(start, exp.Literal) and start.is_int):
                continue
            begin, inner = int(start.this), inner.this
        if begin >= 1 and _is_suffix(inner, name, source):
            named = first.expressions[position]
            return str(named.alias_or_name).casefold(), begin - 1
    return None, 0


def _constant(node: Any, context: Any) -> str | None:
    from sqlglot import exp

    if isinstance(node, exp.Literal) and node.is_string:
        return str(node.this)
    if isinstance(node, exp.Parameter) and isinstance(node.this, exp.Var):
        value = context.values.get(node.name)
        declared = context.parameters.get(node.name, "")
        if isinstance(value, str) and declared.endswith(" AS VARCHAR)"):
            return value
    return None


def _bound(condition: Any, name: str, source: str, context: Any) -> Bound | None:
    """Return what a conjunct demands of the suffix ``name`` of ``source``, if it is."""
    from sqlglot import exp

    subject = condition.this
    bound: Bound | None = None
    if isinstance(condition, exp.Between) and not condition.args.get("symmetric"):
        low = _constant(condition.args["low"], context)
        high = _constant(condition.args["high"], context)
        if low is not None and high is not None:
            bound = functools.partial(_is_between, low, high)
    elif isinstance(condition, exp.In):
        listed = [_constant(item, context) for item in condition.expressions]
        if listed and None not in listed:
            bound = frozenset(listed).__contains__
    elif (kind := type(condition).__name__) in _COMPARED:
        other = condition.expression
        if not _is_suffix(subject, name, source):
            subject, other, kind = other, subject, _MIRRORED[kind]
        value = _constant(other, context)
        if value is not None:
            # Operands change places: the value is given first.
            bound = functools.partial(_COMPARED[_MIRRORED[kind]], value)
    return bound if _is_suffix(subject, name, source) else None


def _is_between(low: str, high: str, suffix: str) -> bool:
    return low <= suffix <= high
