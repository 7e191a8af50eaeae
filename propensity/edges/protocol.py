"""
The protocol of the asynchronous server: its own refusals are JSON, too.

uvicorn parses a request before it calls the function. By itself it answers bytes that
are not HTTP in plain text, and a connection that ends within a body not at all. Of a
request that offers to go on in another protocol it loses the body.

It also keeps idle connections for longer than gunicorn would have it.
"""

from __future__ import annotations

import functools
import json
import sys
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn_worker import UvicornWorker

from propensity.edges.direct import shortened
from propensity.errors import RequestError

try:
    import httptools
except ImportError:  # uvicorn's other parser loses nothing
    httptools = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from asyncio import Protocol, Transport
else:
    Protocol = AutoHTTPProtocol

# Headers that say where a body ends.
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})

# gunicorn closes a connection that was idle for 2 s, and a request that is under way
# just then is lost. Google's proxies keep theirs for 600 s and close them first:
# https://cloud.google.com/load-balancing/docs/https#timeouts_and_retries
KEEP_ALIVE_S = 620


class JsonErrors(Protocol):
    """
    uvicorn's protocol, with JSON errors; works with either of its parsers.

    Requests take the shorter way to their function; see ``direct``.
    """

    if TYPE_CHECKING:
        transport: Transport
        cycle: Any
        headers: list[tuple[bytes, bytes]]
        parser: Any

    def __init__(self, config: Any, *arguments: Any, **named: Any) -> None:
        super().__init__(config, *arguments, **named)  # type: ignore[call-arg]
        self.app = _application(config)
        self._received = b""
        self._unread = b""

    def data_received(self, data: bytes) -> None:
        """Take bytes of requests."""
        while data:
            self._received, self._unread = data, b""
            super().data_received(data)
            data = self._unread
        self._received = b""

    def _unsupported_upgrade_warning(self) -> None:
        """
        Decline another protocol, and go on in HTTP/1.1.

        Java's client offers HTTP/2 with every first request. The parser takes the offer
        as accepted, and reads no HTTP behind the head: a new parser does.
        """
        stopped = sys.exc_info()[1]
        if httptools is None or not isinstance(stopped, httptools.HttpParserUpgrade):
            return
        [end] = stopped.args
        self._unread = self._received[end:]
        # Its task has not run yet, so nobody saw the body end.
        self.cycle.more_body = True
        self.cycle.message_event.clear()
        callbacks = _AfterHead(self)
        self.parser = httptools.HttpRequestParser(callbacks)
        # As uvicorn has it: what follows the last request of a connection is no error.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        framing = [
            b"%b: %b" % header for header in self.headers if header[0] in _FRAMING
        ]
        self.parser.feed_data(b"\r\n".join([b"POST / HTTP/1.1", *framing, b"", b""]))
        callbacks.is_after = True

    def send_400_response(self, msg: str) -> None:
        """Answer a request that the parser refuses, unless an answer has started."""
        if not self._is_answered():
            self.transport.write(_refusal(within_body=self._is_within_body()))
        self.transport.close()

    def eof_received(self) -> None:
        """Answer a request whose connection ends within its body."""
        if self._is_within_body() and not self._is_answered():
            self.transport.write(_refusal(within_body=True))

    def _is_within_body(self) -> bool:
        return self.cycle is not None and self.cycle.more_body

    def _is_answered(self) -> bool:
        return self._is_within_body() and self.cycle.response_started


class _AfterHead:
    """Callbacks of a parser that reads a head anew which its protocol has already."""

    def __init__(self, protocol: Any) -> None:
        self.is_after = False
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete
        self._protocol = protocol

    def on_message_begin(self) -> None:
        """Begin the next request."""
        if self.is_after:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of its address."""
        if self.is_after:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one of its headers."""
        if self.is_after:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        """End its head."""
        if self.is_after:
            self._protocol.on_headers_complete()


@functools.cache
def _application(config: Any) -> Any:
    """Return what a server calls; made once, and not for each connection."""
    return shortened(config.loaded_app, config.app)


def _refusal(*, within_body: bool) -> bytes:
    error = (
        RequestError("the body is cut short, or its chunks are malformed", field="body")
        if within_body
        else RequestError(
            "the request is no HTTP; in its address, percent-encode blanks and what is "
            "not ASCII, as curl -G --data-urlencode does"
        )
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
    """Set protocol and idle time of functions-framework's worker."""
    UvicornWorker.CONFIG_KWARGS = {
        **UvicornWorker.CONFIG_KWARGS,
        "http": JsonErrors,
        "timeout_keep_alive": KEEP_ALIVE_S,
    }
