"""When the rows of a table changed last: ``lastModifiedTime``, as BigQuery has it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any


def follow_changes(database: Any) -> None:
    """
    Let loads, copies and DML change a table's ``lastModifiedTime``.

    The emulator has the time of its creation there. Times survive a restart, and each
    is later than the one before. Streamed rows and those of the Storage Write API are
    left out: they come many a second, and show in the number of rows.
    """
    from local_bigquery.catalog import metadata, names, tables
    from local_bigquery.models import Table

    database.execute(
        "CREATE TABLE IF NOT EXISTS emulator.modified "
        "(label VARCHAR PRIMARY KEY, time BIGINT)"
    )
    times: dict[str, int] = dict(database.fetch("FROM emulator.modified"))
    lock = threading.Lock()
    load, write = tables.load, database.writing

    @contextlib.contextmanager
    def writing(*reference: str) -> Iterator[None]:
        with write(*reference):
            yield
            if len(reference) > 1 and reference[1] != tables.RESULTS:
                touch(names.label(*reference))

    def touch(label: str) -> None:
        with lock, database.cursor() as cursor:
            times[label] = max(int(metadata.now()), times.get(label, 0) + 1)
            cursor.execute(
                "INSERT OR REPLACE INTO emulator.modified VALUES (?, ?)",
                [label, times[label]],
            )

    def load_with_time(*reference: str) -> Any:
        table = load(*reference)
        changed = times.get(names.label(*reference))
        if changed is None:
            return table
        # Of a table that nothing is stored of, the emulator says that it is of now.
        stored = metadata.load(Table, *reference) or Table()
        newest = max(changed, int(stored.lastModifiedTime or 0))
        return table.replace(lastModifiedTime=str(newest))

    database.writing, tables.load = writing, load_with_time
