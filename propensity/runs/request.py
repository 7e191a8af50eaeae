"""A request to a run: what it may say, and its body up to a limit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date

import flask
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException

from propensity.errors import MethodNotAllowed, RequestError, TooLarge
from propensity.gcp.http import each_once
from propensity.timeframe import day_of

MAXIMUM_BODY = 64 * 1024

# So much of a body that is too large is read and dropped: a caller that is still
# sending might miss the answer otherwise.
DROPPED_BYTES = 1024**2

# Event time counts from 1970, and windows reach back from an as-of date by months.
EARLIEST = date(1971, 1, 1)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A parsed request to a scheduled function."""

    use_case: str
    as_of: date
    force: bool


def parse(
    request: flask.Request,
    *,
    default_use_case: str,
    today: date,
) -> RunRequest:
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
    data = _body(request)
    try:
        # Only UTF-8, as everywhere else; ``json.loads`` accepts other encodings too.
        text = data.decode() if data.strip() else "{}"
        body = json.loads(text, object_pairs_hook=each_once)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}", field="body") from error
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object", field="body")
    known = ("use_case", "as_of", "force")
    unknown = sorted(str(key)[:64] for key in set(body) - set(known))
    if unknown:
        raise RequestError(
            f"unknown field {', '.join(unknown)}; known are {', '.join(known)}",
            field=unknown[0],
        )
    use_case = body.get("use_case", default_use_case)
    if not isinstance(use_case, str):
        raise RequestError("use_case must be a string", field="use_case")
    force = body.get("force", False)
    if not isinstance(force, bool):
        raise RequestError("force must be true or false", field="force")
    return RunRequest(
        use_case=use_case, as_of=_as_of(body.get("as_of"), today), force=force
    )


def _as_of(value: object, today: date) -> date:
    if value is None:
        return today
    try:
        if not isinstance(value, str):
            raise ValueError("it is not a string")
        as_of = day_of(value)
    except ValueError as error:
        raise RequestError(
            f"as_of must be a date as YYYY-MM-DD: {error}", field="as_of"
        ) from error
    if as_of < EARLIEST:
        raise RequestError(
            f"as_of is {as_of}, before any event: the earliest is {EARLIEST}",
            field="as_of",
        )
    if as_of > today:
        raise RequestError(
            f"as_of is {as_of}, but today is {today} in UTC: its events are not there "
            "yet",
            field="as_of",
        )
    return as_of


def _body(request: flask.Request) -> bytes:
    """Read the body, up to the limit where it does not state its length."""
    if (request.content_length or 0) > MAXIMUM_BODY:
        raise TooLarge(f"the body is over {MAXIMUM_BODY} bytes")
    data = b""
    while part := _part(request, MAXIMUM_BODY + 1 - len(data)):
        data += part
        if len(data) > MAXIMUM_BODY:
            raise TooLarge(f"the body is over {MAXIMUM_BODY} bytes")
    # A server may take the end of the connection for the end of the body.
    if len(data) < (request.content_length or 0):
        raise _cut_short()
    return data


def _part(request: flask.Request, size: int) -> bytes:
    """
    Read the next part of the body; empty at its end.

    Raises:
        RequestError: It ends too early, or its chunks are malformed. Servers report
            that differently: as an error of the connection, of the parser (gunicorn),
            or of the framework (werkzeug).
    """
    try:
        return request.stream.read(size)
    except (OSError, ParseException, HTTPException) as error:
        raise _cut_short() from error


def _cut_short() -> RequestError:
    return RequestError(
        "the body is cut short, or its chunks are malformed", field="body"
    )


def without_rest(request: flask.Request, response: flask.Response) -> flask.Response:
    """
    Return an answer that is sent without reading the rest of the body.

    functions-framework reads a request to its end before it answers, however long it
    is, and crashes on a broken one, unless the answer is streamed.
    """
    left = DROPPED_BYTES
    try:
        if (request.content_length or 0) <= DROPPED_BYTES:
            while part := _part(request, min(left, MAXIMUM_BODY)):
                left -= len(part)
                if left <= 0:
                    break
            else:
                return response
    except RequestError:
        pass  # the answer is already another error, or this one
    data = response.get_data()
    response.response = iter([data])
    response.headers["Content-Length"] = str(len(data))
    response.headers["Connection"] = "close"
    return response
