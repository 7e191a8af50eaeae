"""
Any HTTP endpoint, by a template.

    kind = "http"
    name = "crm"
    url = "https://crm.example.com/v1/lists/{audience}/users"
    batch = 100
    rate = 10
    at_once = 4

    [headers]
    Authorization = "Bearer ${CRM_TOKEN}"

    [body]
    list = "{audience}"
    users = "{users}"

    [user]
    id = "{user_id}"
    score = "{probability}"

    [remove]
    method = "DELETE"

    [answer]
    rejected = "errors"
    user = "id"
    reason = "message"

Names in braces stand for values of the request, and ``${NAME}`` for a variable of the
environment: no secret is in the file. ``[answer]`` says where an answer lists the users
who were rejected; a page instead of JSON is no answer then. Every request has its key
in the header Idempotency-Key. An answer that refuses a request as a whole (400, 409,
413, 422) is about its users: it is sent again by halves, down to the user at fault.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from offline.audience.destinations.base import ADD, REMOVE, Request
from offline.audience.destinations.templates import (
    at_once,
    check_name,
    check_url,
    fail,
    rate,
    with_variables,
    without_variables,
)
from offline.audience.posting import Poster, excerpt
from offline.audience.selection import Member
from propensity.errors import Unavailable

KEYS = ("kind", "name", "url", "method", "batch", "rate", "at_once", "headers", "body",
        "user", "remove", "answer")  # fmt: skip
OF_REMOVAL = ("url", "method", "body")
OF_ANSWER = ("rejected", "user", "reason")
METHODS = ("POST", "PUT", "PATCH", "DELETE")
# Default keys of an entry in an answer.
USER, REASON = "user_id", "reason"
# Values that a template may name: of a request, and of a user.
OF_HEADER = ("use_case", "audience", "as_of", "action", "key")
OF_REQUEST = (*OF_HEADER, "users")
OF_USER = ("user_id", "probability", "use_case", "audience", "as_of", "action")

BATCH = 100
MOST_USERS = 100_000
# Requests a second.
RATE = 10.0

_PLACE = re.compile(r"\{(\w+)\}")


class Http:
    """An endpoint that a template describes."""

    def __init__(
        self,
        template: Mapping[str, Any],
        *,
        poster: Callable[[float, int], Poster],
        variables: Mapping[str, str] = os.environ,
    ) -> None:
        """
        Args:
            poster: Opens one of a rate and a number of requests at once.

        Raises:
            RequestError: The template is wrong; the message says where.
            SettingsError: A variable that it names is not set.
        """
        check(template)
        self.name: str = template["name"]
        self.batch: int = template.get("batch", BATCH)
        self.actions = (REMOVE, ADD) if "remove" in template else (ADD,)
        self._template = with_variables(template, variables)
        for field, holder in (("url", self._template), *_removal(self._template)):
            if "url" in holder:
                check_url(field, holder["url"])
        self.at_once = at_once(template)
        self._poster = poster(rate(template.get("rate", RATE)), self.at_once)

    def problems(self, action: str, members: Sequence[Member]) -> Mapping[str, str]:
        """Return nobody: the endpoint itself rejects users."""
        return {}

    def send(self, request: Request) -> Mapping[str, str]:
        """Send users; return the rejected users, with reasons."""
        method, url, body, headers = _written(
            self._template,
            request.action,
            request.members,
            use_case=request.use_case,
            audience=request.audience,
            as_of=request.as_of.isoformat(),
            key=request.key,
        )
        answer = self._poster.send(
            method,
            url,
            body=body.encode(),
            headers={
                "Content-Type": "application/json",
                "Idempotency-Key": request.key,
                **headers,
            },
            is_json="answer" in self._template,
        )
        return self._rejected(answer, request)

    def _rejected(self, answer: Any, request: Request) -> dict[str, str]:
        """Return the rejected users that an answer lists, with reasons."""
        shape = self._template.get("answer")
        if not shape:
            return {}
        listed = answer
        for part in shape["rejected"].split("."):
            if isinstance(listed, list) and listed:
                raise Unavailable(
                    f"{self.name} answers a list, and no {shape['rejected']} in it, so "
                    "nobody knows who was rejected"
                )
            listed = listed.get(part) if isinstance(listed, Mapping) else None
        if isinstance(listed, Mapping):
            # Reasons by user.
            listed = [
                {shape.get("user", USER): user, shape.get("reason", REASON): reason}
                for user, reason in listed.items()
            ]
        if listed is not None and not isinstance(listed, list):
            raise Unavailable(
                f"{self.name} answers {shape['rejected']} that is no list, so nobody "
                "knows who was rejected"
            )
        known = {member.user_id for member in request.members}
        rejected = {}
        for entry in listed or ():
            user, reason = entry, "rejected"
            if isinstance(entry, Mapping):
                user = entry.get(shape.get("user", USER))
                reason = str(entry.get(shape.get("reason", REASON)) or reason)
            # A receiver may have made a number of an id of digits.
            if str(user) not in known:
                raise Unavailable(
                    f"{self.name} lists somebody under {shape['rejected']} who is not "
                    "in the request, so nobody knows who was rejected: see user under "
                    "[answer] in the destination's file"
                )
            rejected[str(user)] = excerpt(reason, self._poster.hidden)
        return rejected

    def close(self) -> None:
        """Close the connections."""
        self._poster.close()


def check(template: Mapping[str, Any]) -> None:
    """Raise RequestError, with the field, unless a template can be used."""
    for name in template:
        if name not in KEYS:
            fail(name, f"{name} is unknown; known are {', '.join(KEYS)}")
    check_name(template)
    if not isinstance(template.get("url"), str) or not template["url"]:
        fail("url", "url is missing: a text")
    batch = template.get("batch", BATCH)
    if type(batch) is not int or not 1 <= batch <= MOST_USERS:
        fail("batch", f"batch is a number of users from 1 to {MOST_USERS:,}")
    rate(template.get("rate", RATE))
    at_once(template)
    _check_tables(template)
    for field, holder in (("method", template), *_removal(template, "method")):
        if holder.get("method", "POST") not in METHODS:
            fail(field, f"{field} is one of {', '.join(METHODS)}")
    _check_places("user", template.get("user", ""), OF_USER)
    for name in ("url", "body", "remove"):
        _check_places(name, template.get(name, ""), OF_REQUEST)
    _check_places("headers", template.get("headers", ""), OF_HEADER)
    _check_requests(template)


def _written(
    template: Mapping[str, Any], action: str, members: Sequence[Member], **common: Any
) -> tuple[str, str, str, Mapping[str, str]]:
    """Return method, address, body and headers of a request; ``common`` is its own."""
    chosen = dict(template)
    if action == REMOVE:
        chosen |= template["remove"]
    common |= {"action": action}
    users = [
        _filled(
            template.get("user", "{user_id}"),
            common | {"user_id": m.user_id, "probability": m.probability},
        )
        for m in members
    ]
    body = _filled(chosen.get("body", {"users": "{users}"}), common | {"users": users})
    return (
        chosen.get("method", "POST"),
        str(_filled(chosen["url"], common | {"users": users})),
        json.dumps(body),
        _filled(template.get("headers", {}), common),
    )


def _check_requests(template: Mapping[str, Any]) -> None:
    """
    Raise RequestError unless requests name their users, and removals are their own.

    Of a receiver that hears of nobody the ledger would say that it has accepted all,
    and one that cannot tell a removal would add the users who are to leave.
    """

    def written(action: str, user: str) -> tuple[str, str, str, Mapping[str, str]]:
        values = {name: "" for name in OF_HEADER if name != "action"}
        return _written(template, action, [Member(user, 0.5)], **values)

    for action in (ADD, REMOVE) if "remove" in template else (ADD,):
        if written(action, "one") != written(action, "another"):
            continue
        shape = {"user_id": "one"}
        if _filled(template.get("user", "{user_id}"), shape) == template.get("user"):
            fail("user", "user does not say who it is: {user_id} is missing")
        field = "body" if action == ADD else "remove"
        fail(field, f"{field} has no users: {{users}} is missing")
    if "remove" in template and written(ADD, "one") == written(REMOVE, "one"):
        fail(
            "remove",
            "remove is the same request as an addition: give it a method, url or body "
            "of its own, or use {action}",
        )


def _check_tables(template: Mapping[str, Any]) -> None:
    tables = {"headers": (), "remove": OF_REMOVAL, "answer": OF_ANSWER}
    for table, keys in tables.items():
        if table not in template:
            continue
        if not isinstance(template[table], Mapping):
            fail(table, f"{table} is a table: [{table}]")
        for name, value in template[table].items():
            if keys and name not in keys:
                fail(f"{table}.{name}", f"{table} has {', '.join(keys)}, not {name}")
            if name != "body" and not isinstance(value, str):
                fail(f"{table}.{name}", f"{table}.{name} is a text")
    if "answer" in template and not template["answer"].get("rejected"):
        fail("answer.rejected", "rejected is missing: where the answer lists users")


def _check_places(field: str, value: Any, known: tuple[str, ...]) -> None:
    try:
        text = json.dumps(value, allow_nan=False)
        # As deep as when it is sent.
        _filled(value, dict.fromkeys(known))
    except (TypeError, ValueError, RecursionError):
        fail(
            field,
            f"{field} cannot be sent as JSON: it has a date, a number without an end, "
            "or is nested hundreds deep",
        )
    for name in _PLACE.findall(without_variables(text)):
        if name not in known:
            fail(field, f"{{{name}}} stands for nothing; known are {', '.join(known)}")


def _removal(
    template: Mapping[str, Any], key: str = "url"
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the table of removals, if there is one, with the field of a key."""
    return [(f"remove.{key}", template["remove"])] if "remove" in template else []


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """Return a template with its values; a text that is one place keeps its type."""
    if isinstance(value, Mapping):
        return {key: _filled(part, values) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, values) for part in value]
    if not isinstance(value, str):
        return value
    if (whole := _PLACE.fullmatch(value)) and whole[1] in values:
        return values[whole[1]]
    return _PLACE.sub(lambda m: str(values.get(m[1], m[0])), value)
