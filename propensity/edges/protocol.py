"""
The protocol of the asynchronous server: its own refusals are JSON, too.

uvicorn parses a request before it calls the function. By itself it answers bytes that
are not HTTP in plain text, and a connection that ends within a body not at all.

It also keeps idle connections for longer than gunicorn would have it.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn_worker import UvicornWorker

from propensity.edges.direct import shortened
from propensity.errors import RequestError

if TYPE_CHECKING:
    from asyncio import Protocol, Transport
else:
    Protocol = AutoHTTPProtocol

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

    def __init__(self, config: Any, *arguments: Any, **named: Any) -> None:
        super().__init__(config, *arguments, **named)  # type: ignore[call-arg]
        self.app = _application(config)

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
