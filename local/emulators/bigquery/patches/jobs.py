"""Jobs in a dictionary, and their results in a database without a file."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

# The client reads a result in pages; this many newer jobs may come in between.
KEPT_JOBS = 1_000
# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.catalog.tables": (
        "def physical(",
        "def write(",
    ),
    "local_bigquery.catalog.tabledata": ("def list_rows(",),
    "local_bigquery.jobs.store": (
        "def load(",
        "def save(",
        "def list_(",
        "def delete(",
    ),
}


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
            result = database.quote(tables.physical(*reference)[2])
            cursor.execute(f"ALTER TABLE {rows} RENAME TO {result}")
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
        job_key = job.jobReference.projectId, job.jobReference.jobId
        jobs[job_key] = job
        # The one that ended last has the longest to be read.
        jobs.move_to_end(job_key)
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
