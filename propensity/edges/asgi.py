"""
HTTP for the asynchronous functions: read bodies, answer JSON, answer failures.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from propensity.clock import SYSTEM
from propensity.edges import protocol
from propensity.edges.direct import Function, answers_itself
from propensity.edges.failures import PUBLIC, PUSHES, Policy, failure_of
from propensity.edges.log import log
from propensity.edges.server import disable_worker_timeout
from propensity.edges.tracing import trace_of
from propensity.errors import (
    MethodNotAllowed,
    RequestError,
    TooLarge,
    UnsupportedType,
)
from propensity.settings import project_here

_JSON_TYPE = b"application/json"
_PLAIN = b"content-type: %b\r\ncontent-length: %d\r\n\r\n%b"


class Json(Response):
    """
    A JSON answer, without the costs of ``Response`` that it does not need.

    Attributes:
        tail: Headers and body as bytes for ``single_write``, empty if there is more
            to send than those.
    """

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
            (b"content-type", _JSON_TYPE),
            (b"content-length", b"%d" % len(body)),
            *headers,
        ]
        is_plain = status == 200 and len(self.raw_headers) == 2
        self.tail = _PLAIN % (_JSON_TYPE, len(body), body) if is_plain else b""


async def body_of(request: Request, *, maximum: int) -> bytes:
    """
    Read a request's body, up to a maximum.

    Args:
        request: With an unread body.
        maximum: Bytes.

    Raises:
        TooLarge: The body, or its content length, is larger.
        RequestError: The connection was closed within the body.
    """
    # Straight from ASGI: Starlette's objects for headers and bodies take longer.
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
            message = "the connection was closed within the body"
            raise RequestError(message, field="body")
        chunk = received.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if size > maximum:
            raise TooLarge(f"the body is larger than {maximum} bytes")
        is_more = received.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def check_is_json(request: Request) -> None:
    """
    Check the content type of a body.

    Raises:
        UnsupportedType: It is not JSON.
    """
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            if value.partition(b";")[0].strip().lower() == _JSON_TYPE:
                return
            break
    raise UnsupportedType(
        "the body must be JSON, with the header Content-Type: application/json",
        field="Content-Type",
    )


def trace(request: Request) -> dict[str, str | bool]:
    """Return the fields of a log line about the trace of its request."""
    headers = (
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in request.scope["headers"]
    )
    return trace_of(headers, project=project_here())


def answers_failures(
    name: str,
    policy: Policy = PUBLIC,
    *,
    methods: tuple[str, ...] = (),
    log_fields: Callable[[Request], Mapping[str, object]] = lambda _: {},
) -> Callable[[Function], Function]:
    """
    Turn any error of a function into JSON, and log it in one line.

    Args:
        name: Of the function, in the log.
        policy: For its callers.
        methods: Its HTTP methods; none if the function checks them itself.
        log_fields: Returns further fields of the line, from the request.
    """
    protocol.install()
    disable_worker_timeout()

    def decorate(function: Function) -> Function:
        @answers_itself
        @functools.wraps(function)
        async def answered(request: Request) -> Response:
            began = SYSTEM.monotonic()
            # No variable may hold the error: it would be a cycle with the traceback,
            # and keep the request in memory until the garbage collector runs.
            try:
                if methods and request.scope["method"] not in methods:
                    raise MethodNotAllowed(request.scope["method"], allowed=methods)
                return await function(request)
            except Exception as raised:  # only here, last before the caller
                failure = failure_of(raised, policy)
            log(
                failure.severity,
                failure.log_message,
                function=name,
                **failure.log_fields,
                seconds=SYSTEM.monotonic() - began,
                **log_fields(request),
                **trace(request),
            )
            return Json(
                failure.encoded,
                status=failure.status,
                headers=[
                    (key.lower().encode(), value.encode())
                    for key, value in failure.headers.items()
                ],
            )

        return answered

    return decorate


def answers_pushes(name: str) -> Callable[[Function], Function]:
    """Do as ``answers_failures`` for a function that Pub/Sub pushes to."""
    return answers_failures(name, PUSHES, methods=("POST",))
