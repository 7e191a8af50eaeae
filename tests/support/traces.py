"""
Where a user's id still is in a deployment, searched as somebody would who knows it.

Nothing here is shared with what removes users: every table that the dataset lists,
every generation of every object, each read as what it is, and every line of a log.
"""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import tempfile
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from urllib.parse import quote

import pyarrow.parquet as pq
from google.cloud import bigquery, storage

TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"


def forms_of(user: str) -> set[bytes]:
    """
    An id as programs write it, in small letters.

    Plain, in JSON (twice, too), in an address, in base 64, in hexadecimal, and hashed
    without a key.
    """
    plain = user.encode()
    escaped = json.dumps(user)[1:-1]
    hashes = (hashlib.md5, hashlib.sha1, hashlib.sha256)
    written = {
        plain,
        escaped.encode(),
        json.dumps(escaped)[1:-1].encode(),
        quote(user, safe="").encode(),
        b64encode(plain).rstrip(b"="),
        urlsafe_b64encode(plain).rstrip(b"="),
        plain.hex().encode(),
        *(of(plain).digest() for of in hashes),
        *(of(plain).hexdigest().encode() for of in hashes),
    }
    return {form.lower() for form in written}


def traces(
    client: bigquery.Client, dataset: str, bucket: storage.Bucket, *users: str
) -> set[str]:
    """Return the tables and objects that have one of some users, and views by rows."""
    forms = set().union(*map(forms_of, users))
    found = set()
    for listed in client.list_tables(dataset):
        name = listed.table_id
        view = f"SELECT * FROM `{dataset}.{name}`"
        is_table = listed.table_type == "TABLE"
        rows = client.list_rows(listed) if is_table else client.query(view).result()
        if _has(forms, [row.values() for row in rows]):
            found.add(name)
    for blob in bucket.client.list_blobs(bucket, versions=True):
        data = blob.download_as_bytes()
        if data.startswith(b"PAR1"):
            is_found = _has(forms, pq.read_table(io.BytesIO(data)).to_pylist())
        elif data.startswith(b"SQLite format 3"):
            is_found = any(_is_in_index(data, user, forms) for user in users)
        else:
            is_found = _has(forms, data)
        if is_found:
            found.add(blob.name)
    return found


def is_named(log: str, user: str) -> bool:
    """Whether a log names a user."""
    return _has(forms_of(user), log)


def _has(forms: set[bytes], value: object) -> bool:
    """Whether a value, or one within it, has one of the forms in it."""
    written = b"\n".join(_flat(value)).lower()
    return any(form in written for form in forms)


def _flat(value: object) -> Iterator[bytes]:
    if isinstance(value, dict):
        value = [*value.items()]
    if isinstance(value, list | tuple):
        for one in value:
            yield from _flat(one)
    else:
        yield value if isinstance(value, bytes) else str(value).encode()


def _is_in_index(data: bytes, user: str, forms: set[bytes]) -> bool:
    """Whether a SQLite file has an id, or its hash under a key that it has itself."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        database = sqlite3.connect(file.name)
        cells: list[object] = []
        for (table,) in database.execute(TABLES).fetchall():
            for row in database.execute(f"SELECT * FROM {table}"):
                cells += row
        database.close()
    hashed = set()
    for key in cells:
        if isinstance(key, bytes):
            digest = hashlib.blake2b(user.encode(), digest_size=8, key=key).digest()
            hashed.add(int.from_bytes(digest, "little", signed=True))
    return not hashed.isdisjoint(cells) or _has(forms, cells)
