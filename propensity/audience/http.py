"""
Any HTTP endpoint, by a TOML file, which docs/destinations.md shows.

Every request has its key in the header Idempotency-Key.

No answer, 408, 425, 429 and 5xx may be tried again, after a pause that the receiver may
ask for. Every try is the same, down to its idempotency key.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
import requests
from msgspec import Meta
from urllib3 import Retry
from urllib3.exceptions import InvalidHeader

from propensity.audience.destination import (
    ADD,
    REMOVE,
    Destination,
    Refused,
    Request,
    Sent,
    Unanswered,
)
from propensity.audience.members import Member
from propensity.audience.templates import MADE, filled, secrets_in, values_in
from propensity.errors import AccessDenied, Unavailable
from propensity.gcp.artifacts import sha256
from propensity.pages.words import cleaned

TIMEOUT_S = (10.0, 60.0)
REPEATED = frozenset({408, 425, 429, *range(500, 600)})
# They are about the request's users; all other refusals are about the receiver.
REFUSED = frozenset({400, 409, 413, 422})
REASON_CHARACTERS = 200
_EMAIL = re.compile(r"[^\s\"'<>(),;:=]{1,64}(?:@|%40)[^\s\"'<>(),;:=@]+", re.IGNORECASE)
# Nothing goes in the clear but to this machine. To some clients the host is what stands
# before a backslash.
URL = r"^(https://[\w.-]+|http://127\.0\.0\.1)(:\d+)?([/?][!-\[\]-~]*)?\Z"
REQUEST_VALUES = tuple(name for name in MADE if name != "user_key")
# Control characters, and what is not in Latin-1.
NO_HEADER = re.compile(r"[^ -~\u00a0-\u00ff]")
# A warning of it may print the whole address, which may have a secret.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
Method = Literal["POST", "PUT", "PATCH", "DELETE"]


class File(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What the files of all receivers have."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^(?!bucket$)[!-~][ -~]{0,63}\Z",
            description="up to 64 ASCII characters, and not bucket",
        ),
    ]


class Removal(msgspec.Struct, forbid_unknown_fields=True):
    """How users are taken off the list, where it differs from adding them."""

    url: str | None = None
    method: Method | None = None
    body: Any = None


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """
    Where an answer lists the users whom it rejects.

    Attributes:
        by: What an entry names a user by: ``user_id``, a column of the audience, or
            ``index``, the user's place in the request from 0 on.
    """

    rejected: str
    user: str = "user_id"
    reason: str = "reason"
    by: str = "user_id"


class HttpFile(File, tag="http", kw_only=True):
    """
    The file of an endpoint; ``${NAME}`` is filled in by each request.

    Attributes:
        rate: Requests a second, at most; 0 for any number.
    """

    url: str
    rate: Annotated[float, Meta(ge=0, le=10_000)] = 10.0
    method: Method = "POST"
    batch: Annotated[int, Meta(ge=1, le=100_000)] = 100
    headers: dict[str, str] = {}
    body: Any = msgspec.field(default_factory=lambda: {"users": "{users}"})
    user: Any = "{user_id}"
    remove: Removal | None = None
    answer: Answer | None = None


def concealed(words: str, secrets: Collection[str]) -> str:
    """Return a text without secrets."""
    for secret in secrets:
        words = words.replace(secret, "(a secret)")
    return words


def pause_of(retry_after: str) -> float:
    """Return the seconds of a header Retry-After, rounded up; 0 where it has none."""
    with contextlib.suppress(ValueError, OverflowError):
        retry_after = str(max(0, math.ceil(float(retry_after))))
    try:
        return Retry().parse_retry_after(retry_after)
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0


def _words(answer: requests.Response) -> bytes | None:
    """Return the body of an answer; None if it is cut short or encoded otherwise."""
    try:
        return answer.content
    except (requests.RequestException, ValueError):
        return None
    finally:
        answer.close()


def _check_url(url: str) -> None:
    """Raise ValueError for an address that nothing can be sent to."""
    if not re.match(URL, url):
        raise ValueError(
            "url must start with https://, contain no spaces, and have no "
            "{placeholder} in its host name"
        )
    try:
        requests.Request("POST", url).prepare()
        str(urlsplit(url).hostname).encode("idna")
    except ValueError:
        raise ValueError("url has a host name or a port that cannot exist") from None


def _user_key(values: Mapping[str, object], user_id: str) -> str:
    """Return a key of a user in a request: the same whenever it is sent."""
    parts = [str(values[name]) for name in ("use_case", "audience", "as_of", "action")]
    return sha256(json.dumps([parts, user_id]).encode())[:32]


class Http(Destination):
    """An endpoint that a file describes."""

    def __init__(
        self,
        file: HttpFile,
        variables: Mapping[str, str],
        *,
        columns: Sequence[str] = (),
    ) -> None:
        """
        Args:
            variables: Secrets, by ``$`` and name; no message has a value.

        Raises:
            ValueError: The file cannot be filled in, names no users, or would add those
                who are to be removed.
        """
        self.name, self.batch = file.name, file.batch
        self.rate = file.rate
        form = (file.url, file.method, file.headers, file.body, file.user, file.remove)
        self.form = sha256(msgspec.json.encode(form))
        self.actions: Sequence[str] = (REMOVE, ADD) if file.remove else (ADD,)
        self._file, self._variables = file, variables
        self._columns = columns
        named = values_in([file.user, file.body])
        if "user_id" not in named:
            self.known_by = [column for column in columns if column in named]
        known = json.dumps(dict.fromkeys(columns, "somebody"))
        somebody = [Member("somebody", 0.5, 50, 1.0, attributes=known)]
        if taken := {*columns} & {*MADE, "users", "index"}:
            name = min(taken)
            raise ValueError(
                f"{{{name}}} is a value of every request: rename the column {name}"
            )
        by = file.answer.by if file.answer else "user_id"
        if by not in {"index", "user_id", *columns}:
            raise ValueError(f"[answer] has by = {by!r}, but no column of this name")
        # A host must not contain this mark, because it must not depend on a value.
        unknown = dict.fromkeys(REQUEST_VALUES, "{}")
        samples = [self._parts(of, somebody, unknown) for of in self.actions]
        for _, url, _, headers in samples:
            _check_url(url)
            self._check_headers(headers)
        if any(b"somebody" not in body for _, _, body, _ in samples):
            raise ValueError("body must contain {users} and {user_id}")
        if samples[0] in samples[1:]:
            raise ValueError(
                "[remove] would send the same request as adding users. Give it another "
                "method or url"
            )
        self._session = requests.Session()

    def send(self, request: Request) -> Sent:
        """
        Send users; return those whom the answer rejects, with reasons.

        Raises:
            Refused: ``REFUSED``: the request's users are at fault.
            Unanswered: No answer, or ``REPEATED``.
            AccessDenied: A redirection or another refusal: nothing will be taken.
            Unavailable: The answer is in another form.
        """
        of = request.audience
        places: dict[str, object] = {name: str(value) for name, value in of.key.items()}
        places["key"] = request.key
        places["chosen_micros"] = int(of.chosen_at.timestamp() * 1_000_000)
        places["chosen_s"] = int(of.chosen_at.timestamp())
        method, url, body, own = self._parts(request.action, request.members, places)
        headers = {"Content-Type": "application/json", "Idempotency-Key": request.key}
        words = self._answer(method, url, body, headers | own)
        return Sent(self._rejected(words, request))

    def _parts(
        self, action: str, members: Sequence[Member], places: Mapping[str, object]
    ) -> tuple[str, str, bytes, dict[str, str]]:
        """Return method, url, body and headers of a request."""
        file, values = self._file, {**self._variables, **places, "action": action}
        other = file.remove if file.remove and action == REMOVE else Removal()
        each = []
        for member in members:
            user_key = _user_key(values, member.user_id)
            each.append(values | self._values(member) | {"user_key": user_key})
        # A body of one user may name it.
        of_body = each[0] if file.batch == 1 else values
        users = {"users": [filled(file.user, one) for one in each]}
        return (
            other.method or file.method,
            filled(other.url or file.url, values),
            msgspec.json.encode(filled(other.body or file.body, of_body | users)),
            {name: f"{filled(text, values)}" for name, text in file.headers.items()},
        )

    def _check_headers(self, headers: Mapping[str, str]) -> None:
        """Raise ValueError for a header that cannot be sent, without its value."""
        for name, value in headers.items():
            bad = NO_HEADER.search(value)
            if bad is None:
                continue
            template, advice = self._file.headers[name], "Correct the header"
            for secret in sorted(secrets_in(template)):
                if NO_HEADER.search(self._variables[f"${secret}"]):
                    advice = f"It is in the secret {secret}: add its value again"
            raise ValueError(
                f"headers.{name} contains the character U+{ord(bad[0]):04X}, which no "
                f"header may contain. {advice}"
            )

    def _values(self, member: Member) -> dict[str, object]:
        """Return a member's values by the names of their places."""
        # A member of an earlier date, who is to be removed, may lack a column.
        return {**dict.fromkeys(self._columns), **member.values}

    def _answer(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str]
    ) -> bytes | None:
        """Send a request; return the answer's words, None if none are readable."""
        # Messages name the host alone: the rest may be a secret.
        host = str(urlsplit(url).hostname)
        try:
            answer = self._session.request(
                method,
                url,
                data=body,
                headers=headers,
                # Given one, requests does not take a password from ~/.netrc.
                auth=lambda request: request,
                timeout=TIMEOUT_S,
                allow_redirects=False,
                # The status says whether users were taken, whatever follows it.
                stream=True,
            )
        except (requests.RequestException, ValueError) as error:
            raise Unanswered(host, type(error).__name__) from None
        words = _words(answer)
        if answer.status_code in REPEATED:
            asked = answer.headers.get("Retry-After", "")
            status = f"status {answer.status_code}"
            raise Unanswered(host, status, pause_s=pause_of(asked))
        if not 200 <= answer.status_code < 300:
            said = (words or b"").decode(errors="replace")
            reason = f"{answer.status_code} {self._excerpt(said)}".strip()
            if answer.status_code in REFUSED:
                raise Refused(reason)
            raise AccessDenied(f"{host} answers {reason}")
        return words

    def _rejected(self, words: bytes | None, request: Request) -> dict[str, str]:
        """
        Return the users whom an answer rejects.

        Raises:
            Unavailable: It is in another form, so the rejected users are unknown.
        """
        shape = self._file.answer
        if shape is None or words is not None and not words.strip():
            return {}
        rejected: dict[str, str] = {}
        by = shape.by
        # Several users may have one address.
        users = defaultdict[str, list[str]](list)
        for index, one in enumerate(request.members):
            values = {"index": index} | self._values(one)
            users[str(values[by])].append(one.user_id)
        users.default_factory = None
        try:
            entries = (json.loads(words or b"") or {}).get(shape.rejected) or []
            if not isinstance(entries, list):
                raise TypeError
            for entry in entries:
                named = entry if isinstance(entry, Mapping) else {shape.user: entry}
                reason = self._excerpt(str(named.get(shape.reason) or ""))
                for user in users[str(named[shape.user])]:
                    rejected[user] = reason or "rejected"
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            raise Unavailable(
                f"{self.name} answers in another form than [answer] in the "
                "destination's file, so the rejected users are unknown",
                hint="Correct [answer]",
            ) from None
        return rejected

    def _excerpt(self, words: str) -> str:
        """Return the beginning of a receiver's words, without addresses and secrets."""
        words = concealed(words, self._variables.values())
        # Neither tables nor terminals take all characters of a receiver's words.
        line = " ".join(str(cleaned(words[: 2 * REASON_CHARACTERS])).split())
        return _EMAIL.sub("(an address)", line)[:REASON_CHARACTERS]
