"""A web server that Pub/Sub pushes to."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.local.projects import wait_until

OK = 204


@dataclass(frozen=True)
class Push:
    """One request that an endpoint was sent."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    time: float

    @property
    def text(self) -> str:
        return base64.b64decode(self.body["message"].get("data", "")).decode()


class Endpoint:
    """
    A web server that notes what it is sent, and answers as it is told.

    Args:
        answer: Given a push, returns a status, or None to hang up without one.
    """

    def __init__(self, answer: Callable[[Push], int | None] = lambda _: OK) -> None:
        self.pushes: list[Push] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                push = Push(self.path, dict(self.headers), body, time.monotonic())
                endpoint.pushes.append(push)
                status = answer(push)
                if status is None:
                    # A reset, as from a process that is killed.
                    linger = socket.SO_LINGER, struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, *linger)
                    self.close_connection = True
                    return
                self.send_response(status)
                if status != OK:
                    self.send_header("Content-Length", "5")
                self.end_headers()
                if status != OK:
                    self.wfile.write(b"error")

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Endpoint:
        threading.Thread(target=self._server.serve_forever, args=(0.02,)).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def texts(self) -> list[str]:
        return [push.text for push in self.pushes]

    def wait_for(self, count: int) -> list[Push]:
        """Wait until so many pushes have come, and return all."""
        wait_until(lambda: len(self.pushes) >= count)
        return list(self.pushes)
