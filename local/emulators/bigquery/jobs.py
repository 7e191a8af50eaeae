"""Jobs and results in memory."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

RESULTS_CATALOG = "_results"
# A checkpoint rewrites every table of a file. Until one, changes are in the log, and
# the process keeps them in memory.
CHECKPOINT_THRESHOLD = "64MB"
CREATED = "CREATE_TABLE_AS_SELECT"


def keep_jobs_in_memory(database: Any) -> None:
    """Keep jobs in a dict; INFORMATION_SCHEMA's table of them is filled when asked."""
    from local_bigquery.jobs import query, store
    from local_bigquery.models import Job

    jobs: dict[tuple[str, str], Job] = {}
    children: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    save_row, execute = store.save, query.execute

    def save(job: Job) -> Job:
        project, job_id = job.jobReference.projectId, job.jobReference.jobId
        jobs[project, job_id] = job
        if parent := job.statistics.parentJobId:
            children[project, parent].add(job_id)
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

        matches = [
            job
            for (owner, _), job in list(jobs.items())
            if owner == project
            and job.statistics.parentJobId == parent
            and (states is None or job.status.state in states)
            and (first is None or created(job) >= first)
            and (last is None or created(job) <= last)
        ]
        return sorted(matches, key=lambda job: (-created(job), job.jobReference.jobId))

    def delete(project: str, job_id: str) -> None:
        for job_or_child in (job_id, *children.pop((project, job_id), ())):
            jobs.pop((project, job_or_child), None)

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


def keep_results_in_memory() -> None:
    """
    Put anonymous results into a database of their own, in memory, and read them as is.

    In the emulator's file they would be written to its log and be subject to its
    checkpoints, which run while clients read. None is written twice, so that nothing of
    one changes: the emulator looked each up a dozen times, a tenth of a test run.
    """
    import duckdb
    from local_bigquery.catalog import names, tabledata, tables
    from local_bigquery.engine import database, results
    from local_bigquery.engine import types as engine_types
    from local_bigquery.errors import not_found
    from local_bigquery.grpc import read

    physical, query = tables.physical, read._query
    write, list_rows = tables.write, tabledata.list_rows

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

    def write_result(
        cursor: Any,
        sql: str,
        parameters: Any,
        reference: tuple[str, str, str],
        *rest: Any,
        isolated: bool = False,
        **options: Any,
    ) -> Any:
        if isolated or reference[1] != tables.RESULTS:
            arguments = (cursor, sql, parameters, reference, *rest)
            return write(*arguments, isolated=isolated, **options)
        results.materialise(cursor, sql, tables.name(*reference), parameters)
        return True

    def list_rows_as_they_are(
        project: str, dataset: str, table: str, most: int | None, start: int, *rest: Any
    ) -> Any:
        selected, int64_timestamps = rest
        if dataset != tables.RESULTS or selected:
            return list_rows(project, dataset, table, most, start, *rest)
        name = tables.name(project, dataset, table)
        with database.cursor() as cursor:
            try:
                relation = cursor.sql(f"SELECT * FROM {name} LIMIT 0")
            except duckdb.CatalogException:
                reference = names.label(project, dataset, table)
                raise not_found("Table", reference) from None
            columns = list(zip(relation.columns, relation.types, strict=True))
            row = engine_types.row(columns, int64_timestamps)
            limit = results.DEFAULT_PAGE_SIZE if most is None else most
            [(total,)] = cursor.execute(f"SELECT count(*) FROM {name}").fetchall()
            rows = []
            if limit and start < total:
                rows = cursor.execute(
                    f"SELECT {row} FROM {name} "
                    f"ORDER BY rowid LIMIT {limit} OFFSET {start}"
                ).fetchall()
        end = start + len(rows)
        token = str(end) if end < total else None
        page = results.Page([text for (text,) in rows], total, token)
        return page, [engine_types.field(*column) for column in columns]

    tables.physical = physical_in_memory
    tables.write, tabledata.list_rows = write_result, list_rows_as_they_are
    read._query = query_as_is


def name_created_tables() -> None:
    """
    Name the table that a statement has created as its job's destination.

    dbt reads it there. The result of such a statement is empty all the same.
    """
    from local_bigquery.api import jobs as api
    from local_bigquery.jobs import query

    execute, page = query.execute, api.results

    def execute_and_name(*arguments: Any, **named: Any) -> Any:
        statistics, children, destination = execute(*arguments, **named)
        if statistics.statementType == CREATED and destination is None:
            destination = statistics.ddlTargetTable
        return statistics, children, destination

    def page_of_rows(job: Any, *rest: Any) -> Any:
        done = job.statistics.query
        if done is not None and done.statementType == CREATED:
            config = job.configuration
            plain = config.query.replace(destinationTable=None)
            job = job.replace(configuration=config.replace(query=plain))
        return page(job, *rest)

    query.execute, api.results = execute_and_name, page_of_rows
