"""HTTP for all functions: what a failure answers and logs, and bodies in JSON."""

from __future__ import annotations

import json
import os
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from google.auth.exceptions import DefaultCredentialsError

from propensity import errors
from propensity.gcp.clients import without_login


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


def disable_worker_timeout() -> None:
    """
    Never let gunicorn abort a worker that gives no sign of life.

    An instance has no processor between requests, so an idle one gives none: the
    worker, and the request that ends the pause, would be lost. Cloud Run ends requests
    that take too long itself. The framework reads the variable after ``main.py``:
    https://github.com/GoogleCloudPlatform/python-docs-samples/pull/3229
    """
    os.environ.pop("CLOUD_RUN_TIMEOUT_SECONDS", None)
