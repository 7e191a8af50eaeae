"""Servers between a client and an emulator, which fail as real networks do."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

import grpc
import requests

HOST = "127.0.0.1"
HOP_BY_HOP = {"connection", "transfer-encoding", "content-encoding", "content-length"}
UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


@dataclass(frozen=True)
class Asked:
    """One request as it came; ``number`` counts from 0."""

    number: int
    method: str
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def forward(asked: Asked) -> None:
    """Let every request through."""


@dataclass
class Proxy:
    """
    Forward to ``upstream`` whatever ``rule`` has nothing to say about.

    ``rule`` returns None to forward a request; a status to answer it with, or a status
    and a body; ``LOST`` to forward it and answer 503 all the same. It may also wait.
    """

    upstream: str
    rule: Callable[[Asked], Any] = forward
    asked: list[Asked] = field(default_factory=list)

    LOST = "lost"

    def __enter__(self) -> Proxy:
        proxy, counting = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forwarded(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                with counting:
                    request = Asked(
                        len(proxy.asked), self.command, self.path, body, self.headers
                    )
                    proxy.asked.append(request)
                outcome = proxy.rule(request)
                if isinstance(outcome, int):
                    outcome = outcome, b'{"error": {"message": "injected"}}'
                if isinstance(outcome, tuple):
                    status, text = outcome
                    self.reply(status, {}, text)
                    return
                headers = {
                    name: value
                    for name, value in self.headers.items()
                    if name.lower() not in {*HOP_BY_HOP, "host"}
                }
                headers["Accept-Encoding"] = "identity"
                answer = requests.request(
                    self.command,
                    proxy.upstream + self.path,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=60,
                )
                if outcome == Proxy.LOST:
                    self.reply(503, {}, b'{"error": {"message": "injected"}}')
                else:
                    self.reply(answer.status_code, answer.headers, answer.content)

            def reply(self, status: int, headers: Any, body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() == "location":
                        # Resumable uploads go on at the address that they are told.
                        value = proxy.url + value.removeprefix(proxy.upstream)  # noqa: PLW2901
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = forwarded

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """Say nothing of clients that have gone."""

        assert urlsplit(self.upstream).hostname == HOST
        self._server = Server((HOST, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_address[1]}"


class GrpcProxy(grpc.GenericRpcHandler):
    """Forward every gRPC method to the emulator at an address."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream

    def __enter__(self) -> Self:
        self._channel = grpc.insecure_channel(self._upstream, options=UNLIMITED)
        self._server = grpc.server(
            futures.ThreadPoolExecutor(64), handlers=[self], options=UNLIMITED
        )
        self.address = f"{HOST}:{self._server.add_insecure_port(f'{HOST}:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()
        self._channel.close()

    def service(self, details: Any) -> Any:
        """Return what serves a method."""
        return grpc.stream_stream_rpc_method_handler(
            functools.partial(self.serve, details.method)
        )

    def serve(
        self, method: str, sent: Iterator[bytes], context: Any
    ) -> Iterator[bytes]:
        """Answer as the emulator does."""
        kept = [
            (key, value)
            for key, value in context.invocation_metadata()
            if key == "x-goog-request-params"
        ]
        call = self._channel.stream_stream(method)(sent, metadata=kept)
        context.add_callback(call.cancel)
        try:
            yield from call
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
