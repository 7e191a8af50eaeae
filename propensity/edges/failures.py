"""
Failures: what a caller is told of an error, and what the log says of it.

Every function answers its failures by ``failure_of``, whatever serves it: ``asgi`` for
the asynchronous ones, ``runs`` for those of Flask. It touches neither.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field

from propensity.edges.log import severity_of
from propensity.errors import (
    ExportLate,
    MethodNotAllowed,
    PropensityError,
    Unavailable,
)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """
    What the callers of a function are told of a failure behind it.

    A failure is behind the function unless its error ``is_public``: then it is about
    the request, and is always told in full.

    Attributes:
        message: Stands in the place of the error's own, which may name tables, buckets
            and settings. None where callers may read those.
        messages: The same for certain errors, by their class.
        least_status: The least status of a failure behind the function.
        retry_after_s: The ``Retry-After`` of a 503 that has none of its own; 0 for
            none.
    """

    message: str | None = None
    messages: Mapping[type[PropensityError], str] = field(default_factory=dict)
    least_status: int = 0
    retry_after_s: int = 0


# Who runs the project calls: the scheduler, or a person at a terminal.
OPERATORS = Policy()

# Pub/Sub calls. A table or topic that is missing is nothing that a push can mend.
PUSHES = Policy(least_status=500)

# Anybody may call.
PUBLIC = Policy(message="not answered; the function's log says why", retry_after_s=1)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failure as it is answered (status, body, headers) and as it is logged."""

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
        """What every log line about a failure says beside its message."""
        return {"outcome": self.outcome, "status": self.status}


def failure_of(raised: Exception, policy: Policy) -> Failure:
    """
    Return how an error is answered and logged.

    Args:
        raised: Any error. One that nobody foresaw is a 500, and where it was raised is
            in the log; its message is not, since it may name a user.
        policy: Of the function that raised it.
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
        # A run that waits for the export is as it should be.
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
    # Without field and detail, which name what the message would.
    return {"error": error.code, "message": message, "retryable": error.retryable}


def _headers(error: PropensityError, policy: Policy) -> Mapping[str, str]:
    if isinstance(error, MethodNotAllowed):
        return {"Allow": ", ".join(error.allowed)}
    if isinstance(error, ExportLate):
        return {"Retry-After": str(error.retry_after_s)}
    if error.status == Unavailable.status and policy.retry_after_s:
        return {"Retry-After": str(policy.retry_after_s)}
    return {}
