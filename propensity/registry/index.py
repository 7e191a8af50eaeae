"""
The prediction index: each user's newest prediction in a SQLite file, and its pointer.

01-Predictions writes a file under a new name after each run, and then moves the
pointer, ``indexes/<use case>/current.json``, by compare-and-set. 02-GetProba answers
from the file without a query.

A file has no user ids. Its key is BLAKE2b of the id, 64 bits of it, under a random key
that the file names: who does not know the key cannot choose ids that collide. An id
that is not in the file has the hash of one that is with probability users / 2**64.

02-GetProba imports this, so nothing heavy may be imported here.

Source: RFC 7693, BLAKE2, section 2.9, keyed hashing.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from propensity.errors import ArtifactError, Conflict, SchemaError
from propensity.statements import statement

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.gcp.artifacts import Artifacts
    from propensity.gcp.warehouse import Warehouse

INDEXES = "indexes/"
# Of a publication that loses each race for the pointer.
TRIES = 10

_KEY_BYTES = 16
_HASH_BYTES = 8
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
_FIND = """
SELECT probability, percentile, as_of, model_version, expected_value
FROM predictions WHERE user = ?
"""


class Prediction(NamedTuple):
    """A user's newest prediction, as published; ``as_of`` is an ISO 8601 date."""

    probability: float
    percentile: int | None
    as_of: str
    model_version: int
    expected_value: float | None


class IndexPointer(NamedTuple):
    """The content of ``current.json``: an object's name, and its size and users."""

    name: str
    size: int
    users: int

    @classmethod
    def parse(cls, data: bytes) -> IndexPointer:
        """Read a pointer, or raise ArtifactError if it is damaged."""
        try:
            found = json.loads(data)
            return cls(str(found["name"]), int(found["size"]), int(found["users"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"it is no pointer to an index: {error!r}") from error


class Index:
    """A whole file. It may be opened in one thread and read in another."""

    def __init__(self, path: Path) -> None:
        """
        Open a file, which may be deleted then.

        Raises:
            ArtifactError: It is no index.
        """
        self._db = sqlite3.connect(
            f"file:{path}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        try:
            self._db.execute(f"PRAGMA mmap_size = {path.stat().st_size}")
            [(key,)] = self._db.execute("SELECT key FROM about")
            self._hashes = blake2b(digest_size=_HASH_BYTES, key=key)
            # One cursor for all lookups, since it takes a while to make one.
            self._found = self._db.execute(_FIND, (0,))
        except (sqlite3.Error, ValueError) as error:
            self._db.close()
            raise ArtifactError(f"the file is no index: {error}") from error

    def __del__(self) -> None:
        self._db.close()

    def find(self, user_id: str) -> Prediction | None:
        """Return a user's prediction, None for a user who has none."""
        row = self._found.execute(_FIND, (_hashed(self._hashes, user_id),)).fetchone()
        return None if row is None else Prediction._make(row)


def _hashed(hashes: blake2b, user_id: str) -> int:
    """Return the key of a user's row; ``hashes`` has the key of the file."""
    own = hashes.copy()
    own.update(user_id.encode())
    return int.from_bytes(own.digest(), "little", signed=True)


def write(path: Path, batches: Iterable[pa.RecordBatch]) -> int:
    """
    Write a file of rows of ``ma_predictions_table``; return how many there are.

    Args:
        path: Of the file, which must not exist.
        batches: Columns ``user_id`` and those of ``Prediction``.

    Raises:
        SchemaError: A user is there twice.
    """
    key, users = secrets.token_bytes(_KEY_BYTES), 0
    db = sqlite3.connect(path)
    try:
        db.executescript(_CREATE)
        db.execute("INSERT INTO about VALUES (?)", (key,))
        for batch in batches:
            db.executemany(
                "INSERT INTO predictions VALUES (?, ?, ?, ?, ?, ?)",
                _rows(batch, blake2b(digest_size=_HASH_BYTES, key=key)),
            )
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


def _rows(batch: pa.RecordBatch, hashes: blake2b) -> Iterator[tuple[Any, ...]]:
    columns = (batch[name].to_pylist() for name in ("user_id", *Prediction._fields))
    for user_id, probability, percentile, as_of, version, value in zip(
        *columns, strict=True
    ):
        amount = None if value is None else float(value)
        hashed = _hashed(hashes, user_id)
        yield hashed, probability, percentile, as_of.isoformat(), version, amount


def publish(
    warehouse: Warehouse, artifacts: Artifacts, use_case: str, *, run_id: str
) -> IndexPointer:
    """
    Build the index of what the table has now, point to it, and delete older files.

    The table is read after the pointer: if another run publishes meanwhile, this one
    has perhaps not read its rows, loses the compare-and-set and builds once more. So
    the index that is pointed to is never older than the last publication.

    Args:
        run_id: For the name of the file.

    Raises:
        SchemaError: The table has a user twice.
        Conflict: Other runs were quicker each time.
        PropensityError: BigQuery or the bucket failed. The pointer is as it was.
    """
    for attempt in range(TRIES):
        stored = artifacts.find(pointer_name(use_case))
        generation = stored.generation if stored else 0
        # Names sort by the pointer that they are to replace.
        name = f"{folder_of(use_case)}g{generation:020}-{run_id}-{attempt}.sqlite"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index"
            sql = statement("current_predictions")
            users = write(path, warehouse.batches(sql, {"use_case": use_case}))
            artifacts.create_from(name, path)
            pointer = IndexPointer(name, path.stat().st_size, users)
        content = json.dumps(pointer._asdict(), indent=1).encode()
        try:
            artifacts.replace(pointer_name(use_case), content, generation=generation)
        except Conflict:
            artifacts.delete(name)
            continue
        # A file that another run has just written stays: it sorts after this one,
        # unless that run has lost its race.
        for entry in artifacts.generations(folder_of(use_case)):
            if entry.name < name and entry.name != pointer_name(use_case):
                artifacts.delete(entry.name, generation=entry.generation)
        return pointer
    raise Conflict(f"the index of {use_case} could not be published in {TRIES} tries")


def folder_of(use_case: str) -> str:
    """Return the folder of a use case's indexes."""
    return f"{INDEXES}{use_case}/"


def pointer_name(use_case: str) -> str:
    """Return the name of a use case's pointer."""
    return f"{folder_of(use_case)}current.json"
