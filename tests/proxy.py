"""A server between a client and an emulator, which fails as real networks do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

import requests

from local.processes import HOST

HOP_BY_HOP = {"connection", "transfer-encoding", "content-encoding", "content-length"}
INJECTED = b'{"error": {"message": "injected"}}'


@dataclass(frozen=True)
class Asked:
    """One request as it came; ``number`` counts from 0."""

    number: int
    method: str
    path: str
    body: bytes
    headers: Mapping[str, str]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        outcome = self.server.outcome(self.command, self.path, body, self.headers)
        if outcome is not None and outcome != Proxy.LOST:
            status, text = (
                outcome if isinstance(outcome, tuple) else (outcome, INJECTED)
            )
            self.reply(status, {}, text)
            return
        dropped = {*HOP_BY_HOP, "host"}
        kept = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in dropped
        }
        answer = requests.request(
            self.command,
            self.server.upstream + self.path,
            data=body,
            headers={**kept, "Accept-Encoding": "identity"},
            allow_redirects=False,
            timeout=60,
        )
        if outcome == Proxy.LOST:
            self.reply(503, {}, INJECTED)
        else:
            self.reply(answer.status_code, answer.headers, answer.content)

    def reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in HOP_BY_HOP:
                # Resumable uploads go on at the address that they are told.
                self.send_header(
                    name, value.replace(self.server.upstream, self.server.url)
                )
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_one


class Proxy(ThreadingHTTPServer):
    """
    Forward to ``upstream`` whatever ``rule`` has nothing to say about.

    ``rule`` returns None to forward a request; a status to answer it with, or a status
    and a body; ``LOST`` to forward it and answer 503 all the same. It may also wait.
    """

    LOST = "lost"
    daemon_threads = True

    def __init__(self, upstream: str, rule: Callable[[Asked], Any]) -> None:
        assert urlsplit(upstream).hostname == HOST
        super().__init__((HOST, 0), Handler)
        self.upstream, self.rule = upstream, rule
        self.asked: list[Asked] = []
        self.url = f"http://{HOST}:{self.server_port}"
        self._counting = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def outcome(self, *request: Any) -> Any:
        """Note a request, and return what the rule says of it."""
        with self._counting:
            asked = Asked(len(self.asked), *request)
            self.asked.append(asked)
        return self.rule(asked)

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that have gone."""
