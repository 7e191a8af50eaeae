"""A server between a client and an emulator, which fails as real networks do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import requests
from werkzeug import Request, Response
from werkzeug.serving import WSGIRequestHandler, make_server

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


class Quiet(WSGIRequestHandler):
    """Writes no log."""

    def log(self, *_: Any) -> None:
        pass


class Proxy:
    """
    Forward to ``upstream`` whatever ``rule`` has nothing to say about.

    ``rule`` returns None to forward a request; a status to answer it with, or a status
    and a body; ``LOST`` to forward it and answer 503 all the same. It may also wait.
    """

    LOST = "lost"

    def __init__(self, upstream: str, rule: Callable[[Asked], Any]) -> None:
        assert urlsplit(upstream).hostname == HOST
        how = {"threaded": True, "request_handler": Quiet}
        self._server = make_server(HOST, 0, self._answer, **how)
        self.upstream = upstream
        self.rule = rule
        self.asked: list[Asked] = []
        self.url = f"http://{HOST}:{self._server.server_port}"
        self._counting = threading.Lock()

    def __enter__(self) -> Self:
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    @Request.application
    def _answer(self, request: Request) -> Response:
        # The path as it came: names of objects have escapes.
        path = request.environ["REQUEST_URI"]
        headers = request.headers
        with self._counting:
            number = len(self.asked)
            body = request.get_data()
            asked = Asked(number, request.method, path, body, dict(headers))
            self.asked.append(asked)
        outcome = self.rule(asked)
        if outcome is not None and outcome != self.LOST:
            is_whole = isinstance(outcome, tuple)
            status, text = outcome if is_whole else (outcome, INJECTED)
            return Response(text, status)
        answer = requests.request(
            request.method,
            self.upstream + path,
            data=body,
            headers={**without(headers, "host"), "Accept-Encoding": "identity"},
            allow_redirects=False,
            timeout=60,
        )
        if outcome == self.LOST:
            return Response(INJECTED, 503)
        # Resumable uploads go on at the address that they are told.
        told = {
            name: value.replace(self.upstream, self.url)
            for name, value in without(answer.headers).items()
        }
        return Response(answer.content, answer.status_code, told)


def without(headers: Mapping[str, str], *names: str) -> dict[str, str]:
    """Headers that go on to the next server."""
    left_out = HOP_BY_HOP.union(names)
    return {name: of for name, of in headers.items() if name.lower() not in left_out}
