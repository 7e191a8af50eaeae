"""
HTTP for the asynchronous functions: read bodies, answer JSON, answer failures.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from propensity.clock import SYSTEM
from propensity.errors import (
    MethodNotAllowed,
    RequestError,
    TooLarge,
    UnsupportedType,
)
from propensity.gcp.failures import PUBLIC, PUSHES, Policy, failure_of
from propensity.gcp.log import log
from propensity.gcp.server import disable_worker_timeout, keep_connections
from propensity.gcp.tracing import trace_of
from propensity.settings import project_here

Function = Callable[[Request], Awaitable[Response]]

_JSON_TYPE = "application/json"


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
    """
    Read a request's body, up to a maximum.

    Args:
        request: With an unread body.
        maximum: Bytes.

    Raises:
        TooLarge: The body is larger.
        RequestError: The connection was closed within the body.
    """
    chunks: list[bytes] = []
    size = 0
    is_more = True
    # Starlette's ``stream`` and ``body`` have no maximum, and take longer.
    while is_more:
        received = await request.receive()
        if received["type"] == "http.disconnect":
            message = "the connection was closed within the body"
            raise RequestError(message, field="body")
        chunks.append(received.get("body", b""))
        size += len(chunks[-1])
        if size > maximum:
            raise TooLarge(f"the body is larger than {maximum} bytes")
        is_more = received.get("more_body", False)
    return b"".join(chunks)


def check_is_json(request: Request) -> None:
    """
    Check the content type of a body.

    Raises:
        UnsupportedType: It is not JSON.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0]
    if content_type.strip().lower() != _JSON_TYPE:
        raise UnsupportedType(
            "the body must be JSON, with the header Content-Type: application/json",
            field="Content-Type",
        )


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
    keep_connections()
    disable_worker_timeout()

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        async def answered(request: Request) -> Response:
            began = SYSTEM.monotonic()
            # No variable may hold the error: it would be a cycle with the traceback,
            # and keep the request in memory until the garbage collector runs.
            try:
                if methods and request.method not in methods:
                    raise MethodNotAllowed(request.method, allowed=methods)
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
                **trace_of(request.headers.items(), project=project_here()),
            )
            return Json(failure.encoded, status=failure.status, headers=failure.headers)

        return answered

    return decorate


def answers_pushes(name: str) -> Callable[[Function], Function]:
    """Do as ``answers_failures`` for a function that Pub/Sub pushes to."""
    return answers_failures(name, PUSHES, methods=("POST",))
