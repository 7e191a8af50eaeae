"""
Cloud Storage on this machine, for the unmodified client.

    python -m local.emulators.storage --port 8092 --data-dir .local/states/demo/storage

What the registry builds on holds: ``ifGenerationMatch`` of a write is checked for one
request at a time, so that of two writers one gets a 412. A generation is newer than all
before. A bucket with versioning keeps old objects. An object is a
file ``DATA_DIR/BUCKET/NAME``; its metadata is in a database beside. There is no
access control, and no condition of a read, change of metadata or page of a list.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import re
import signal
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partialmethod
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import google_crc32c

from local.loopback import LoopbackHandler
from local.processes import HOST, options_of_child
from offline import whole_files
from propensity.settings import BUCKET

Resource = dict[str, Any]
Query = Mapping[str, str]
PATH = re.compile(r"/(?:(?:upload|download)/)?storage/v1/b(?:/([^/]+))?(/o)?(?:/(.+))?")
SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, resource TEXT);
CREATE TABLE IF NOT EXISTS objects (
  bucket TEXT, name TEXT, generation INTEGER, resource TEXT, kept BLOB,
  PRIMARY KEY (bucket, name, generation)
);
"""


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Store:
    """
    Buckets and objects. A live object has its content in a file; ``kept`` is the
    content of one that was overwritten or deleted in a bucket with versioning.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.lock = threading.Lock()
        self._database = sqlite3.connect(
            folder / ".objects.sqlite", check_same_thread=False, isolation_level=None
        )
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(SCHEMA)
        self._adopt()

    def close(self) -> None:
        """Close the database; the store is of no use then."""
        self._database.close()

    def _adopt(self) -> None:
        """
        Take the files for written whose write was cut off before its row was.

        No client was answered, and a new generation shows that the object has changed.
        """
        for resource, _ in self._rows("objects", "kept IS NULL"):
            bucket, name = resource["bucket"], resource["name"]
            with contextlib.suppress(OSError):
                content = self._file(bucket, name).read_bytes()
                if _checksum(content) != resource["crc32c"]:
                    self._drop(bucket, name, resource["generation"])
                    last = int(resource["generation"])
                    self._save(_resource(resource, content, after=last))

    def _rows(self, table: str, where: str, *values: Any) -> list[tuple[Resource, Any]]:
        content = "kept" if table == "objects" else "NULL"
        found = self._database.execute(
            f"SELECT resource, {content} FROM {table} WHERE {where}", values
        )
        return [(json.loads(resource), kept) for resource, kept in found]

    def bucket(self, name: str) -> Resource:
        for resource, _ in self._rows("buckets", "name = ?", name):
            return resource
        raise Refused(HTTPStatus.NOT_FOUND, "The specified bucket does not exist.")

    def create_bucket(self, metadata: Resource) -> Resource:
        if not BUCKET.fullmatch(metadata["name"]):
            message = f"{metadata['name']!r} is not a valid bucket name."
            raise Refused(HTTPStatus.BAD_REQUEST, message)
        if self._rows("buckets", "name = ?", metadata["name"]):
            raise Refused(HTTPStatus.CONFLICT, "You already own this bucket.")
        return self.save_bucket(
            {**metadata, "kind": "storage#bucket", "id": metadata["name"]}
        )

    def save_bucket(self, resource: Resource) -> Resource:
        name = resource["name"]
        row = [name, json.dumps(resource)]
        self._database.execute("REPLACE INTO buckets VALUES (?, ?)", row)
        (self.folder / name).mkdir(exist_ok=True)
        return resource

    def objects(self, bucket: str, query: Query) -> list[Resource]:
        self.bucket(bucket)
        prefix = query.get("prefix", "")
        rows = self._rows(
            "objects",
            "bucket = ? AND SUBSTR(name, 1, LENGTH(?)) = ? AND (kept IS NULL OR ?) "
            "ORDER BY name, generation",
            *(bucket, prefix, prefix, query.get("versions", "").lower() == "true"),
        )
        return [resource for resource, _ in rows]

    def live(self, bucket: str, name: str) -> Resource | None:
        """Return the resource of an object as it is now."""
        self.bucket(bucket)
        live = "bucket = ? AND name = ? AND kept IS NULL"
        rows = self._rows("objects", live, bucket, name)
        return rows[0][0] if rows else None

    def read(self, bucket: str, name: str, query: Query) -> tuple[Resource, bytes]:
        """Return the resource and content of an object, or of its generation."""
        live = self.live(bucket, name)
        generation = query.get("generation")
        if live and generation in (None, live["generation"]):
            return live, self._file(bucket, name).read_bytes()
        old = "bucket = ? AND name = ? AND generation = ?"
        for row in self._rows("objects", old, bucket, name, generation):
            return row
        raise Refused(HTTPStatus.NOT_FOUND, f"No such object: {bucket}/{name}")

    def write(
        self, bucket: str, content: bytes, metadata: Resource, query: Query
    ) -> Resource:
        """Write an object, if it still has the generation that is expected."""
        name = metadata["name"]
        live = self.live(bucket, name)
        last = int(live["generation"]) if live else 0
        if int(query.get("ifGenerationMatch", last)) != last:
            message = f"The precondition did not hold: the generation is {last}."
            raise Refused(HTTPStatus.PRECONDITION_FAILED, message)
        resource = _resource({**metadata, "bucket": bucket}, content, after=last)
        with self._database:  # all of the block, or nothing of it
            self._database.execute("BEGIN")
            self._retire(bucket, live)
            self._save(resource)
            whole_files.write(self._file(bucket, name), content)
        return resource

    def delete(self, bucket: str, name: str, query: Query) -> None:
        """Delete an object, or for good the generation that is named."""
        live, named = self.live(bucket, name), query.get("generation")
        if live and named in (None, live["generation"]):
            self._retire(bucket, live, for_good=named is not None)
            self._file(bucket, name).unlink(missing_ok=True)
        elif not named or not self._drop(bucket, name, named):
            raise Refused(HTTPStatus.NOT_FOUND, f"No such object: {bucket}/{name}")

    def _retire(
        self, bucket: str, live: Resource | None, *, for_good: bool = False
    ) -> None:
        """Keep a live object as an old generation where its bucket does, or drop it."""
        if live is None:
            return
        is_kept = self.bucket(bucket).get("versioning", {}).get("enabled")
        if is_kept and not for_good:
            live = {**live, "timeDeleted": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
            self._save(live, self._file(bucket, live["name"]).read_bytes())
        else:
            self._drop(bucket, live["name"], live["generation"])

    def _drop(self, bucket: str, name: str, generation: str) -> int:
        return self._database.execute(
            "DELETE FROM objects WHERE bucket = ? AND name = ? AND generation = ?",
            [bucket, name, generation],
        ).rowcount

    def _save(self, resource: Resource, kept: bytes | None = None) -> None:
        key = resource["bucket"], resource["name"], int(resource["generation"])
        self._database.execute(
            "REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
            [*key, json.dumps(resource), kept],
        )

    def _file(self, bucket: str, name: str) -> Path:
        # Two names have two files: a path may have no part that leads elsewhere.
        if {"", ".", ".."} & {*name.split("/")} or "\0" in name:
            raise Refused(HTTPStatus.BAD_REQUEST, f"{name!r} cannot name a file")
        return self.folder / bucket / name


def _resource(metadata: Resource, content: bytes, *, after: int) -> Resource:
    """Return an object's resource, of a generation newer than ``after``."""
    generation = max(time.time_ns() // 1_000, after + 1)
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    return {
        "contentType": "application/octet-stream",
        **metadata,
        "kind": "storage#object",
        "id": f"{metadata['bucket']}/{metadata['name']}/{generation}",
        "generation": str(generation),
        "metageneration": "1",
        "size": str(len(content)),
        "crc32c": _checksum(content),
        "etag": str(generation),
        "timeCreated": now,
        "updated": now,
    }


def _checksum(content: bytes) -> str:
    return base64.b64encode(google_crc32c.value(content).to_bytes(4)).decode()


@dataclass
class Answer:
    """An answer: JSON or bytes, with headers."""

    content: Resource | bytes = b""
    status: HTTPStatus = HTTPStatus.OK
    headers: dict[str, str] = field(default_factory=dict)


class Handler(LoopbackHandler):
    """Reads a request whole, runs it alone, answers it."""

    store: Store
    # Parts received of resumable uploads, by their ids.
    uploads: dict[str, tuple[Resource, Query, bytearray]] = {}  # noqa: RUF012

    def _handle(self, method: str) -> None:
        body, url = self.body(), urlsplit(self.path)
        try:
            with self.store.lock:
                answer = self._route(method, url.path, dict(parse_qsl(url.query)), body)
        except Refused as error:
            detail = {"message": str(error), "domain": "global", "reason": "invalid"}
            about = {"code": int(error.status), "message": str(error)}
            answer = Answer({"error": {**about, "errors": [detail]}}, error.status)
        self.answer(answer.status, answer.content, answer.headers)

    do_GET = partialmethod(_handle, "GET")
    do_POST = partialmethod(_handle, "POST")
    do_PUT = partialmethod(_handle, "PUT")
    do_PATCH = partialmethod(_handle, "PATCH")
    do_DELETE = partialmethod(_handle, "DELETE")

    def _route(self, method: str, path: str, query: Query, body: bytes) -> Answer:
        found = PATH.fullmatch(path)
        bucket, is_objects, name = found.groups() if found else ("", "", "")
        answer = None
        if name:
            answer = self._object(method, bucket, unquote(name), query)
        elif is_objects and method == "GET":
            items = self.store.objects(bucket, query)
            answer = Answer({"kind": "storage#objects", "items": items})
        elif is_objects:
            answer = self._upload(bucket, query, body)
        elif found:
            answer = self._bucket(method, bucket, body)
        if answer is None:
            raise Refused(HTTPStatus.NOT_FOUND, f"There is no {method} {path} here.")
        return answer

    def _bucket(self, method: str, bucket: str | None, body: bytes) -> Answer | None:
        store = self.store
        if method == "POST" and not bucket:
            return Answer(store.create_bucket(json.loads(body)))
        if method not in ("GET", "PATCH") or not bucket:
            return None
        changes = json.loads(body) if method == "PATCH" else {}
        whole = {**store.bucket(bucket), **changes, "name": bucket}
        return Answer(store.save_bucket(whole))

    def _object(
        self, method: str, bucket: str, name: str, query: Query
    ) -> Answer | None:
        if method == "DELETE":
            self.store.delete(bucket, name, query)
            return Answer(status=HTTPStatus.NO_CONTENT)
        if method != "GET":
            return None
        resource, content = self.store.read(bucket, name, query)
        if query.get("alt") != "media":
            return Answer(resource)
        about = {
            "X-Goog-Generation": resource["generation"],
            "X-Goog-Metageneration": resource["metageneration"],
            "X-Goog-Hash": f"crc32c={resource['crc32c']}",
        }
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            return Answer(content, headers=about)
        first, last = int(wanted[1]), int(wanted[2] or len(content))
        if first >= len(content):
            return Answer(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        part = content[first : last + 1]
        about["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        return Answer(part, HTTPStatus.PARTIAL_CONTENT, about)

    def _upload(self, bucket: str, query: Query, body: bytes) -> Answer:
        """Take an upload: at once, in two parts, or in chunks."""
        store = self.store
        if upload := query.get("upload_id"):
            metadata, conditions, content = self.uploads[upload]
            content += body
            total = self.headers["Content-Range"].rpartition("/")[2]
            if total == "*" or len(content) < int(total):
                done = {"Range": f"bytes=0-{len(content) - 1}"} if content else {}
                return Answer(status=HTTPStatus.PERMANENT_REDIRECT, headers=done)
            del self.uploads[upload]
            return Answer(store.write(bucket, bytes(content), metadata, conditions))
        if query["uploadType"] == "resumable":
            metadata = {"name": query.get("name"), **json.loads(body or b"{}")}
            upload = uuid.uuid4().hex
            self.uploads[upload] = metadata, query, bytearray()
            where = f"http://{self.headers['Host']}/upload/storage/v1/b/{bucket}/o"
            where += f"?uploadType=resumable&upload_id={upload}"
            return Answer(headers={"Location": where})
        if query["uploadType"] == "multipart":
            _, _, boundary = self.headers["Content-Type"].partition("boundary=")
            mark = b"--" + boundary.strip("'\"").encode()
            _, about, part = body.split(mark)[:3]
            metadata = json.loads(about.partition(b"\r\n\r\n")[2])
            head, _, data = part.partition(b"\r\n\r\n")
            kind = re.search(rb"(?i)content-type: *(\S+)", head)
            metadata.setdefault("contentType", kind[1].decode() if kind else None)
            return Answer(
                store.write(bucket, data.removesuffix(b"\r\n"), metadata, query)
            )
        return Answer(store.write(bucket, body, {"name": query["name"]}, query))


class Server(ThreadingHTTPServer):
    """One thread a connection, and room for many to wait."""

    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hang up; report anything else."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def main() -> None:
    """Read the command line and answer until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser("python -m local.emulators.storage")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of data")
    options = options_of_child(parser)
    Handler.store = Store(options.data_dir.resolve())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with Server((HOST, options.port), Handler) as server:
        server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
