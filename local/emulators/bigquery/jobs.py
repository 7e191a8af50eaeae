"""Jobs and results in memory, and pages of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

RESULTS_CATALOG = "_results"
# Rows of a page that are put together here; beyond, DuckDB does it faster.
SMALL_PAGE = 2000
# A checkpoint rewrites every table of a file. Until one, changes are in the log, and
# the process keeps them in memory.
CHECKPOINT_THRESHOLD = "64MB"


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
