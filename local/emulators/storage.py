"""
Cloud Storage on this machine, for the unmodified client; and secrets.

    python -m local.emulators.storage --port 8092 --data-dir DATA_DIR \\
        --secrets-dir SECRETS_DIR

What the registry builds on holds: ``ifGenerationMatch`` of a write is checked for one
request at a time, so that of two writers one gets a 412. A generation is newer than all
before. A bucket with versioning keeps objects that are overwritten or deleted. All is
in one database, and a live object is also a file ``DATA_DIR/BUCKET/NAME``, which can be
opened. There is no access control, and no condition of a read, change of metadata or
page of a list.

Of Secret Manager there is the newest version of a secret: a file ``SECRETS_DIR/NAME``,
read at each access.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sqlite3
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import google_crc32c
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.loopback import offset_of, serve
from local.processes import options_of_child
from propensity import whole_files
from propensity.settings import BUCKET

Resource = dict[str, Any]
Query = Mapping[str, str]
SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, resource TEXT);
CREATE TABLE IF NOT EXISTS generations (
  bucket TEXT, name TEXT, generation INTEGER, is_live INTEGER, resource TEXT,
  content BLOB, PRIMARY KEY (bucket, name, generation)
);
"""


class Store:
    """
    Buckets, and the generations of objects: the live one of each, and those that were
    overwritten or deleted in a bucket with versioning.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        file = folder / ".objects.sqlite"
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(SCHEMA)

    def close(self) -> None:
        """Close the database; the store is of no use then."""
        self._database.close()

    def _resources(self, rest: str, *values: Any) -> list[Resource]:
        """Return resources by what follows SELECT resource FROM."""
        rows = self._database.execute(f"SELECT resource FROM {rest}", values)
        return [json.loads(resource) for (resource,) in rows]

    def bucket(self, name: str) -> Resource:
        for resource in self._resources("buckets WHERE name = ?", name):
            return resource
        raise HTTPException(404, "The specified bucket does not exist.")

    def create_bucket(self, metadata: Resource) -> Resource:
        name = metadata["name"]
        if not BUCKET.fullmatch(name):
            raise HTTPException(400, f"{name!r} is not a valid bucket name.")
        if self._resources("buckets WHERE name = ?", name):
            raise HTTPException(409, "You already own this bucket.")
        return self.save_bucket(metadata | {"kind": "storage#bucket", "id": name})

    def save_bucket(self, resource: Resource) -> Resource:
        row = [resource["name"], json.dumps(resource)]
        self._database.execute("REPLACE INTO buckets VALUES (?, ?)", row)
        (self.folder / resource["name"]).mkdir(exist_ok=True)
        return resource

    def objects(self, bucket: str, query: Query) -> list[Resource]:
        self.bucket(bucket)
        prefix = query.get("prefix", "")
        versions = query.get("versions", "")
        return self._resources(
            "generations WHERE bucket = ? AND SUBSTR(name, 1, LENGTH(?)) = ? "
            "AND (is_live OR ?) ORDER BY name, generation",
            bucket,
            prefix,
            prefix,
            versions.lower() == "true",
        )

    def live(self, bucket: str, name: str) -> Resource | None:
        """Return the resource of an object as it is now."""
        self.bucket(bucket)
        live = "generations WHERE bucket = ? AND name = ? AND is_live"
        return next(iter(self._resources(live, bucket, name)), None)

    def read(self, bucket: str, name: str, query: Query) -> tuple[Resource, bytes]:
        """Return the resource and content of an object, or of its generation."""
        generation = query.get("generation")
        if generation is None:
            live = self.live(bucket, name)
            generation = None if live is None else live["generation"]
        for resource, content in self._database.execute(
            "SELECT resource, content FROM generations "
            "WHERE bucket = ? AND name = ? AND generation = ?",
            [bucket, name, generation],
        ):
            return json.loads(resource), content
        raise HTTPException(404, f"No such object: {bucket}/{name}")

    def write(
        self, bucket: str, content: bytes, metadata: Resource, query: Query
    ) -> Resource:
        """Write an object, if it still has the generation that is expected."""
        name = metadata["name"]
        live = self.live(bucket, name)
        file = self._file(bucket, name)
        last = int(live["generation"]) if live else 0
        if int(query.get("ifGenerationMatch", last)) != last:
            message = f"The precondition did not hold: the generation is {last}."
            raise HTTPException(412, message)
        resource = _resource({**metadata, "bucket": bucket}, content, after=last)
        row = [bucket, name, resource["generation"], True, json.dumps(resource)]
        with self._database:  # all of the block, or nothing of it
            self._database.execute("BEGIN")
            self._retire(live)
            self._database.execute(
                "INSERT INTO generations VALUES (?, ?, ?, ?, ?, ?)",
                list(row) + [content],
            )
        # It is there to be opened; what is read comes from the database.
        whole_files.write_whole(file, content)
        return resource

    def delete(self, bucket: str, name: str, query: Query) -> None:
        """Delete an object, or for good the generation that is named."""
        live = self.live(bucket, name)
        named = query.get("generation")
        if live and named in (None, live["generation"]):
            self._retire(live, for_good=named is not None)
            self._file(bucket, name).unlink(missing_ok=True)
        elif not named or not self._change(
            "DELETE FROM generations", bucket, name, named
        ):
            raise HTTPException(404, f"No such object: {bucket}/{name}")

    def _retire(self, live: Resource | None, *, for_good: bool = False) -> None:
        """Keep a live object as an old generation where its bucket does, or drop it."""
        if live is None:
            return
        key = live["bucket"], live["name"], live["generation"]
        is_kept = self.bucket(live["bucket"]).get("versioning", {}).get("enabled")
        if is_kept and not for_good:
            old = {**live, "timeDeleted": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
            change = "UPDATE generations SET is_live = FALSE, resource = ?"
            self._change(change, json.dumps(old), *key)
        else:
            self._change("DELETE FROM generations", *key)

    def _change(self, change: str, *values: str) -> int:
        """Change a generation; return whether there is one."""
        where = "WHERE bucket = ? AND name = ? AND generation = ?"
        return self._database.execute(f"{change} {where}", values).rowcount

    def _file(self, bucket: str, name: str) -> Path:
        # Two names have two files: a path may have no part that leads elsewhere.
        if {"", ".", ".."} & set(name.split("/")) or "\0" in name:
            raise HTTPException(400, f"{name!r} cannot name a file")
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
        "crc32c": base64.b64encode(google_crc32c.value(content).to_bytes(4)).decode(),
        "etag": str(generation),
        "timeCreated": now,
        "updated": now,
    }


class Service:
    """The routes; one event loop answers one request after another."""

    def __init__(self, store: Store, secrets: Path) -> None:
        self.store = store
        self.secrets = secrets
        # Parts received of resumable uploads, by their ids.
        self._uploads: dict[str, tuple[Resource, Query, bytearray]] = {}
        # Answers to those that are whole: their last part may come again.
        self._whole: dict[str, Response] = {}

    def app(self) -> Starlette:
        bucket = "/storage/v1/b/{bucket}"
        return Starlette(
            routes=[
                Route("/storage/v1/b", self.create_bucket, methods=["POST"]),
                Route(bucket, self.bucket, methods=["GET", "PATCH"]),
                Route(f"{bucket}/o", self.objects),
                Route(f"/upload{bucket}/o", self.upload, methods=["POST", "PUT"]),
                Route(f"{bucket}/o/{{name:path}}", self.read),
                Route(f"/download{bucket}/o/{{name:path}}", self.read),
                Route(f"{bucket}/o/{{name:path}}", self.delete, methods=["DELETE"]),
                Route("/v1/{version:path}/versions/latest:access", self.secret),
            ],
            exception_handlers={HTTPException: refuse},
        )

    async def create_bucket(self, request: Request) -> Response:
        return JSONResponse(self.store.create_bucket(await request.json()))

    async def bucket(self, request: Request) -> Response:
        name = request.path_params["bucket"]
        changes = await request.json() if request.method == "PATCH" else {}
        whole = {**self.store.bucket(name), **changes, "name": name}
        return JSONResponse(self.store.save_bucket(whole))

    async def objects(self, request: Request) -> Response:
        items = self.store.objects(request.path_params["bucket"], request.query_params)
        return JSONResponse({"kind": "storage#objects", "items": items})

    async def delete(self, request: Request) -> Response:
        self.store.delete(**request.path_params, query=request.query_params)
        return Response(status_code=204)

    async def read(self, request: Request) -> Response:
        """Return an object's resource, its content, or a part of the content."""
        query = request.query_params
        resource, content = self.store.read(**request.path_params, query=query)
        if query.get("alt") != "media":
            return JSONResponse(resource)
        about = {
            "X-Goog-Generation": resource["generation"],
            "X-Goog-Metageneration": resource["metageneration"],
            "X-Goog-Hash": f"crc32c={resource['crc32c']}",
        }
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if not wanted:
            return Response(content, headers=about)
        first = int(wanted[1])
        last = int(wanted[2]) if wanted[2] else len(content)
        if first >= len(content):
            return Response(status_code=416)
        part = content[first : last + 1]
        about["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        return Response(part, 206, about)

    async def upload(self, request: Request) -> Response:
        """Take an upload: at once, in two parts, or in chunks."""
        bucket = request.path_params["bucket"]
        query = request.query_params
        body = await request.body()
        if upload := query.get("upload_id"):
            if upload in self._whole:
                return self._whole[upload]
            if upload not in self._uploads:
                raise HTTPException(404, f"No such upload: {upload}")
            metadata, conditions, content = self._uploads[upload]
            start = offset_of(request.headers["Content-Range"])
            content[start : start + len(body)] = body
            total = request.headers["Content-Range"].rpartition("/")[2]
            if total == "*" or len(content) < int(total):
                done = {"Range": f"bytes=0-{len(content) - 1}"} if content else {}
                return Response(status_code=308, headers=done)
            del self._uploads[upload]
            written = self._written(bucket, bytes(content), metadata, conditions)
            self._whole[upload] = written
            return written
        kind = query["uploadType"]
        if kind == "resumable":
            metadata = {"name": query.get("name")}
            if body:
                metadata |= json.loads(body)
            upload = uuid.uuid4().hex
            self._uploads[upload] = metadata, query, bytearray()
            where = request.url.replace_query_params(uploadType=kind, upload_id=upload)
            return Response(headers={"Location": f"{where}"})
        if kind == "multipart":
            _, _, boundary = request.headers["Content-Type"].partition("boundary=")
            mark = b"--" + boundary.strip("'\"").encode()
            _, about, part = body.split(mark)[:3]
            metadata = json.loads(about.partition(b"\r\n\r\n")[2])
            head, _, data = part.partition(b"\r\n\r\n")
            match = re.search(rb"(?i)content-type: *(\S+)", head)
            metadata.setdefault("contentType", match[1].decode() if match else None)
            return self._written(bucket, data.removesuffix(b"\r\n"), metadata, query)
        return self._written(bucket, body, {"name": query["name"]}, query)

    def _written(self, *upload: Any) -> Response:
        return JSONResponse(self.store.write(*upload))

    async def secret(self, request: Request) -> Response:
        version = request.path_params["version"]
        file = self.secrets / Path(version).name
        if not file.is_file():
            raise HTTPException(404, f"Secret [{version}] not found.")
        payload = {"data": base64.b64encode(file.read_bytes()).decode()}
        return JSONResponse({"name": f"{version}/versions/1", "payload": payload})


async def refuse(request: Request, error: Any) -> Response:
    """Answer with an error, as Google's services do."""
    status = HTTPStatus(error.status_code)
    detail = {"message": error.detail, "domain": "global", "reason": "invalid"}
    about = {"code": status, "message": error.detail, "status": status.name}
    return JSONResponse({"error": {**about, "errors": [detail]}}, status)


def main() -> None:
    """Read the command line and answer until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser("python -m local.emulators.storage")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of data")
    parser.add_argument("--secrets-dir", type=Path, help="folder of secrets")
    options = options_of_child(parser)
    service = Service(Store(options.data_dir.resolve()), options.secrets_dir)
    serve(service.app(), options.port)


if __name__ == "__main__":
    main()
