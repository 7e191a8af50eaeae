"""
A receiver of audiences on this machine.

It takes users at any path (POST adds, DELETE removes) as JSON ``{"users": [{"id":
...}]}``. It refuses as receivers do: 413 for too many users, 422 for a request without
users.

A request of a known idempotency key is answered as the first was, and counts once.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from local.loopback import REFUSAL, STATUS, is_foreign
from local.processes import HOST

ACTIONS = {"POST": "add", "DELETE": "remove"}

# Status, headers and JSON.
Answer = tuple[int, dict[str, str], Any]


class Receiver:
    """
    The receiver, on a port of its own, as a context.

    Args:
        batch: Users in a request, at most.

    Attributes:
        bodies: What was received, by idempotency key.
        users: How often a user was taken, by action, under keys of their own.
        requests: How many were received.
    """

    def __init__(self, *, batch: int = 100, port: int = 0) -> None:
        self.bodies: dict[str, bytes] = {}
        self.users: Counter[tuple[str, str]] = Counter()
        self.requests = 0
        self._batch = batch
        self._answers: dict[str, Answer] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer((HOST, port), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://{HOST}:{self._server.server_port}"

    def __enter__(self) -> Self:
        # It asks so often whether it is to end.
        serve = partial(self._server.serve_forever, poll_interval=0.05)
        threading.Thread(target=serve, name="receiver", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, *request: Any) -> Answer | None:
        """Return status, headers and body of an answer; None for one that is lost."""
        with self._lock:
            self.requests += 1
            return self.take(*request)

    def take(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        if method not in ACTIONS:
            return 405, {}, {"error": f"use {' or '.join(ACTIONS)}"}
        key = headers.get("Idempotency-Key", f"without a key {self.requests}")
        if key in self._answers:
            return self._answers[key]
        try:
            users = [str(user["id"]) for user in json.loads(body)["users"]]
        except (ValueError, KeyError, TypeError):
            return 422, {}, {"error": "users is a list of objects with an id"}
        if len(users) > self._batch:
            return 413, {}, {"error": f"at most {self._batch} users"}
        self.bodies[key] = body
        self.users.update((ACTIONS[method], user) for user in users)
        self._answers[key] = 200, {}, {"errors": []}
        return self._answers[key]


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Every small answer would wait 40 ms for the client's delayed ACK.
        disable_nagle_algorithm = True

        def _respond(self) -> None:
            if is_foreign(self.headers["Host"], self.headers["Origin"]):
                self.close_connection = True  # its body is not read
                self.send_error(STATUS, REFUSAL)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = receiver.answer(self.command, self.path, self.headers, body)
            if answer is None:
                self.close_connection = True
                self.connection.close()
                return
            status, headers, content = answer
            # A client takes what follows a 204 for the beginning of the next answer.
            is_empty = status == HTTPStatus.NO_CONTENT
            data = b"" if is_empty else json.dumps(content).encode()
            about = {"Content-Type": "application/json", **headers}
            self.send_response(status)
            for name, value in {**about, "Content-Length": f"{len(data)}"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _respond  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: a line a request would name users."""

    return Handler
