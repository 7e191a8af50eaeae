"""
Any HTTP endpoint, by a template.

    kind = "http"
    name = "crm"
    url = "https://crm.example.com/lists/{audience}"
    batch = 100
    rate = 10
    [headers]
    Authorization = "Bearer ${CRM_TOKEN}"
    [body]
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

``{name}`` stands for a value of the request, ``${NAME}`` for a variable of the
environment: no secret is in the file. Every request has its key in the header
Idempotency-Key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from offline.audience.posting import Poster
from offline.audience.requests import ADD, REMOVE, Request
from offline.audience.selection import Member
from offline.audience.templates import (
    check_places,
    check_url,
    checked,
    fail,
    filled,
    number,
    secrets,
)
from propensity.errors import Unavailable

OF_REQUEST = ("use_case", "audience", "as_of", "action", "key", "users")
OF_USER = ("use_case", "audience", "as_of", "action", "user_id", "probability")
METHODS = ("POST", "PUT", "PATCH", "DELETE")


class Http:
    """An endpoint that a template describes."""

    _defaults: Mapping[str, Any] = {
        "kind": "http",
        "name": "",
        "url": "",
        "method": "POST",
        "batch": 100,
        "rate": 10.0,
        "at_once": 1,
        "headers": {},
        "body": {"users": "{users}"},
        "user": "{user_id}",
        "remove": {},
        "answer": {},
    }

    def __init__(
        self,
        template: Mapping[str, Any],
        *,
        poster: Callable[..., Poster] = Poster,
        variables: Mapping[str, str] = os.environ,
    ) -> None:
        """
        Check a template.

        Raises:
            RequestError: It is wrong; the message says where.
            SettingsError: A variable that it names is not set.
        """
        values = checked(template, self._defaults, variables)
        self.name: str = values["name"]
        self.batch: int = number(values, "batch", 1, 100_000)
        self.at_once: int = number(values, "at_once", 1, 64)
        self.actions: Sequence[str] = (REMOVE, ADD) if "remove" in template else (ADD,)
        self._template = values
        for field, holder in (("", values), ("remove.", values["remove"])):
            if holder.get("method", "POST") not in METHODS:
                fail(f"{field}method", f"is one of {', '.join(METHODS)}")
            if "url" in holder:
                check_url(f"{field}url", holder["url"])
        if "answer" in template and not values["answer"].get("rejected"):
            fail("answer.rejected", "is missing: where the answer lists users")
        check_places("user", template.get("user", ""), OF_USER)
        for name in ("url", "body", "remove"):
            check_places(name, template.get(name, ""), OF_REQUEST)
        check_places("headers", values["headers"], OF_REQUEST[:-1])
        self._check_requests()
        self._poster = poster(
            rate=number(values, "rate", 0, 10_000),
            at_once=self.at_once,
            secrets=secrets(template, variables),
        )

    def problems(self, members: Sequence[Member]) -> Mapping[str, str]:
        """Return nobody: the endpoint itself rejects users."""
        return {}

    def send(self, request: Request) -> Mapping[str, str]:
        """Send users; return those whom the answer rejects, with reasons."""
        method, url, body, headers = self._written(
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
            is_json=bool(self._template["answer"]),
        )
        return self._rejected(answer, request)

    def close(self) -> None:
        """Close the connections."""
        self._poster.close()

    def _written(
        self, action: str, members: Sequence[Member], **common: Any
    ) -> tuple[str, str, str, dict[str, str]]:
        """Return method, address, body and headers of a request."""
        template = dict(self._template)
        if action == REMOVE:
            template |= template["remove"]
        common |= {"action": action}
        users = [
            filled(
                template["user"],
                common | {"user_id": m.user_id, "probability": m.probability},
            )
            for m in members
        ]
        values = common | {"users": users}
        return (
            template["method"],
            str(filled(template["url"], values)),
            json.dumps(filled(template["body"], values)),
            {name: str(filled(v, common)) for name, v in template["headers"].items()},
        )

    def _check_requests(self) -> None:
        """
        Refuse requests that do not name their users, and removals that are additions.

        Otherwise the ledger would say that a receiver has accepted users whom it never
        heard of, or add those who are to leave.
        """
        values = dict.fromkeys(OF_REQUEST[:3] + ("key",), "")
        for action in self.actions:
            one, other = (
                self._written(action, [Member(user, 0.5)], **values) for user in "ab"
            )
            if one == other:
                field = "remove" if action == REMOVE else "body"
                fail(field, "has no users: {users} or {user_id} is missing")
        add, remove = (
            self._written(action, [Member("a", 0.5)], **values)
            for action in (ADD, REMOVE)
        )
        if REMOVE in self.actions and add == remove:
            fail(
                "remove",
                "is the same request as an addition: give it a method, url or body of "
                "its own, or use {action}",
            )

    def _rejected(self, answer: Any, request: Request) -> dict[str, str]:
        shape = self._template["answer"]
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
        user_key, reason_key = (
            shape.get("user", "user_id"),
            shape.get("reason", "reason"),
        )
        if isinstance(listed, Mapping):  # reasons by user
            listed = [{user_key: u, reason_key: why} for u, why in listed.items()]
        known = {member.user_id for member in request.members}
        rejected = {}
        for entry in listed if isinstance(listed, list) else [listed] if listed else []:
            user, reason = entry, "rejected"
            if isinstance(entry, Mapping):
                user = entry.get(user_key)
                reason = str(entry.get(reason_key) or reason)
            if str(user) not in known:
                raise Unavailable(
                    f"{self.name} lists somebody under {shape['rejected']} who is not "
                    "in the request, so nobody knows who was rejected: see user under "
                    "[answer] in the destination's file"
                )
            rejected[str(user)] = self._poster.excerpt(reason)
        return rejected
