"""
Any HTTP endpoint, by a TOML file, which docs/audiences.md shows.

``{name}`` stands for a value of the request, and ``${NAME}`` for a variable of the
environment; both are filled in at once, so that no value is taken for a place. Every
request has its key in the header Idempotency-Key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, NoReturn

import msgspec
import requests
from msgspec import Meta

from offline.audience.posting import ADD, REMOVE, URL, File, Poster, Request
from offline.audience.selection import Member
from propensity.errors import RequestError, SettingsError, Unavailable

PLACE = re.compile(r"\$?\{(\w+)\}")
PLACES = ("use_case", "audience", "as_of", "key", "chosen_micros")
Method = Literal["POST", "PUT", "PATCH", "DELETE"]


class Removal(msgspec.Struct, forbid_unknown_fields=True):
    """How users are taken off the list, where it differs from adding them."""

    url: str | None = None
    method: Method | None = None
    body: Any = None


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """Where an answer lists the users whom it rejects."""

    rejected: str
    user: str = "user_id"
    reason: str = "reason"


class HttpFile(File, tag="http", kw_only=True):
    """The file of the destination; its url is checked once it is filled in."""

    url: str
    method: Method = "POST"
    batch: Annotated[int, Meta(ge=1, le=100_000)] = 100
    headers: dict[str, str] = {}
    body: Any = msgspec.field(default_factory=lambda: {"users": "{users}"})
    user: Any = "{user_id}"
    remove: Removal | None = None
    answer: Answer | None = None


def filled(
    value: Any, place: re.Pattern[str], found: Callable[[re.Match[str]], Any]
) -> Any:
    """Return a template with its values; a text that is one place keeps their type."""
    if isinstance(value, Mapping):
        return {key: filled(part, place, found) for key, part in value.items()}
    if isinstance(value, list):
        return [filled(part, place, found) for part in value]
    if not isinstance(value, str):
        return value
    if whole := place.fullmatch(value):
        return found(whole)
    return place.sub(lambda match: str(found(match)), value)


def unset(place: re.Match[str]) -> NoReturn:
    """Raise SettingsError: the variable that a place names is not set."""
    raise SettingsError(
        f"the destination needs the variable {place[1]}, which is not set",
        field=place[1],
    )


class Http:
    """An endpoint that a file describes."""

    def __init__(
        self,
        file: HttpFile,
        *,
        secrets: Collection[str],
        variable: Callable[[re.Match[str]], str] = unset,
    ) -> None:
        """
        Args:
            secrets: What no message may name, with the variables so far.
            variable: Returns the variable of the environment that a place names.

        Raises:
            RequestError: The file cannot be filled in, names no users, or would add
                those who are to be removed.
        """
        self.name, self.batch = file.name, file.batch
        self.actions: Sequence[str] = (REMOVE, ADD) if file.remove else (ADD,)
        self._file, self._variable = file, variable
        self._poster = Poster(file, secrets=secrets)
        somebody = [Member("somebody", 0.5)]
        # No host may contain that: it must not depend on a value.
        unknown = dict.fromkeys(PLACES, "{}")
        samples = [self._parts(of, somebody, unknown) for of in self.actions]
        problem = ""
        if not all(re.match(URL, url) for _, url, _, _ in samples):
            problem = "a url is not https, its host has a place, or it has a blank"
        elif any(b"somebody" not in body for _, _, body, _ in samples):
            problem = "a body does not name its users by {users} and {user_id}"
        elif samples[0] in samples[1:]:
            problem = "to remove users is the same as to add them: change [remove]"
        if problem:
            raise RequestError(f"{file.name}: {problem}", field="to")

    def send(self, request: Request) -> Mapping[str, str]:
        """Send users; return those whom the answer rejects, with reasons."""
        of = request.audience
        same: dict[str, Any] = {name: str(value) for name, value in of.key.items()}
        same["key"] = request.key
        same["chosen_micros"] = int(of.chosen_at.timestamp() * 1_000_000)
        method, url, body, headers = self._parts(request.action, request.members, same)
        headers = {"Idempotency-Key": request.key, **headers}
        answer = self._poster.send(method, url, body=body, headers=headers)
        return self._rejected(answer, request)

    def _parts(
        self, action: str, members: Sequence[Member], same: Mapping[str, Any]
    ) -> tuple[str, str, bytes, dict[str, str]]:
        """Return method, url, body and headers of a request."""
        file = self._file
        other = file.remove if file.remove and action == REMOVE else Removal()
        values: dict[str, Any] = {**same, "action": action}

        def found(place: re.Match[str]) -> Any:
            name = place[1]
            if place[0].startswith("$"):
                return self._variable(place)
            if name not in values:
                raise RequestError(
                    f"{file.name}: {{{name}}} stands where only {', '.join(values)} "
                    "can",
                    field="to",
                )
            return values[name]

        headers = filled(file.headers, PLACE, found)
        url = filled(other.url or file.url, PLACE, found)
        users = []
        for member in members:
            values |= {"user_id": member.user_id, "probability": member.probability}
            users.append(filled(file.user, PLACE, found))
        # A body of one user may name it.
        one = values if file.batch == 1 else {}
        values = {**one, **same, "action": action, "users": users}
        body = msgspec.json.encode(filled(other.body or file.body, PLACE, found))
        return other.method or file.method, url, body, headers

    def _rejected(self, answer: requests.Response, request: Request) -> dict[str, str]:
        """
        Return the users whom an answer rejects.

        Raises:
            Unavailable: It is in another form, so nobody knows who was rejected.
        """
        shape, rejected = self._file.answer, {}
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
