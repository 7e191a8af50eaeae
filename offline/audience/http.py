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
        self.name, self.batch = file.name, file.batch
        self.actions: Sequence[str] = (REMOVE, ADD) if file.remove else (ADD,)
        self._variables = variables
        self._answer = file.answer
        template = {"method": file.method, "url": file.url, "body": file.body}
        template |= {"headers": file.headers, "user": file.user}
        removal = msgspec.to_builtins(file.remove) or {}
        self._templates = {ADD: template, REMOVE: template | removal}
        for action in self.actions:
            self._check(action)
        secrets = re.findall(r"\$\{(\w+)\}", json.dumps(self._templates))
        self._poster = Poster(file, secrets=[variables[name] for name in secrets])

    def send(self, request: Request) -> Mapping[str, str]:
        """Send users; return those whom the answer rejects, with reasons."""
        of = {
            "use_case": request.audience.use_case,
            "audience": request.audience.name,
            "as_of": str(request.audience.as_of),
        }
        one = self._filled(request.action, request.members, of, key=request.key)
        own = {"Content-Type": "application/json", "Idempotency-Key": request.key}
        answer = self._poster.send(
            one["method"],
            one["url"],
            body=json.dumps(one["body"]),
            headers=own | one["headers"],
        )
        return self._rejected(answer, request)

    def _filled(
        self,
        action: str,
        members: Sequence[Member],
        of: Mapping[str, str],
        *,
        key: str,
    ) -> dict[str, Any]:
        template = dict(self._templates[action])
        user, headers = template.pop("user"), template.pop("headers")
        same = {**of, "action": action}
        users = []
        for member in members:
            own = {"user_id": member.user_id, "probability": member.probability}
            users.append(filled(user, same | own, self._variables))
        same["key"] = key
        of_request = filled(template, {**same, "users": users}, self._variables)
        return {**of_request, "headers": filled(headers, same, self._variables)}

    def _check(self, action: str) -> None:
        """
        Refuse requests that do not name their users, and removals that are additions.

        Otherwise the ledger would say that a receiver has accepted users whom it never
        heard of, or add those who are to leave.
        """
        of = dict.fromkeys(("use_case", "audience", "as_of"), "")
        one = self._filled(action, [Member("somebody", 0.5)], of, key="")
        check_url(one["url"])
        problem = ""
        try:
            if "somebody" not in json.dumps([one["url"], one["body"]], allow_nan=False):
                problem = "does not name its users: {users} or {user_id} is missing"
        except (TypeError, ValueError) as error:
            problem = f"cannot be sent as JSON: {error}"
        added = self._filled(ADD, [Member("somebody", 0.5)], of, key="")
        if action == REMOVE and one == added:
            problem = "is the same as to add them: give it a url, method or body"
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
                reason = self._poster.excerpt(str(named.get(shape.reason) or ""))
                rejected[str(named[shape.user])] = reason or "rejected"
        except (AttributeError, KeyError, TypeError, ValueError):
            rejected = {"": ""}
        if rejected.keys() - {member.user_id for member in request.members}:
            raise Unavailable(
                f"{self.name} answers in another form than [answer] in the "
                "destination's file says, so nobody knows who was rejected"
            )
        return rejected
