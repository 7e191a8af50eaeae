"""
Cloud Storage on this machine, for the unmodified client.

    python -m local.emulators.storage --port 8092 --data-dir .local/states/demo/storage

What the registry builds on holds: ``ifGenerationMatch`` and ``ifGenerationNotMatch``
are checked for one request at a time, so that of two writers one gets a 412. A
generation is newer than all before. A bucket with versioning keeps what is overwritten
or deleted. An object is a file ``DATA_DIR/BUCKET/NAME``; what is known of it is in a
database beside. Access control, ranges of bytes and pages of lists are not there.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import signal
import sqlite3
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partialmethod
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import google_crc32c

from local.processes import HOST, stop_with
from offline import whole_files

Resource = dict[str, Any]
OBJECT = re.compile(r"/(?:(?:upload|download)/)?storage/v1/b/([^/?]+)/o/(.+)")
OBJECTS = re.compile(r"/(?:upload/)?storage/v1/b/([^/?]+)/o")
BUCKET = re.compile(r"/storage/v1/b(?:/([^/?]+))?")
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


def missing(what: str) -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, f"No such object: {what}")


class Store:
    """
    Buckets and objects. A live object has its content in a file; ``kept`` is the
    content of one that was overwritten or deleted in a bucket with versioning.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.lock = threading.Lock()
        self.uploads: dict[str, tuple[Resource, dict[str, str], bytearray]] = {}
        self._database = sqlite3.connect(
            folder / ".objects.sqlite", check_same_thread=False, isolation_level=None
        )
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(SCHEMA)

    def buckets(self) -> list[Resource]:
        rows = self._database.execute("SELECT resource FROM buckets ORDER BY name")
        return [json.loads(resource) for (resource,) in rows]

    def bucket(self, name: str) -> Resource:
        row = self._database.execute(
            "SELECT resource FROM buckets WHERE name = ?", [name]
        ).fetchone()
        if row is None:
            raise Refused(HTTPStatus.NOT_FOUND, "The specified bucket does not exist.")
        resource: Resource = json.loads(row[0])
        return resource

    def set_bucket(self, resource: Resource) -> Resource:
        self._database.execute(
            "REPLACE INTO buckets VALUES (?, ?)",
            [resource["name"], json.dumps(resource)],
        )
        (self.folder / resource["name"]).mkdir(exist_ok=True)
        return resource

    def delete_bucket(self, name: str) -> None:
        self.bucket(name)
        if self.objects(name, versions=True):
            raise Refused(HTTPStatus.CONFLICT, "The bucket is not empty.")
        self._database.execute("DELETE FROM buckets WHERE name = ?", [name])

    def objects(
        self, bucket: str, prefix: str = "", *, versions: bool = False
    ) -> list[Resource]:
        self.bucket(bucket)
        rows = self._database.execute(
            "SELECT resource FROM objects WHERE bucket = ? "
            "AND SUBSTR(name, 1, LENGTH(?)) = ? AND (kept IS NULL OR ?) "
            "ORDER BY name, generation",
            [bucket, prefix, prefix, versions],
        )
        return [json.loads(resource) for (resource,) in rows]

    def live(self, bucket: str, name: str) -> Resource | None:
        """Return the resource of an object as it is now."""
        row = self._database.execute(
            "SELECT resource FROM objects "
            "WHERE bucket = ? AND name = ? AND kept IS NULL",
            [bucket, name],
        ).fetchone()
        return json.loads(row[0]) if row else None

    def read(
        self, bucket: str, name: str, query: dict[str, str]
    ) -> tuple[Resource, bytes]:
        """Return the resource and content of an object, if the conditions hold."""
        self.bucket(bucket)
        live = self.live(bucket, name)
        generation = query.get("generation")
        if live and generation in (None, live["generation"]):
            check(live, query, is_read=True)
            return live, self._file(bucket, name).read_bytes()
        row = self._database.execute(
            "SELECT resource, kept FROM objects "
            "WHERE bucket = ? AND name = ? AND generation = ?",
            [bucket, name, generation],
        ).fetchone()
        if row is None:
            raise missing(f"{bucket}/{name}")
        return json.loads(row[0]), row[1]

    def write(
        self, bucket: str, content: bytes, given: Resource, query: dict[str, str]
    ) -> Resource:
        """Write an object, if the conditions hold."""
        self.bucket(bucket)
        name = given["name"]
        live = self.live(bucket, name)
        check(live, query)
        last = int(live["generation"]) if live else 0
        generation = max(time.time_ns() // 1_000, last + 1)
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        checksum = google_crc32c.value(content).to_bytes(4)
        resource = {
            "contentType": "application/octet-stream",
            **given,
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{generation}",
            "bucket": bucket,
            "generation": str(generation),
            "metageneration": "1",
            "size": str(len(content)),
            "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
            "crc32c": base64.b64encode(checksum).decode(),
            "etag": str(generation),
            "timeCreated": now,
            "updated": now,
        }
        self._retire(bucket, live)
        whole_files.write(self._file(bucket, name), content)
        self._save(resource)
        return resource

    def patch(
        self, bucket: str, name: str, changes: Resource, query: dict[str, str]
    ) -> Resource:
        live = self.live(bucket, name)
        if live is None:
            raise missing(f"{bucket}/{name}")
        check(live, query)
        live["metageneration"] = str(int(live["metageneration"]) + 1)
        self._save({**live, **changes})
        return {**live, **changes}

    def delete(self, bucket: str, name: str, query: dict[str, str]) -> None:
        """Delete an object, or for good the generation that is named."""
        live, named = self.live(bucket, name), query.get("generation")
        if named and (live is None or named != live["generation"]):
            gone = self._database.execute(
                "DELETE FROM objects WHERE bucket = ? AND name = ? AND generation = ?",
                [bucket, name, named],
            )
            if not gone.rowcount:
                raise missing(f"{bucket}/{name}#{named}")
            return
        if live is None:
            raise missing(f"{bucket}/{name}")
        check(live, query)
        self._retire(bucket, live, for_good=named is not None)
        self._file(bucket, name).unlink(missing_ok=True)

    def _retire(
        self, bucket: str, live: Resource | None, *, for_good: bool = False
    ) -> None:
        """Keep a live object as an old generation where its bucket does, or drop it."""
        if live is None:
            return
        key = [bucket, live["name"], live["generation"]]
        is_kept = self.bucket(bucket).get("versioning", {}).get("enabled")
        if is_kept and not for_good:
            live = {**live, "timeDeleted": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
            self._save(live, self._file(bucket, live["name"]).read_bytes())
        else:
            self._database.execute(
                "DELETE FROM objects WHERE bucket = ? AND name = ? AND generation = ?",
                key,
            )

    def _save(self, resource: Resource, kept: bytes | None = None) -> None:
        key = resource["bucket"], resource["name"], int(resource["generation"])
        self._database.execute(
            "REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
            [*key, json.dumps(resource), kept],
        )

    def _file(self, bucket: str, name: str) -> Path:
        file = (self.folder / bucket / name).resolve()
        if not file.is_relative_to(self.folder / bucket):
            raise Refused(HTTPStatus.BAD_REQUEST, f"{name!r} cannot name a file")
        return file


def check(
    live: Resource | None, query: dict[str, str], *, is_read: bool = False
) -> None:
    """Refuse a request whose conditions do not hold for an object as it is now."""
    current = live["generation"] if live else "0"
    if query.get("ifGenerationMatch", current) != current:
        raise Refused(
            HTTPStatus.PRECONDITION_FAILED,
            "At least one of the pre-conditions you specified did not hold: "
            f"the generation is {current}.",
        )
    if query.get("ifGenerationNotMatch") == current:
        status = HTTPStatus.NOT_MODIFIED if is_read else HTTPStatus.PRECONDITION_FAILED
        raise Refused(status, f"The generation is {current}.")


@dataclass
class Answer:
    """An answer: JSON or bytes, and the object that the bytes are of."""

    content: Resource | bytes = b""
    status: HTTPStatus = HTTPStatus.OK
    of: Resource | None = None
    headers: dict[str, str] = field(default_factory=dict)


class Handler(BaseHTTPRequestHandler):
    """Reads a request whole, runs it alone, answers it."""

    protocol_version = "HTTP/1.1"
    # Without this every small answer waits 40 ms for the client's delayed ACK.
    disable_nagle_algorithm = True
    store: Store

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: one line a request would bury what matters."""

    def _handle(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        try:
            with self.store.lock:
                answer = self._route(method, url.path, query, body)
        except Refused as error:
            detail = {"message": str(error), "domain": "global", "reason": "invalid"}
            about = {"code": int(error.status), "message": str(error)}
            answer = Answer({"error": {**about, "errors": [detail]}}, error.status)
        self._send(answer)

    do_GET = partialmethod(_handle, "GET")
    do_POST = partialmethod(_handle, "POST")
    do_PUT = partialmethod(_handle, "PUT")
    do_PATCH = partialmethod(_handle, "PATCH")
    do_DELETE = partialmethod(_handle, "DELETE")

    def _route(
        self, method: str, path: str, query: dict[str, str], body: bytes
    ) -> Answer:
        if found := OBJECT.fullmatch(path):
            name = urllib.parse.unquote(found[2])
            return self._object(method, found[1], name, query=query, body=body)
        if found := OBJECTS.fullmatch(path):
            if method != "GET":
                return self._upload(found[1], query, body)
            versions = query.get("versions", "").lower() == "true"
            prefix = query.get("prefix", "")
            items = self.store.objects(found[1], prefix, versions=versions)
            return Answer({"kind": "storage#objects", "items": items})
        if found := BUCKET.fullmatch(path):
            return self._bucket(method, found[1], body)
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no {path} here.")

    def _object(
        self, method: str, bucket: str, name: str, *, query: dict[str, str], body: bytes
    ) -> Answer:
        if method == "DELETE":
            self.store.delete(bucket, name, query)
            return Answer(status=HTTPStatus.NO_CONTENT)
        if method == "PATCH":
            return Answer(self.store.patch(bucket, name, json.loads(body), query))
        resource, content = self.store.read(bucket, name, query)
        is_media = query.get("alt") == "media"
        return Answer(content if is_media else resource, of=resource)

    def _bucket(self, method: str, name: str | None, body: bytes) -> Answer:
        store = self.store
        if name is None and method == "GET":
            return Answer({"kind": "storage#buckets", "items": store.buckets()})
        if name is None:
            resource = json.loads(body)
            if resource["name"] in [one["name"] for one in store.buckets()]:
                raise Refused(HTTPStatus.CONFLICT, "You already own this bucket.")
            kind = {"kind": "storage#bucket", "id": resource["name"]}
            return Answer(store.set_bucket({**resource, **kind}))
        if method == "DELETE":
            store.delete_bucket(name)
            return Answer(status=HTTPStatus.NO_CONTENT)
        changes = json.loads(body) if method == "PATCH" else {}
        return Answer(store.set_bucket({**store.bucket(name), **changes}))

    def _upload(self, bucket: str, query: dict[str, str], body: bytes) -> Answer:
        """Take an upload: at once, in two parts, or in chunks."""
        store = self.store
        if upload := query.get("upload_id"):
            given, conditions, content = store.uploads[upload]
            content += body
            total = self.headers["Content-Range"].rpartition("/")[2]
            if total == "*" or len(content) < int(total):
                done = {"Range": f"bytes=0-{len(content) - 1}"} if content else {}
                return Answer(status=HTTPStatus.PERMANENT_REDIRECT, headers=done)
            del store.uploads[upload]
            return Answer(store.write(bucket, bytes(content), given, conditions))
        if query["uploadType"] == "resumable":
            given = {"name": query.get("name"), **json.loads(body or b"{}")}
            check(store.live(bucket, given["name"]), query)
            upload = uuid.uuid4().hex
            store.uploads[upload] = given, query, bytearray()
            where = f"http://{self.headers['Host']}/upload/storage/v1/b/{bucket}/o"
            where += f"?uploadType=resumable&upload_id={upload}"
            return Answer(headers={"Location": where})
        if query["uploadType"] == "multipart":
            _, _, boundary = self.headers["Content-Type"].partition("boundary=")
            mark = b"--" + boundary.strip("'\"").encode()
            _, about, part = body.split(mark)[:3]
            given = json.loads(about.partition(b"\r\n\r\n")[2])
            head, _, data = part.partition(b"\r\n\r\n")
            kind = re.search(rb"(?i)content-type: *(\S+)", head)
            given.setdefault("contentType", kind[1].decode() if kind else None)
            return Answer(store.write(bucket, data.removesuffix(b"\r\n"), given, query))
        return Answer(store.write(bucket, body, {"name": query["name"]}, query))

    def _send(self, answer: Answer) -> None:
        content, of = answer.content, answer.of
        is_json = isinstance(content, dict)
        data = json.dumps(content).encode() if isinstance(content, dict) else content
        data = b"" if answer.status == HTTPStatus.NOT_MODIFIED else data
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json" if is_json else "*/*")
        self.send_header("Content-Length", str(len(data)))
        if of:
            self.send_header("X-Goog-Generation", of["generation"])
            self.send_header("X-Goog-Metageneration", of["metageneration"])
            checksums = f"crc32c={of['crc32c']},md5={of['md5Hash']}"
            self.send_header("X-Goog-Hash", checksums)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    """One thread a connection, and room for many to wait."""

    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hang up; report anything else."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser("python -m local.emulators.storage")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of data")
    parser.add_argument("--parent", type=int, help="stop when this process has gone")
    options = parser.parse_args(arguments)
    if options.parent is not None:
        stop_with(options.parent)
    Handler.store = Store(options.data_dir.resolve())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with Server((HOST, options.port), Handler) as server:
        server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
