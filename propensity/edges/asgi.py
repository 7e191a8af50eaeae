"""
What the asynchronous functions share over HTTP: bodies in, JSON out, failures answered.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from propensity.clock import SYSTEM, Clock
from propensity.edges import protocol
from propensity.edges.failures import PUBLIC, PUSHES, Policy, failure_of
from propensity.edges.log import log
from propensity.edges.tracing import trace_of
from propensity.errors import MethodNotAllowed, RequestError, TooLarge
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
            message = "the connection was closed within the body"
            raise RequestError(message, field="body")
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


def _no_fields(_: Request) -> Mapping[str, object]:
    return {}


def answers_failures(
    name: str,
    policy: Policy = PUBLIC,
    *,
    methods: tuple[str, ...] = (),
    log_fields: Callable[[Request], Mapping[str, object]] = _no_fields,
    clock: Clock = SYSTEM,
) -> Callable[[Function], Function]:
    """
    Turn whatever a function raises into JSON, and log it by one line.

    Args:
        name: Of the function, in the log.
        policy: What its callers are told.
        methods: Those that it takes; none where it looks for itself.
        log_fields: What else the line says of a request.
        clock: Measures how long the request took.
    """
    protocol.install()

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        async def answered(request: Request) -> Response:
            began = clock.monotonic()
            # No variable may hold what was raised: each would hold the other, and with
            # them the request, until the garbage collector looks.
            try:
                if methods and request.scope["method"] not in methods:
                    raise MethodNotAllowed(request.scope["method"], allowed=methods)
                return await function(request)
            except Exception as raised:  # the one place: the last before the caller
                failure = failure_of(raised, policy)
            log(
                failure.severity,
                failure.log_message,
                function=name,
                **failure.log_fields,
                seconds=clock.monotonic() - began,
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
    """Do the same for a function that Pub/Sub pushes to."""
    return answers_failures(name, PUSHES, methods=("POST",))
