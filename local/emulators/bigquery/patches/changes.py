"""When tables of days were changed last, for ``__TABLES__``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

# A table of a wildcard such as events_*. What is written all the time, for example by
# the stream, is left out: each note is a write of its own.
OF_DAYS = "events_"
# The emulator does not know a table's size: a row of the export has about as much.
BYTES_A_ROW = 1_600
# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.engine.database": ("def writing(",),
    "local_bigquery.sql.rules.information_schema": (
        '"__TABLES__": legacy_tables,',
        '"last_modified_time INT64",',
    ),
}


def note_changes(database: Any) -> None:
    """
    Tell when a table's rows were changed last; the emulator tells of its definition.

    Rows are counted for all tables at once, which the emulator does one by one.
    """
    from local_bigquery.catalog import metadata, tables
    from local_bigquery.sql.rules import information_schema

    writing = database.writing

    @contextlib.contextmanager
    def noted(*reference: str) -> Iterator[None]:
        with writing(*reference):
            yield
            if reference[2].startswith(OF_DAYS):
                stored = tables.metadata.load(tables.Table, *reference)
                resource = stored or tables.defaults(*reference)
                # Two changes in a millisecond are two.
                newest = int(stored.lastModifiedTime) + 1 if stored else 0
                changed = str(max(int(metadata.now()), newest))
                tables.record(*reference, resource.replace(lastModifiedTime=changed))

    def listed(project: str, dataset: str | None) -> Any:
        if dataset is None:
            return list_all(project, dataset)
        columns = [
            "table_id",
            "last_modified_time INT64",
            "row_count INT64",
            "size_bytes INT64",
        ]
        rows = []
        for name, _, n_rows in scan(project, dataset):
            stored = metadata.load(tables.Table, project, dataset, name)
            resource = stored or tables.defaults(project, dataset, name)
            changed = int(resource.lastModifiedTime)
            rows.append([name, changed, n_rows, n_rows * BYTES_A_ROW])
        return columns, rows

    scan = database.objects
    list_all = information_schema.VIEWS["__TABLES__"]
    information_schema.VIEWS["__TABLES__"] = listed
    database.writing = noted
