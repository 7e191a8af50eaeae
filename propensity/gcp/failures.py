"""
Failures: an error as an answer for the caller, and as a line of the log.

All functions answer failures by ``failure_of``: ``asgi`` calls it for the asynchronous
ones, ``runs`` for those of Flask.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field

from propensity.errors import (
    ExportLate,
    MethodNotAllowed,
    PropensityError,
    Unavailable,
)
from propensity.gcp.log import severity_of


@dataclass(frozen=True, kw_only=True)
class Policy:
    """
    How a function answers internal failures.

    A failure is internal unless its error ``is_public``: that is about the request, and
    is answered in full.

    Attributes:
        message: Replaces the error's own message, which may name tables, buckets and
            settings. None if callers may read those.
        messages: The same for certain errors, by class.
        least_status: The least status of an internal failure.
        retry_after_s: The ``Retry-After`` of a 503 without its own; 0 for none.
    """

    message: str | None = None
    messages: Mapping[type[PropensityError], str] = field(default_factory=dict)
    least_status: int = 0
    retry_after_s: int = 0


# For the scheduler, and for an operator at a terminal.
OPERATORS = Policy()

# For Pub/Sub. A missing table or topic is not the fault of the push: not a 4xx.
PUSHES = Policy(least_status=500)

# For any caller.
PUBLIC = Policy(message="not answered; the function's log says why", retry_after_s=1)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failure's answer (status, body, headers) and its log line."""

    status: int
    body: Mapping[str, object]
    headers: Mapping[str, str]
    severity: str
    log_message: str
    outcome: str

    @property
    def encoded(self) -> bytes:
        """The body as JSON."""
        return json.dumps(self.body).encode()

    @property
    def log_fields(self) -> dict[str, object]:
        """Fields of the log line, beside its message."""
        return {"outcome": self.outcome, "status": self.status}


def failure_of(raised: Exception, policy: Policy) -> Failure:
    """
    Return the answer and the log line for an error.

    Args:
        raised: Any error. An unexpected one is a 500; the log has its traceback, but
            not its message, which may name a user.
        policy: Of the function.
    """
    if isinstance(raised, PropensityError):
        error, log_message = raised, raised.message
    else:
        error = PropensityError("unexpected error; the log has its trace")
        frames = "".join(traceback.format_tb(raised.__traceback__))
        log_message = f"unexpected error\n{type(raised).__name__}\n{frames}"
    status = error.status if error.is_public else max(error.status, policy.least_status)
    return Failure(
        status=status,
        body=_body(error, policy),
        headers=_headers(error, policy),
        # A wait for the export is normal.
        severity="WARNING" if isinstance(error, ExportLate) else severity_of(status),
        log_message=log_message,
        outcome=error.code,
    )


def _body(error: PropensityError, policy: Policy) -> Mapping[str, object]:
    if error.is_public or policy.message is None:
        return error.body()
    message = policy.messages.get(type(error))
    if message is None:
        message = policy.message + ("; try again" if error.retryable else "")
    # No field and no detail: they may name the same as the message.
    return {"error": error.code, "message": message, "retryable": error.retryable}


def _headers(error: PropensityError, policy: Policy) -> Mapping[str, str]:
    if isinstance(error, MethodNotAllowed):
        return {"Allow": ", ".join(error.allowed)}
    if isinstance(error, ExportLate):
        return {"Retry-After": str(error.retry_after_s)}
    if error.status == Unavailable.status and policy.retry_after_s:
        return {"Retry-After": str(policy.retry_after_s)}
    return {}
