"""
What the asynchronous functions share at their edge to HTTP: bodies in, JSON out, logs.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import functools
import json
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response

from propensity.edges import protocol
from propensity.edges.log import log
from propensity.edges.tracing import trace_of
from propensity.errors import (
    MethodNotAllowed,
    MissingTable,
    PropensityError,
    RequestError,
    SchemaError,
    SettingsError,
    TooLarge,
)
from propensity.settings import project_here


class Json(Response):
    """A JSON answer, made without the parts of ``Response`` that it does not need."""

    def __init__(
        self,
        body: bytes,
        *,
        status: int = 200,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        self.body = body
        self.status_code = status
        self.background = None
        self.raw_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *headers,
        ]


async def body_of(request: Request, *, maximum: int) -> bytes:
    """
    Read a request's body, and no more of it than is allowed.

    Args:
        request: Whose body has not been read.
        maximum: Bytes.

    Raises:
        TooLarge: It is longer, or says that it is.
        RequestError: The connection was closed within it.
    """
    # Straight from ASGI: the objects that Starlette makes of headers and bodies take
    # longer than what is read of them.
    for name, value in request.scope["headers"]:
        if name == b"content-length":
            if value.isdigit() and int(value) > maximum:
                raise TooLarge(f"the body is larger than {maximum} bytes")
            break
    chunks: list[bytes] = []
    size = 0
    is_more = True
    while is_more:
        received = await request.receive()
        if received["type"] == "http.disconnect":
            told = "the connection was closed within the body"
            raise RequestError(told, field="body")
        chunk = received.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if size > maximum:
            raise TooLarge(f"the body is larger than {maximum} bytes")
        is_more = received.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def trace(request: Request) -> dict[str, str | bool]:
    """Return what a log line says of the trace of its request."""
    headers = (
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in request.scope["headers"]
    )
    return trace_of(headers, project=project_here())


Function = Callable[[Request], Awaitable[Response]]


def answers_failures(name: str) -> Callable[[Function], Function]:
    """
    Turn whatever a function raises into JSON, and log it by one line.

    What the caller did is told in full. What went wrong behind the function may name
    tables, buckets and settings, and is told in its log alone.

    Args:
        name: Of the function, in the log.
    """

    protocol.install()

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        async def answered(request: Request) -> Response:
            began = time.monotonic()
            # No variable may hold what was raised: each would hold the other, and with
            # them the request, until the garbage collector looks.
            try:
                return await function(request)
            except PropensityError as raised:
                return _failed(name, raised, began, request)
            except Exception as raised:  # the one place: the last before the caller
                frames = "".join(traceback.format_tb(raised.__traceback__))
                told = f"{type(raised).__name__}\n{frames}"
                return _failed(name, PropensityError(told), began, request)

        return answered

    return decorate


def _failed(
    name: str, error: PropensityError, began: float, request: Request
) -> Response:
    log(
        "ERROR" if error.status >= 500 else "WARNING",
        error.message,
        function=name,
        outcome=error.code,
        status=error.status,
        field=error.field,
        seconds=time.monotonic() - began,
        **trace(request),
    )
    body = error.body()
    is_untold = error.status >= 500 or isinstance(error, MissingTable | SchemaError)
    if is_untold and not (isinstance(error, SettingsError) and error.is_missing):
        again = "; try again" if error.retryable else ""
        body["message"] = f"not answered; the function's log says why{again}"
    headers = []
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    if error.status == 503:
        headers.append((b"retry-after", b"1"))
    return Json(json.dumps(body).encode(), status=error.status, headers=headers)
