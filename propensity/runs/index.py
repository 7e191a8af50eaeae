"""
The prediction index as a step of 01-Predictions, after its publication.

``registry.index`` says what it is. ``offline/forget.py`` publishes it, too.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import tempfile
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from propensity import usecases
from propensity.errors import Conflict, PropensityError, SchemaError
from propensity.gcp.artifacts import retried
from propensity.registry import suppressed
from propensity.registry.index import (
    IndexPointer,
    Prediction,
    folder_of,
    hashed,
    hashes,
    pointer_name,
)
from propensity.statements import statement
from propensity.usecases.declaration import MAXIMUM_DAYS

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.gcp.artifacts import Artifacts
    from propensity.gcp.warehouse import Warehouse
    from propensity.runs.run import Run

_CREATE = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -262144;
CREATE TABLE about (key BLOB);
CREATE TABLE predictions (
  user INTEGER PRIMARY KEY,
  probability REAL,
  percentile INTEGER,
  as_of TEXT,
  model_version INTEGER,
  expected_value REAL
)
"""


def publish_for(run: Run) -> int:
    """
    Publish the index of what the table has now; return its users.

    Raises:
        PropensityError: The index was not published, and the message says so. The next
            run of any date publishes it.
    """
    artifacts, use_case = run.registry.artifacts, run.use_case.name
    try:
        suppressed.publish(run.warehouse, artifacts)
        return publish(run.warehouse, artifacts, use_case, run_id=run.run_id)
    except PropensityError as error:
        error.message = (
            f"the predictions were published, but not their index: {error.message}. "
            "Lookups answer from the index before until a run is repeated"
        )
        raise


def publish(
    warehouse: Warehouse, artifacts: Artifacts, use_case: str, *, run_id: str
) -> int:
    """
    Build the index of the table's newest days, point to it, and delete older files.

    The table is read after the pointer. So if another run publishes meanwhile, whose
    rows this one has perhaps not read, this one loses the compare-and-set, and builds
    the index anew.

    Args:
        run_id: For the name of the file.

    Returns:
        How many users it has.

    Raises:
        SchemaError: The table has a user twice.
        Conflict: Others were quicker each time.
        PropensityError: BigQuery or the bucket failed. The pointer is as it was.
    """
    pointer, tries = pointer_name(use_case), count()
    # A user may be forgotten whose use case this deploy has no more.
    is_known = use_case in usecases.names()
    days = usecases.load(use_case).index_span if is_known else MAXIMUM_DAYS

    def publish_once() -> int:
        stored = artifacts.find(pointer)
        # Names sort by the pointer that they are to replace. Each try has its own:
        # after a lost answer the client's retry finds the file, which is a conflict.
        generation = stored.generation if stored else 0
        file = f"g{generation:020}-{run_id}-{next(tries)}.sqlite"
        name = f"{folder_of(use_case)}{file}"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index"
            parameters = {"use_case": use_case, "index_days": days}
            sql = statement("index_rows")
            users = write(path, warehouse.batches(sql, parameters))
            artifacts.create_from(name, path)
            content = IndexPointer(name, path.stat().st_size, users)._asdict()
        try:
            artifacts.replace(pointer, json.dumps(content, indent=1).encode(), stored)
        except Conflict as error:
            artifacts.delete(name)
            raise Conflict(
                f"another run published the index of {use_case} at the same time",
                hint="Call again",
            ) from error
        # A file that another run has just written stays: it sorts after this one.
        for entry in artifacts.generations(folder_of(use_case)):
            if entry.name < name and entry.name != pointer:
                artifacts.delete(entry.name, generation=entry.generation)
        return users

    return retried(publish_once)


def write(path: Path, batches: Iterable[pa.RecordBatch]) -> int:
    """
    Write a file of rows of ``ma_predictions_table``; return how many there are.

    Args:
        path: Of the file, which must not exist.
        batches: Columns ``user_id`` and those of ``Prediction``.

    Raises:
        SchemaError: A user is there twice.
    """
    key, users = secrets.token_bytes(16), 0
    keyed = hashes(key)
    db = sqlite3.connect(path)
    try:
        db.executescript(_CREATE)
        db.execute("INSERT INTO about VALUES (?)", (key,))
        for batch in batches:
            rows = (
                (hashed(keyed, row["user_id"]), *Prediction.of(row))
                for row in batch.to_pylist()
            )
            db.executemany("INSERT INTO predictions VALUES (?, ?, ?, ?, ?, ?)", rows)
            users += batch.num_rows
        db.commit()
    except sqlite3.IntegrityError as error:
        raise SchemaError(
            "no index can be made: ma_predictions_table has a user twice. Its key is "
            "(use_case, user_id); remove one of the rows. If there is none, the hashes "
            "of two users were equal: run again"
        ) from error
    finally:
        db.close()
    return users
