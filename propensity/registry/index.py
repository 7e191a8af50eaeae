"""
The prediction index: each user's newest prediction in a SQLite file, and its pointer.

01-Predictions and ``propensity forget`` write a file under a new name, then move the
pointer, ``indexes/<use case>/current.json``. 02-GetProba answers from the file without
a query.

A file has no user ids. Its key is BLAKE2b of the id, 64 bits of it, under a random key
that the file names: who does not know the key cannot choose ids that collide. An id
that is not in the file has the hash of one that is with probability users / 2**64.

Source: RFC 7693, BLAKE2, section 2.9, keyed hashing.
"""

from __future__ import annotations

import secrets
import sqlite3
import tempfile
import uuid
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, ValidationError, convert

from propensity.errors import (
    ArtifactError,
    Conflict,
    SchemaError,
)
from propensity.gcp.artifacts import Artifacts, json_of, retried
from propensity.statements import statement

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.gcp.queries import Queries

INDEXES = "indexes/"
ANEW = "Run 01-Predictions again, which writes the index anew"

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
  expected_value REAL,
  decile_cents INTEGER
)
"""
_FIND = """
SELECT
  probability,
  percentile,
  as_of,
  model_version,
  expected_value,
  decile_cents / 100.0
FROM predictions WHERE user = ?
"""


class IndexedPrediction(NamedTuple):
    """A user's newest prediction, as published; ``as_of`` is an ISO 8601 date."""

    probability: float
    percentile: int | None
    as_of: str
    model_version: int
    expected_value: float | None
    decile_value: float | None = None

    @classmethod
    def of(cls, row: Any) -> IndexedPrediction:
        """Return a row of ``ma_predictions_table``, whose amounts are decimals."""
        value = row.get("expected_value")
        decile_value = row.get("decile_value")
        return cls(
            row.get("probability"),
            row.get("percentile"),
            row.get("as_of").isoformat(),
            row.get("model_version"),
            None if value is None else float(value),
            None if decile_value is None else float(decile_value),
        )


class IndexPointer(Struct, frozen=True):
    """The content of ``current.json``: an object's name, and its size and users."""

    name: str
    size: int
    users: int


class Index:
    """A whole file. It may be opened in one thread and read in another."""

    def __init__(self, path: Path) -> None:
        """Open a file, which may be deleted then."""
        self._db = sqlite3.connect(
            f"file:{path}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        try:
            self._db.execute(f"PRAGMA mmap_size = {path.stat().st_size}")
            [(key,)] = self._db.execute("SELECT key FROM about")
            self._keyed = blake2b(digest_size=8, key=key)
            # One cursor for all lookups, since it takes a while to make one.
            self._found = self._db.execute(_FIND, (0,))
        except (sqlite3.Error, TypeError, ValueError) as error:
            self._db.close()
            raise ArtifactError("the file is not an index", hint=ANEW) from error

    def __del__(self) -> None:
        self._db.close()

    def find(self, user_id: str) -> IndexedPrediction | None:
        """Return a user's prediction, None for a user who has none."""
        key = (hashed(self._keyed, user_id),)
        try:
            row = self._found.execute(_FIND, key).fetchone()
            return None if row is None else convert(row, IndexedPrediction)
        except (sqlite3.Error, ValidationError) as error:
            raise ArtifactError("the index is damaged", hint=ANEW) from error


def hashed(keyed: blake2b, user_id: str) -> int:
    hasher = keyed.copy()
    hasher.update(user_id.encode())
    return int.from_bytes(hasher.digest(), "little", signed=True)


def index_folder(use_case: str) -> str:
    return f"{INDEXES}{use_case}/"


def pointer_name(use_case: str) -> str:
    return f"{index_folder(use_case)}current.json"


def store_index(
    warehouse: Queries, artifacts: Artifacts, use_case: str, *, days: int
) -> int:
    """
    Build the index of the table's newest days, point to it, and delete older files.

    The table is read after the pointer. So if another run publishes meanwhile, whose
    rows this one has perhaps not read, this one loses the compare-and-set, and builds
    the index anew.

    Raises:
        SchemaError: The table has a user twice.
        Conflict: Others were quicker each time.
        PropensityError: BigQuery or the bucket failed. The pointer is as it was.
    """
    pointer = pointer_name(use_case)

    def publish_once() -> int:
        stored = artifacts.find(pointer)
        # Names sort by the pointer that they are to replace. Each try has its own.
        generation = stored.generation if stored else 0
        name = f"{index_folder(use_case)}g{generation:020}-{uuid.uuid4().hex}.sqlite"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index"
            parameters = {"use_case": use_case, "index_days": days}
            sql = statement("index_rows")
            users = write_index(path, warehouse.batches(sql, parameters))
            artifacts.create_from(name, path)
            content = json_of(IndexPointer(name, path.stat().st_size, users))
        try:
            artifacts.replace(pointer, content, stored)
        except Conflict as error:
            artifacts.delete(name)
            raise Conflict(
                f"another run published the index of {use_case} at the same time",
                hint="Call again",
            ) from error
        # A file that another run has just written stays: it sorts after this one.
        for entry in artifacts.generations(index_folder(use_case)):
            if entry.name < name and entry.name != pointer:
                artifacts.delete(entry.name, generation=entry.generation)
        return users

    return retried(publish_once)


def write_index(path: Path, batches: Iterable[pa.RecordBatch]) -> int:
    """Write a file of rows of ``ma_predictions_table``; return how many there are."""
    key = secrets.token_bytes(16)
    users = 0
    keyed = blake2b(digest_size=8, key=key)
    db = sqlite3.connect(path)
    try:
        db.executescript(_CREATE)
        db.execute("INSERT INTO about VALUES (?)", (key,))
        for batch in batches:
            rows = (_stored(row, keyed) for row in batch.to_pylist())
            db.executemany("INSERT INTO predictions VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
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


def _stored(row: dict[str, Any], keyed: blake2b) -> tuple[object, ...]:
    prediction = IndexedPrediction.of(row)
    # A whole number takes two or three bytes, and a REAL eight.
    cents = None
    if prediction.decile_value is not None:
        cents = round(100 * prediction.decile_value)
    return (hashed(keyed, row["user_id"]),) + tuple(prediction)[:-1] + (cents,)
