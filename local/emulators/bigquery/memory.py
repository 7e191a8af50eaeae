"""Jobs, their results, tables' metadata and translations in memory; tables by name."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

# The client reads a result in pages; this many newer jobs may come in between.
KEPT_JOBS = 1_000
KEPT_STATEMENTS = 500


def keep_jobs(database: Any) -> None:
    """
    Keep jobs in a dictionary, and their results in a database without a file.

    The emulator writes the JSON of each job to disk three times and its result beside
    it, and keeps both for good. Neither outlives the process.
    """
    from local_bigquery.catalog import tabledata, tables
    from local_bigquery.engine import results, types
    from local_bigquery.jobs import store

    jobs = OrderedDict[tuple[str, str], Any]()
    physical = tables.physical
    write = tables.write
    list_all = tabledata.list_rows

    def physical_or_result(project: str, dataset: str, name: str) -> Any:
        if dataset == tables.RESULTS:
            return "results", "main", f"{project}:{name}"
        return physical(project, dataset, name)

    def is_of_bigquery(kind: Any) -> bool:
        return kind.id not in ("list", "array") and types.normalised(kind) == str(kind)

    def write_once(
        cursor: Any, query: str, parameters: Any, reference: Any, *rest: Any, **how: Any
    ) -> Any:
        if reference[1] != tables.RESULTS or how.get("isolated"):
            return write(cursor, query, parameters, reference, *rest, **how)
        # The emulator plans a query three times, which takes longer than to run it.
        rows = tables.name(*reference[:2], f"{reference[2]} as it came")
        cursor.execute(f"CREATE TABLE {rows} AS {query}", parameters)
        kinds = cursor.sql(f"SELECT * FROM {rows} LIMIT 0").types
        if all(map(is_of_bigquery, kinds)):
            own = database.quote(tables.physical(*reference)[2])
            cursor.execute(f"ALTER TABLE {rows} RENAME TO {own}")
            return True
        try:
            return write(cursor, f"SELECT * FROM {rows}", None, reference, *rest, **how)
        finally:
            cursor.execute(f"DROP TABLE {rows}")

    def list_rows(*arguments: Any) -> Any:
        *reference, limit, start, chosen, int64 = arguments
        if reference[1] != tables.RESULTS or chosen:
            return list_all(*arguments)
        fields = tables.columns(*reference)
        with database.cursor() as cursor:
            name = tables.name(*reference)
            return results.page(cursor, name, limit, start, None, int64), fields

    def save(job: Any) -> Any:
        own = job.jobReference.projectId, job.jobReference.jobId
        jobs[own] = job
        # The one that ended last has the longest to be read.
        jobs.move_to_end(own)
        for key, older in list(jobs.items())[: max(0, len(jobs) - KEPT_JOBS)]:
            if older.status.state == "DONE":
                delete(*key)
        return job

    def delete(project: str, job_id: str) -> None:
        if jobs.pop((project, job_id), None):
            result = tables.name(project, tables.RESULTS, job_id)
            database.execute(f"DROP TABLE IF EXISTS {result}")

    def newest(project: str, states: Any = None, parent: Any = None, *_: Any) -> Any:
        return [
            job
            for (owner, _), job in list(jobs.items())[::-1]
            if owner == project
            and job.statistics.parentJobId == parent
            and (states is None or job.status.state in states)
        ]

    database.execute("ATTACH ':memory:' AS results")
    tables.physical = physical_or_result
    tables.write = write_once
    tabledata.list_rows = list_rows
    store.load = lambda *key: jobs.get(key)
    store.save = save
    store.list_ = newest
    store.delete = delete


def keep_resources(database: Any) -> None:
    """
    Keep the metadata of data sets and tables in dictionaries beside the catalog.

    A statement reads it several times for each of its tables, and parses its JSON.
    """
    from local_bigquery.catalog import metadata

    save = metadata.save
    delete = metadata.delete
    kept: dict[Any, dict[tuple[str, ...], Any]] = {}
    for model, kind in metadata.KINDS.items():
        keys = ", ".join(database.RESOURCES[kind])
        stored = database.fetch(f"SELECT resource, {keys} FROM emulator.{kind}")
        kept[model] = {
            tuple(key): model.model_validate_json(text) for text, *key in stored
        }

    def listed(model: Any, *keys: str) -> list[Any]:
        if (found := kept[model].get(keys)) is not None:
            return [found]
        if len(keys) == len(database.RESOURCES[metadata.KINDS[model]]):
            return []
        return [kept[model][key] for key in _beginning(kept[model], keys)]

    def keep(resource: Any, *keys: str) -> Any:
        kept[type(resource)][keys] = saved = save(resource, *keys)
        return saved

    def forget(model: Any, *keys: str) -> None:
        delete(model, *keys)
        for key in _beginning(kept[model], keys):
            kept[model].pop(key, None)

    metadata.list_ = listed
    metadata.save = keep
    metadata.delete = forget


def _beginning(resources: dict[tuple[str, ...], Any], keys: tuple[str, ...]) -> Any:
    return [key for key in list(resources) if key[: len(keys)] == keys]


def look_up_by_name(database: Any) -> None:
    """
    Look a table up by its name.

    The emulator scans DuckDB's whole catalog for each, which grows with it.
    """
    import duckdb
    from local_bigquery.catalog import metadata, tables
    from local_bigquery.models import Table
    from local_bigquery.sql.rules import information_schema, partitions

    missing = (duckdb.CatalogException, duckdb.BinderException)
    fetch = database.fetch
    quote = database.quote
    scan = database.objects

    def objects(
        project: str, dataset: str, table: str | None = None
    ) -> list[tuple[str, str, int]]:
        if table is None:
            return list(scan(project, dataset))
        stored = metadata.load(Table, project, dataset, table)
        if stored is not None and stored.view is not None:
            return [(table, "VIEW", 0)]
        try:
            [(rows,)] = fetch(f"SELECT count(*) FROM {quote(project, dataset, table)}")
        except missing:
            return []
        return [(table, "TABLE", rows)]

    def columns(name: str, condition: str, parameters: list[str]) -> list[Any]:
        query = f"SELECT name FROM pragma_table_info(?) WHERE {condition}"
        try:
            return list(fetch(query, [name, *parameters]))
        except missing:
            return []

    def fetch_by_name(sql: str, parameters: list[Any] | None = None) -> list[Any]:
        if sql.startswith("SELECT column_name FROM duckdb_columns()"):
            return columns(quote(*(parameters or [])), '"notnull"', [])
        if sql.startswith("SELECT 1 FROM duckdb_columns()"):
            *table, column = parameters or []
            return columns(quote(*table), "name = ?", [column])
        return list(fetch(sql, parameters))

    def table_list(project: str, dataset: str | None) -> Any:
        """Return INFORMATION_SCHEMA.TABLES without looking into any table."""
        if dataset is None:
            return list_tables(project, dataset)
        rows = []
        for listed in metadata.existing(tables.list_, [(project, dataset)]):
            for one in listed:
                kind = information_schema.TABLE_TYPES.get(one.type, one.type)
                rows.append([project, dataset, one.tableReference.tableId, kind])
        return [*information_schema.IDENTITY, "table_type"], rows

    list_tables = information_schema.VIEWS["TABLES"]
    information_schema.VIEWS["TABLES"] = table_list
    database.objects = objects
    database.fetch = fetch_by_name
    assert tables.database is database
    assert partitions.database is database


def _definition(resource: Any) -> Any:
    return resource.without("etag", "lastModifiedTime").dump()


def _named(tree: Any, context: Any) -> set[tuple[str, ...]]:
    """Return the tables that a statement names, also the one that it changes."""
    from local_bigquery.catalog import names
    from sqlglot import exp

    return {
        names.reference(table, context.project_id, context.dataset_id)
        for table in tree.find_all(exp.Table)
    }


def keep_translations() -> None:
    """
    Translate a query once, as long as none of its tables changes its columns.

    A translation takes longer than most of the queries. Those in scripts with variables
    or tables of their own are not kept.
    """
    from local_bigquery.catalog import metadata, tables
    from local_bigquery.jobs import query
    from local_bigquery.sql import script
    from sqlglot import exp

    translate = query.translate
    kept = dict[Any, Any]()
    changes = 0
    parsed = functools.lru_cache(KEPT_STATEMENTS)(script.parse)
    changing = exp.Insert, exp.Update, exp.Delete

    def parse(text: str) -> list[Any]:
        trees: list[Any] = parsed(text)
        kinds = exp.Query, *changing
        if len(trees) == 1 and isinstance(trees[0], kinds) and "@@" not in text:
            trees[0].meta["text"] = text
            if isinstance(trees[0], exp.Query):
                return trees
        return [tree.copy() for tree in trees]

    def translate_once(tree: Any, context: Any) -> Any:
        text = tree.meta.get("text")
        own = (context.variables, context.temporary, context.functions)
        if text is None or any(own):
            return translate(tree, context)
        parameters = tuple(sorted(context.parameters.items()))
        key = (text, context.project_id, context.dataset_id, parameters)
        if key in kept:
            sql, used, referenced, context.wildcards = kept[key]
            context.referenced |= referenced
            return sql, {name: context.values[name] for name in used}
        began = changes
        sql, bound = translate(tree, context)
        # A translation has the rows of INFORMATION_SCHEMA in it; and what changes
        # meanwhile may not be in it.
        referenced = {*context.referenced, *_named(tree, context)}
        named = f"{text} {referenced}".casefold()
        if began == changes and "information_schema" not in named:
            kept[key] = sql, list(bound), referenced, context.wildcards
        return sql, bound

    def change(function: Any, keys: Callable[..., tuple[str, ...]]) -> Any:
        @functools.wraps(function)
        def inner(*arguments: Any, **named: Any) -> Any:
            nonlocal changes
            changed = keys(*arguments)
            if tables.RESULTS in changed:
                return function(*arguments, **named)
            try:
                return function(*arguments, **named)
            finally:
                changes += 1
                for key, (_, _, referenced, _) in list(kept.items()):
                    if any(one[: len(changed)] == changed for one in referenced):
                        kept.pop(key, None)

        return inner

    save = metadata.save
    save_changed = change(metadata.save, lambda _, *keys: keys)

    def save_perhaps_changed(resource: Any, *keys: str) -> Any:
        stored = metadata.load(type(resource), *keys)
        # A set-up replaces views by the same ones.
        is_same = stored is not None and _definition(stored) == _definition(resource)
        return (save if is_same else save_changed)(resource, *keys)

    tables.write = change(tables.write, lambda *write: write[3])
    metadata.save = save_perhaps_changed
    metadata.delete = change(metadata.delete, lambda _, *keys: keys)
    script.parse_script = functools.lru_cache(KEPT_STATEMENTS)(script.parse_script)
    script.parse = parse
    query.translate = translate_once
