"""HTTP for the functions: bodies, JSON answers, failures, and the server's settings."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from google.auth.exceptions import DefaultCredentialsError
from starlette.requests import Request
from starlette.responses import Response

from propensity import errors
from propensity.clock import SYSTEM
from propensity.gcp.clients import without_login
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


# -- failures -------------------------------------------------------------------------


class Callers(Enum):
    """
    Who calls a function; that decides how it answers internal failures.

    A failure is internal unless its error ``is_public``: that is about the request, and
    is answered in full.
    """

    # An operator at a terminal, who reads everything.
    OPERATORS = auto()
    # Cloud Scheduler, which calls again after every answer but a 2xx. A failure that
    # cannot pass would be paid for six times: it is answered 200, and the log says it.
    SCHEDULER = auto()
    # Pub/Sub. A missing table or topic is not the fault of the push: not a 4xx.
    PUSHES = auto()
    # Anybody. Words that may name tables, buckets and settings are for the log alone.
    PUBLIC = auto()


_HIDDEN = "not answered; the function's log says why"
_HIDDEN_OF = {
    errors.MissingTable: "a table is not there yet; the function's log says which",
    errors.Unavailable: "not answered at the moment; try again",
}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failure's answer (status, body, headers), and what the log says of it."""

    status: int
    body: Mapping[str, object]
    headers: Mapping[str, str]
    severity: str
    message: str
    # The outcome, and the status that a scheduler is not told.
    fields: Mapping[str, object]


def failure_of(raised: Exception, callers: Callers) -> Failure:
    """
    Return the answer and the log line for an error.

    Args:
        raised: Any error. An unexpected one is a 500; the log has its traceback, but
            not its message, which may name a user. Nor has it the message of an error
            of the request.
    """
    if isinstance(raised, errors.PropensityError):
        error = raised
        message = raised.message
    elif isinstance(raised, DefaultCredentialsError):
        # As clients are opened, before they ask anything.
        error = without_login(raised)
        message = error.message
    else:
        error = errors.PropensityError("unexpected error; the log has its trace")
        frames = "".join(traceback.format_tb(raised.__traceback__))
        message = f"unexpected error\n{type(raised).__name__}\n{frames}"
    status = error.status
    body = error.body()
    headers = error.headers
    if not error.is_public:
        if callers is Callers.PUSHES:
            status = max(status, 500)
        if callers is Callers.PUBLIC:
            # Field and detail are left out: they may tell the same as the message.
            body = {
                "error": error.code,
                "message": _HIDDEN_OF.get(type(error), _HIDDEN),
                "retryable": error.retryable,
            }
            if status == errors.Unavailable.status:
                headers = {"Retry-After": "1"}
    # A wait for the export, or for predictions, is normal.
    is_fault = status >= 500 and not error.is_waiting
    if error.is_public and not isinstance(error, errors.NoChampion):
        # Words and names of fields that a caller chose may be a person's, also those
        # of an operator. A use case without a model has no word of the caller's.
        message = "the request is rejected; the answer says why"
    is_over = callers is Callers.SCHEDULER and not error.retryable
    return Failure(
        status=200 if is_over else status,
        body=body,
        headers=headers,
        severity="ERROR" if is_fault else "WARNING",
        message=message,
        fields={"outcome": error.code, "status": status},
    )


# -- bodies and answers ---------------------------------------------------------------


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
            raise errors.RequestError(errors.BROKEN_BODY, field="body")
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


def object_in(body: bytes) -> dict[str, object]:
    """Return the JSON object that a body is, or raise RequestError."""
    try:
        # Without decode() json would also take UTF-16, which nothing else here reads.
        fields = json.loads(body.decode(), object_pairs_hook=reject_duplicates)
    except (ValueError, RecursionError):
        raise errors.RequestError(
            "the body is not JSON in UTF-8", field="body"
        ) from None
    if not isinstance(fields, dict):
        raise errors.RequestError("the body must be a JSON object", field="body")
    return fields


def reject_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """
    Return an object of JSON: an ``object_pairs_hook``.

    JSON allows a name twice in an object, and a reader takes either of the two: a
    caller would get the answer to someone else's request.
    """
    fields = dict(pairs)
    if len(fields) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise errors.RequestError(f"{name[:64]} must be given once", field=name[:64])
    return fields


def json_errors(name: str, callers: Callers) -> Callable[[Function], Function]:
    """Turn any error of an asynchronous function into JSON, and log it in one line."""
    from uvicorn_worker import UvicornWorker

    from propensity.gcp.protocol import JsonErrors

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


# -- the server -----------------------------------------------------------------------


def freeze_gc() -> None:
    """
    Look for garbage among new objects only, and less often; once the clients are open.

    With Python's defaults the collector walks through all modules again and again while
    hundreds of requests wait: half of the processor time of a push.
    """
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def disable_worker_timeout() -> None:
    """
    Never let gunicorn abort a worker that gives no sign of life.

    An instance has no processor between requests, so an idle one gives none: the
    worker, and the request that ends the pause, would be lost. Cloud Run ends requests
    that take too long itself. The framework reads the variable after ``main.py``:
    https://github.com/GoogleCloudPlatform/python-docs-samples/pull/3229
    """
    os.environ.pop("CLOUD_RUN_TIMEOUT_SECONDS", None)


def instance_bytes() -> int:
    """Return the least limit that is known of this instance's memory."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in _MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or it says "max"
            limits.append(int(limit.read_text()))
    return min(limits)
