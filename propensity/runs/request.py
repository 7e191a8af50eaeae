"""A request to a run, and its body up to a limit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import flask
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from propensity.errors import MethodNotAllowed, RequestError, TooLarge
from propensity.gcp.http import object_in
from propensity.timeframe import day_of

MAXIMUM_BODY = 64 * 1024

# Event time counts from 1970, and windows reach back from an as-of date by months.
EARLIEST = date(1971, 1, 1)

_KNOWN = ("use_case", "as_of", "force")


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A parsed request to a scheduled function."""

    use_case: str
    as_of: date
    force: bool


def parse(request: flask.Request, *, default_use_case: str, today: date) -> RunRequest:
    """
    Read the request of a scheduled function.

    Args:
        request: ``POST`` with an optional JSON object of ``use_case``, ``as_of``
            (YYYY-MM-DD, from 1971 on) and ``force``.
        default_use_case: Where the request names none.
        today: UTC; the default of ``as_of``, which may not be later.

    Raises:
        MethodNotAllowed, TooLarge, RequestError: As named.
    """
    if request.method != "POST":
        raise MethodNotAllowed(request.method, allowed=("POST",))
    request.max_content_length = MAXIMUM_BODY
    try:
        body = object_in(request.get_data().strip() or b"{}")
    except RequestEntityTooLarge as error:
        raise TooLarge(f"the body is over {MAXIMUM_BODY} bytes") from error
    except (OSError, HTTPException) as error:
        raise RequestError("the body is cut short", field="body") from error
    if unknown := sorted(str(key)[:64] for key in set(body) - set(_KNOWN)):
        raise RequestError(
            f"unknown field {', '.join(unknown)}; known are {', '.join(_KNOWN)}",
            field=unknown[0],
        )
    use_case, force = body.get("use_case", default_use_case), body.get("force", False)
    if not isinstance(use_case, str):
        raise RequestError("use_case must be a string", field="use_case")
    if not isinstance(force, bool):
        raise RequestError("force must be true or false", field="force")
    as_of = _as_of(body.get("as_of"), today)
    return RunRequest(use_case=use_case, as_of=as_of, force=force)


def _as_of(value: object, today: date) -> date:
    if value is None:
        return today
    try:
        as_of = day_of(value if isinstance(value, str) else repr(value))
    except ValueError as error:
        raise RequestError(
            f"as_of must be a date as YYYY-MM-DD: {error}", field="as_of"
        ) from error
    if not EARLIEST <= as_of <= today:
        raise RequestError(
            f"as_of is {as_of}, and must be from {EARLIEST} on and no later than "
            f"today in UTC, {today}: later events are not there yet",
            field="as_of",
        )
    return as_of
