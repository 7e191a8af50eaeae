"""
The prediction index: each user's newest prediction in a SQLite file, and its pointer.

01-Predictions writes a file under a new name after each run, and then moves the
pointer, ``indexes/<use case>/current.json``. 02-GetProba answers from the file without
a query; ``runs.index`` writes both.

A file has no user ids. Its key is BLAKE2b of the id, 64 bits of it, under a random key
that the file names: who does not know the key cannot choose ids that collide. An id
that is not in the file has the hash of one that is with probability users / 2**64.

Source: RFC 7693, BLAKE2, section 2.9, keyed hashing.
"""

from __future__ import annotations

import json
import sqlite3
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from propensity.errors import ArtifactError

INDEXES = "indexes/"
ANEW = "Run 01-Predictions again, which writes the index anew"

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

    @classmethod
    def of(cls, row: Any) -> Prediction:
        """Return a row of ``ma_predictions_table``, whose value is a decimal."""
        probability, percentile, as_of, version, value = map(row.get, cls._fields)
        amount = None if value is None else float(value)
        return cls(probability, percentile, as_of.isoformat(), version, amount)


class IndexPointer(NamedTuple):
    """The content of ``current.json``: an object's name, and its size and users."""

    name: str
    size: int
    users: int

    @classmethod
    def parse(cls, data: bytes) -> IndexPointer:
        """Read a pointer, or raise ArtifactError if it is damaged."""
        try:
            content = json.loads(data)
            return cls(
                str(content["name"]), int(content["size"]), int(content["users"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                "the pointer to the index is damaged", hint=ANEW
            ) from error


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
            # A writer to the bucket could put a view in the place of a table,
            # which takes as long as it likes.
            self._db.execute("PRAGMA trusted_schema = OFF")
            kinds = self._db.execute("SELECT DISTINCT type FROM sqlite_schema")
            if {*kinds} != {("table",)}:
                raise ValueError("it has more than tables")
            [(key,)] = self._db.execute("SELECT key FROM about")
            self._hashes = hashes(key)
            # One cursor for all lookups, since it takes a while to make one.
            self._found = self._db.execute(_FIND, (0,))
        except (sqlite3.Error, ValueError) as error:
            self._db.close()
            raise ArtifactError("the file is not an index", hint=ANEW) from error

    def __del__(self) -> None:
        self._db.close()

    def find(self, user_id: str) -> Prediction | None:
        """
        Return a user's prediction, None for a user who has none.

        Raises:
            ArtifactError: The file is damaged where the user's row would be.
        """
        key = (hashed(self._hashes, user_id),)
        try:
            row = self._found.execute(_FIND, key).fetchone()
        except sqlite3.Error as error:
            raise ArtifactError("the index is damaged", hint=ANEW) from error
        return None if row is None else Prediction._make(row)


def hashes(key: bytes) -> blake2b:
    """Return what ``hashed`` needs, from the key of a file."""
    return blake2b(digest_size=8, key=key)


def hashed(keyed: blake2b, user_id: str) -> int:
    """Return the key of a user's row."""
    own = keyed.copy()
    own.update(user_id.encode())
    return int.from_bytes(own.digest(), "little", signed=True)


def folder_of(use_case: str) -> str:
    """Return the folder of a use case's indexes."""
    return f"{INDEXES}{use_case}/"


def pointer_name(use_case: str) -> str:
    """Return the name of a use case's pointer."""
    return f"{folder_of(use_case)}current.json"
