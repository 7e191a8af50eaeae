"""
The asynchronous functions: their server, bodies and answers.

uvicorn parses a request before a function is asked. By default it answers broken chunks
in plain text, and a sender who stops within the body not at all.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

from propensity import errors
from propensity.clock import SYSTEM
from propensity.errors import BROKEN_BODY, RequestError
from propensity.gcp.http import (
    Callers,
    disable_worker_timeout,
    failure_of,
    object_in,
)
from propensity.gcp.log import log, trace_of

Function = Callable[[Request], Awaitable[Response]]

# gunicorn closes a connection that was idle for 2 s, and a request that is under way
# just then is lost. Google's proxies keep theirs for 600 s and close them first:
# https://cloud.google.com/load-balancing/docs/https#timeouts_and_retries
KEEP_ALIVE_S = 620

# A thousand instances, or ids of the longest kind with every character escaped, need
# less. While it is parsed, no other request is answered.
MAXIMUM_OBJECT_BYTES = 4 * 1024**2

# Linux keeps a container's limit here: control groups version 2, and version 1.
_MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

_JSON_TYPE = "application/json"


class JsonErrors(HttpToolsProtocol):
    """uvicorn's protocol, which says in JSON why it refuses a request."""

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed, unless an answer is on its way already."""
        error = RequestError("the request is not HTTP")
        if self._is_within_body():
            error = RequestError(BROKEN_BODY, field="body")
        if not (self._is_within_body() and self.cycle.response_started):
            body = json.dumps(error.body()).encode()
            self.transport.write(
                b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
                b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
        self.transport.close()

    def eof_received(self) -> None:
        """Answer a sender who stops within the body, and may still read."""
        if self._is_within_body():
            self.send_400_response(BROKEN_BODY)

    def _is_within_body(self) -> bool:
        return self.cycle is not None and self.cycle.more_body


class Json(Response):
    """An answer whose body is JSON already."""

    def __init__(
        self,
        body: bytes,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(body, status, headers, media_type=_JSON_TYPE)


async def body_of(request: Request, *, maximum: int) -> bytes:
    """Read a request's body, up to a maximum."""
    chunks = list[bytes]()
    size = 0
    is_whole = False
    while not is_whole:
        # Starlette's own stream takes several times as long for one part.
        part = await request.receive()
        if part["type"] == "http.disconnect":
            raise RequestError(BROKEN_BODY, field="body")
        chunk = part.get("body", b"")
        is_whole = not part.get("more_body", False)
        size += len(chunk)
        if size > maximum:
            raise errors.TooLarge(f"the body is larger than {maximum} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


async def object_of(request: Request) -> dict[str, object]:
    """
    Read a request's body, which must be a JSON object; NaN is for its reader to refuse.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0]
    if content_type.strip().lower() != _JSON_TYPE:
        raise errors.UnsupportedType(
            "the body must be JSON, with the header Content-Type: application/json",
            field="Content-Type",
        )
    return object_in(await body_of(request, maximum=MAXIMUM_OBJECT_BYTES))


def json_errors(name: str, callers: Callers) -> Callable[[Function], Function]:
    """Turn any error of an asynchronous function into JSON, and log it in one line."""
    # Idle connections are kept for longer than callers keep them.
    UvicornWorker.CONFIG_KWARGS |= {
        "timeout_keep_alive": KEEP_ALIVE_S,
        "http": JsonErrors,
    }
    disable_worker_timeout()

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        async def answered(request: Request) -> Response:
            began = SYSTEM.monotonic()
            # No variable may hold the error, whose frames the log needs: it would keep
            # the request in memory (see ``errors.without_frames``).
            try:
                if request.method != "POST":
                    # It is not used, but one that breaks off is refused.
                    await body_of(request, maximum=MAXIMUM_OBJECT_BYTES)
                return await function(request)
            except Exception as raised:  # only here, last before the caller
                failure = failure_of(raised, callers)
            log(
                failure.severity,
                failure.message,
                **failure.fields,
                function=name,
                seconds=SYSTEM.monotonic() - began,
                **trace_of(request.headers.get("traceparent", "")),
            )
            body = json.dumps(failure.body).encode()
            return Json(body, status=failure.status, headers=failure.headers)

        return answered

    return decorate


def freeze_gc() -> None:
    """
    Look for garbage among new objects only, and less often; once the clients are open.

    With Python's defaults the collector walks through all modules again and again while
    hundreds of requests wait: half of the processor time of a push.
    """
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def instance_bytes() -> int:
    """Return the least limit that is known of this instance's memory."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in _MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or it says "max"
            limits.append(int(limit.read_text()))
    return min(limits)
