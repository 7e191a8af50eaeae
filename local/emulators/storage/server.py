"""
Run the Cloud Storage emulator ``gcp-storage-emulator`` on this machine only.

    python -m local.emulators.storage --port 8092 --data-dir .local/states/demo/storage

As published the emulator ignores preconditions, so that of sixteen racing creators all
win. Here they hold, one request at a time:

- ``ifGenerationMatch`` and ``ifGenerationNotMatch`` on writes, changes of metadata and
  deletes: 412 when they fail. A resumable upload is checked when it starts and when it
  ends. On reads: 412, and 304 for a conditional GET of an unchanged object.
- ``generation`` names an object as it was. Only the newest is kept, 404 for another:
  unless the bucket has versioning, which keeps the others until they are deleted by
  their generation, or the emulator ends. ``versions`` lists them.

An object is a file ``DATA_DIR/BUCKET/NAME`` that can be opened as it is. Files are
written whole before a request is answered. Deleted objects are gone (no soft delete).
The server listens on 127.0.0.1, keeps connections open, and lets no slow client hold up
the others. An error of the emulator's own is answered with 501, which clients do not
retry.
"""

from __future__ import annotations

import io
import json
import logging
import signal
import sys
from functools import partial, partialmethod
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gcp_storage_emulator import server as emulator
from gcp_storage_emulator import storage as emulator_storage

from local.emulators.storage.store import (
    Conditions,
    EmulatorError,
    RefusedError,
    Store,
    write_whole,
)

HOST = "127.0.0.1"
BACKLOG = 256
IDLE_CONNECTION_S = 120

logger = logging.getLogger("storage_emulator")


class Handler(emulator.RequestHandler):  # type: ignore[misc]
    """
    Read a request whole, run it alone, answer it.

    Only the middle part holds the store's lock: a client that sends or reads slowly
    holds up nobody else.
    """

    protocol_version = "HTTP/1.1"
    timeout = IDLE_CONNECTION_S
    storage: Store
    rfile: Any
    wfile: Any
    # Without this every small answer waits 40 ms for the client's delayed ACK.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: one line a request would bury what matters."""

    def end_headers(self) -> None:
        """Name the generation that was read, which the client keeps with the bytes."""
        if (resource := self.storage.read) is not None:
            self.send_header("X-Goog-Generation", resource["generation"])
            self.send_header("X-Goog-Metageneration", resource["metageneration"])
            self.send_header("ETag", resource["etag"])
        super().end_headers()

    def _answer(self, method: str) -> None:
        body = emulator._read_raw_data(self) or b""
        if "Transfer-Encoding" in self.headers:
            # The empty line behind the last chunk.
            self.rfile.readline()
            del self.headers["Transfer-Encoding"]
            self.headers["Content-Length"] = str(len(body))
        connection, self.rfile, self.wfile = (
            (self.rfile, self.wfile),
            io.BytesIO(body),
            io.BytesIO(),
        )
        try:
            with self.storage.request(
                Conditions.of(method, parse_qs(urlsplit(self.path).query))
            ):
                emulator.Router(self).handle(method)
            answer = self.wfile.getvalue()
        except RefusedError as error:
            answer = self._refusal(error)
        except Exception as error:
            logger.exception("%s %s failed", method, self.path)
            message = f"the local emulator failed: {error!r}"
            answer = self._refusal(EmulatorError(message))
        finally:
            self.rfile, self.wfile = connection
        self.wfile.write(answer)

    do_GET = partialmethod(_answer, "GET")
    do_POST = partialmethod(_answer, "POST")
    do_PUT = partialmethod(_answer, "PUT")
    do_PATCH = partialmethod(_answer, "PATCH")
    do_DELETE = partialmethod(_answer, "DELETE")

    def _refusal(self, error: RefusedError) -> bytes:
        self._headers_buffer: list[bytes] = []
        self.wfile = io.BytesIO()
        content = b""
        if error.status != HTTPStatus.NOT_MODIFIED:
            content = json.dumps(error.body()).encode()
        self.send_response(error.status, error.status.phrase)
        if content:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        headers: bytes = self.wfile.getvalue()
        return headers + content


class Server(ThreadingHTTPServer):
    """One thread a connection, and room for many to wait."""

    request_queue_size = BACKLOG
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hang up; report anything else."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def serve(port: int, *, data_dir: Path) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Args:
        port: Free port of 127.0.0.1.
        data_dir: Folder of buckets, made if missing. One process at a time.

    Raises:
        OSError: The port is taken.
    """
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    logging.getLogger("api").setLevel(logging.CRITICAL)
    emulator_storage._FileStore.write_bytes = write_whole
    data_dir.mkdir(parents=True, exist_ok=True)
    server = Server((HOST, port), partial(Handler, Store(data_dir)))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
