"""
A lookup's request: the users and the use case, from a query string or a body.

02-GetProba imports this for every lookup, so nothing heavy may be imported here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

from starlette.requests import Request

from propensity.errors import MethodNotAllowed, NoSuchPath, RequestError
from propensity.gcp.http import body_of, check_is_json, each_once
from propensity.ids import NAME, problem_of

MAXIMUM_USERS = 1_000
# A thousand ids of the longest kind, every character escaped, need three quarters.
MAXIMUM_BODY_BYTES = 4 * 1024**2
# One id of the longest kind, percent-encoded, needs three eighths.
MAXIMUM_QUERY_STRING_BYTES = 8 * 1024
ALLOWED_METHODS = ("GET", "HEAD", "POST")

_decode = json.JSONDecoder(object_pairs_hook=each_once).decode

_FLAGS = {"0": False, "1": True}


class Question(NamedTuple):
    """
    A parsed lookup request.

    With ``is_single`` the answer is one object, not a list; with ``values`` it has the
    expected value as well. A tuple, since one is made for every lookup, and that takes
    a third of the time.
    """

    user_ids: Sequence[str]
    use_case: str | None
    is_single: bool
    values: bool = False


async def read_question(request: Request) -> Question:
    """
    Read a request.

    Raises:
        NoSuchPath, MethodNotAllowed, RequestError, TooLarge, UnsupportedType: As named.
    """
    method = request.scope["method"]
    if request.scope["path"] != "/":
        raise NoSuchPath("only / is served here")
    if method in {"GET", "HEAD"}:
        return _in_query_string(request.scope["query_string"])
    if method == "POST":
        if request.scope["query_string"]:
            raise RequestError("a POST takes no query parameters; put them in the body")
        check_is_json(request)
        body = await body_of(request, maximum=MAXIMUM_BODY_BYTES)
        return _in_body(body)
    raise MethodNotAllowed(method, allowed=ALLOWED_METHODS)


def _in_query_string(encoded: bytes) -> Question:
    if len(encoded) > MAXIMUM_QUERY_STRING_BYTES:
        raise RequestError(
            f"the query string is longer than {MAXIMUM_QUERY_STRING_BYTES} bytes",
            field="user_id",
        )
    try:
        pairs = parse_qsl(encoded.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        raise RequestError(
            "the query string is not percent-encoded UTF-8", field="user_id"
        ) from None
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if name not in {"user_id", "use_case", "value"}:
            raise RequestError(
                "unknown query parameter; known are user_id, use_case and value",
                field=name[:64],
            )
        if name in parameters:
            raise RequestError(f"{name} must be given once", field=name)
        parameters[name] = value
    if "user_id" not in parameters:
        raise RequestError("user_id is missing: GET /?user_id=...", field="user_id")
    user_id = _checked_user(parameters["user_id"], field="user_id")
    use_case = parameters.get("use_case")
    if use_case is not None:
        _check_use_case(use_case)
    value = parameters.get("value", "0")
    if value not in _FLAGS:
        raise RequestError("value must be 1 or 0", field="value")
    return Question((user_id,), use_case, is_single=True, values=_FLAGS[value])


def _in_body(body: bytes) -> Question:
    try:
        # Only UTF-8, as everywhere else; bytes may be of other encodings, too.
        fields = _decode(body.decode())
    except (ValueError, RecursionError):
        raise RequestError("the body is not JSON in UTF-8", field="body") from None
    if not isinstance(fields, dict):
        raise RequestError(
            'the body must be a JSON object: {"user_ids": ["..."]}', field="body"
        )
    if unknown := sorted(fields.keys() - {"user_ids", "use_case"}):
        raise RequestError(
            "unknown field; known are user_ids and use_case", field=unknown[0][:64]
        )
    user_ids = fields.get("user_ids")
    if not isinstance(user_ids, list) or not 1 <= len(user_ids) <= MAXIMUM_USERS:
        raise RequestError(
            f"user_ids must be a list of 1 to {MAXIMUM_USERS} strings", field="user_ids"
        )
    for place, user_id in enumerate(user_ids):
        _checked_user(user_id, field=f"user_ids[{place}]")
    use_case = fields.get("use_case")
    if "use_case" in fields:
        _check_use_case(use_case)
    return Question(user_ids, use_case, is_single=False)


def _checked_user(user_id: object, *, field: str) -> str:
    if problem := problem_of(user_id):
        raise RequestError(f"a user id {problem}", field=field)
    return str(user_id)


def _check_use_case(use_case: object) -> None:
    if not isinstance(use_case, str) or not NAME.fullmatch(use_case):
        raise RequestError(
            f"use_case must match {NAME.pattern}, as the name of its folder does",
            field="use_case",
        )
