"""
A small answer in a single write, past the checks that ASGI's messages need.

uvicorn gets an answer as two messages, and looks at each header of each answer by
regular expressions: a tenth of a small request's time. Answers of ours are whole, and
their headers are constants.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import functools
from typing import Any

from starlette.types import Send

try:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
except ImportError:  # uvicorn's other parser keeps its own state of an answer
    RequestResponseCycle = None  # type: ignore[assignment, misc]


def is_written(tail: bytes, send: Send) -> bool:
    """
    Write an answer with status 200 at once; False if ASGI must send it.

    Args:
        tail: Its headers and body, as they are written behind uvicorn's own headers.
        send: Of the server, for a request whose method is not HEAD.
    """
    cycle: Any = getattr(send, "__self__", None)
    if (
        type(cycle) is not RequestResponseCycle
        or cycle.access_log
        or cycle.disconnected
        or cycle.flow.write_paused
        or not cycle.keep_alive
    ):
        return False
    # As ``RequestResponseCycle.send`` does for both messages.
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(_head(*cycle.default_headers) + tail)
    cycle.response_complete = True
    cycle.message_event.set()
    cycle.on_response()
    return True


@functools.lru_cache(maxsize=8)
def _head(*headers: tuple[bytes, bytes]) -> bytes:
    """Return the head of an answer with uvicorn's headers; they change every second."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"".join([b"HTTP/1.1 200 OK\r\n", *lines])
