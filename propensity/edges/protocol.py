"""
The server of the asynchronous functions: what it refuses by itself is JSON, too.

uvicorn parses a request before it calls the function. Bytes that are not HTTP it would
answer in plain text, and a connection that ends within a body not at all.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn_worker import UvicornWorker

from propensity.errors import RequestError

if TYPE_CHECKING:
    from asyncio import Protocol, Transport
else:
    Protocol = AutoHTTPProtocol


class JsonErrors(Protocol):
    """uvicorn's own protocol, by whichever parser is installed, with JSON errors."""

    if TYPE_CHECKING:
        transport: Transport
        cycle: Any

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refuses, unless an answer is on its way already."""
        if not self._is_answered():
            self.transport.write(_refusal(within_body=self._is_within_body()))
        self.transport.close()

    def eof_received(self) -> None:
        """Answer a request whose sender has ended within its body."""
        if self._is_within_body() and not self._is_answered():
            self.transport.write(_refusal(within_body=True))

    def _is_within_body(self) -> bool:
        return self.cycle is not None and self.cycle.more_body

    def _is_answered(self) -> bool:
        return self._is_within_body() and self.cycle.response_started


def _refusal(*, within_body: bool) -> bytes:
    error = (
        RequestError("the body is cut short, or its chunks are malformed", field="body")
        if within_body
        else RequestError("the request is no HTTP")
    )
    body = json.dumps(error.body()).encode()
    head = (
        "HTTP/1.1 400 Bad Request",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
    )
    return "\r\n".join([*head, "", ""]).encode() + body


def install() -> None:
    """Have the worker that functions-framework starts serve by ``JsonErrors``."""
    kept: dict[str, Any] = UvicornWorker.CONFIG_KWARGS
    UvicornWorker.CONFIG_KWARGS = {**kept, "http": JsonErrors}
