"""
Any HTTP endpoint, by a TOML file, which docs/audiences.md shows.

``{name}`` stands for a value of the request, ``${NAME}`` for a variable of the
environment: no secret is in the file. Every request has its key in the header
Idempotency-Key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import msgspec
import requests
from msgspec import UNSET, Meta

from offline.audience.posting import ADD, REMOVE, File, Poster, Request, check_url
from offline.audience.selection import Member
from propensity.errors import RequestError, SettingsError, Unavailable

_PLACE = re.compile(r"(\$?)\{(\w+)\}")
Method = Literal["POST", "PUT", "PATCH", "DELETE"]


class Removal(msgspec.Struct, forbid_unknown_fields=True):
    """How users are taken off the list, where it differs from adding them."""

    url: str | msgspec.UnsetType = UNSET
    method: Method | msgspec.UnsetType = UNSET
    body: Any = UNSET


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """Where an answer lists the users whom it rejects."""

    rejected: str
    user: str = "user_id"
    reason: str = "reason"


class HttpFile(File, tag="http", kw_only=True):
    """The file of the destination."""

    url: str
    method: Method = "POST"
    batch: Annotated[int, Meta(ge=1, le=100_000)] = 100
    headers: dict[str, str] = {}
    body: Any = msgspec.field(default_factory=lambda: {"users": "{users}"})
    user: Any = "{user_id}"
    remove: Removal | None = None
    answer: Answer | None = None


def filled(value: Any, values: Mapping[str, Any], variables: Mapping[str, str]) -> Any:
    """
    Return a template with its values; a text that is one place keeps its type.

    Raises:
        RequestError: A place is unknown.
        SettingsError: A variable is not set.
    """

    def found(match: re.Match[str]) -> Any:
        name = match[2]
        if match[1] and not variables.get(name):
            raise SettingsError(
                f"the destination needs the variable {name}, which is not set",
                field=name,
                is_missing=True,
            )
        if not match[1] and name not in values:
            known = ", ".join(values) or "variables of the environment"
            raise RequestError(
                f"the destination's file has {{{name}}} where only {known} can stand",
                field="to",
            )
        return variables[name] if match[1] else values[name]

    if isinstance(value, Mapping):
        return {key: filled(part, values, variables) for key, part in value.items()}
    if isinstance(value, list):
        return [filled(part, values, variables) for part in value]
    if not isinstance(value, str):
        return value
    if whole := _PLACE.fullmatch(value):
        return found(whole)
    return _PLACE.sub(lambda match: str(found(match)), value)


class Http:
    """An endpoint that a file describes."""

    def __init__(self, file: HttpFile, *, variables: Mapping[str, str]) -> None:
        """
        Raises:
            RequestError: The file cannot be filled in, or names no users.
            SettingsError: A variable that it names is not set.
        """
        self.name, self.batch, self.at_once = file.name, file.batch, file.at_once
        self.actions: Sequence[str] = (REMOVE, ADD) if file.remove else (ADD,)
        self._variables = variables
        self._answer = file.answer
        template = {"method": file.method, "url": file.url, "body": file.body}
        template |= {"headers": file.headers, "user": file.user}
        removal = msgspec.to_builtins(file.remove) or {}
        self._templates = {ADD: template, REMOVE: template | removal}
        self._check()
        secrets = re.findall(r"\$\{(\w+)\}", json.dumps(self._templates))
        self._poster = Poster(file, secrets=[variables[name] for name in secrets])

    def problems(self, members: Sequence[Member]) -> Mapping[str, str]:
        """Return nobody: the endpoint itself rejects users."""
        return {}

    def send(self, request: Request) -> Mapping[str, str]:
        """Send users; return those whom the answer rejects, with reasons."""
        filled_in = self._filled(request, key=request.key)
        own = {"Content-Type": "application/json", "Idempotency-Key": request.key}
        answer = self._poster.send(
            filled_in["method"],
            filled_in["url"],
            body=json.dumps(filled_in["body"]),
            headers=own | filled_in["headers"],
        )
        return self._rejected(answer, request)

    def _filled(self, request: Request, *, key: str) -> dict[str, Any]:
        template = dict(self._templates[request.action])
        user = template.pop("user")
        same = {
            "use_case": request.use_case,
            "audience": request.audience,
            "as_of": str(request.as_of),
            "action": request.action,
        }
        users = []
        for member in request.members:
            own = {"user_id": member.user_id, "probability": member.probability}
            users.append(filled(user, same | own, self._variables))
        same["key"] = key
        headers = filled(template.pop("headers"), same, self._variables)
        of_request = filled(template, {**same, "users": users}, self._variables)
        return {**of_request, "headers": headers}

    def _check(self) -> None:
        """
        Refuse requests that do not name their users, and removals that are additions.

        Otherwise the ledger would say that a receiver has accepted users whom it never
        heard of, or add those who are to leave.
        """
        request = Request(
            use_case="",
            audience="",
            as_of=date(2026, 1, 1),
            action=ADD,
            members=[Member("a", 0.5)],
            destination=self.name,
            chosen_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        other = replace(request, members=[Member("b", 0.5)])
        added = self._filled(request, key="")
        for action in self.actions:
            one = self._filled(replace(request, action=action), key="")
            problem = ""
            check_url(one["url"])
            if one == self._filled(replace(other, action=action), key=""):
                problem = "does not name its users: {users} or {user_id} is missing"
            elif action == REMOVE and one == added:
                problem = "is the same as to add them: give it a url, method or body"
            try:
                json.dumps(one, allow_nan=False)
            except (TypeError, ValueError) as error:
                problem = f"cannot be sent as JSON: {error}"
            if problem:
                raise RequestError(
                    f"{self.name}: the request to {action} users {problem}", field="to"
                )

    def _rejected(self, answer: requests.Response, request: Request) -> dict[str, str]:
        """
        Return the users whom an answer rejects.

        Raises:
            Unavailable: It is in another form, so nobody knows who was rejected.
        """
        shape, rejected = self._answer, {}
        if shape is None or not answer.content.strip():
            return {}
        try:
            for entry in (answer.json() or {}).get(shape.rejected) or []:
                named = entry if isinstance(entry, Mapping) else {shape.user: entry}
                reason = str(named.get(shape.reason) or "rejected")
                rejected[str(named[shape.user])] = self._poster.excerpt(reason)
        except (AttributeError, KeyError, TypeError, ValueError):
            rejected = {"": ""}
        if rejected.keys() - {member.user_id for member in request.members}:
            raise Unavailable(
                f"{self.name} answers in another form than [answer] in the "
                "destination's file says, so nobody knows who was rejected"
            )
        return rejected
