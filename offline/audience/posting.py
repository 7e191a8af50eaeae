"""
A request of an audience's users, and how it is repeated until a receiver answers.

No answer, 408, 425, 429 and 5xx are tried again, after pauses that double or that the
receiver asks for. Every try is the same, down to its idempotency key.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Protocol
from urllib.parse import urlsplit

import msgspec
import requests
from msgspec import Meta
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from offline.audience.members import Audience
from offline.audience.selection import Member
from propensity.errors import AccessDenied, Unavailable
from propensity.pages.words import cleaned

ADD, REMOVE = "add", "remove"
TIMEOUT_S = (10.0, 60.0)
TRIES = 8
LONGEST_PAUSE_S = 900
REPEATED = frozenset({408, 425, 429, *range(500, 600)})
# They are about the request's users; all other refusals are about the receiver.
REFUSED = frozenset({400, 409, 413, 422})
REASON_CHARACTERS = 200
_EMAIL = re.compile(r"[^\s\"'<>(),;:=]{1,64}(?:@|%40)[^\s\"'<>(),;:=@]+", re.IGNORECASE)
# Nothing goes in the clear but to this machine. To some clients the host is what is
# before a backslash.
URL = r"^(https://[\w.-]+|http://127\.0\.0\.1)(:\d+)?([/?][!-\[\]-~]*)?\Z"


class Refused(Exception):
    """The receiver will never take this request; the message is its reason."""


@dataclass(frozen=True)
class Request:
    """
    Users who are sent at once, to be added to a list or removed from it.

    Attributes:
        recorded_as: The key under which the ledger has these users as pending.
    """

    audience: Audience
    destination: str
    action: str
    members: Sequence[Member]
    recorded_as: str = ""

    @cached_property
    def key(self) -> str:
        """The idempotency key: the same for the same users, however often sent."""
        users = [member.user_id for member in self.members]
        named = map(str, self.audience.key.values())
        parts = (*named, self.action, self.destination, users)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


class Destination(Protocol):
    """
    A receiver of users.

    Attributes:
        name: In the ledger.
        batch: Users in a request, at most.
        actions: ``add``, and ``remove`` where it can take users off its list.
    """

    name: str
    batch: int
    actions: Sequence[str]

    def send(self, request: Request) -> Mapping[str, str]:
        """
        Send users; return the reason of each who was rejected.

        Raises:
            Refused: All of them, for one reason.
            Unavailable: Nobody knows; the same request may be sent again.
        """
        ...


Url = Annotated[str, Meta(pattern=URL)]


class File(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What the files of all receivers have; ``rate`` is 0 for any."""

    name: Annotated[str, Meta(pattern=r"^(?!bucket$)[!-~][ -~]*$", max_length=64)]
    url: Url
    rate: Annotated[float, Meta(ge=0, le=10_000)] = 10.0


def concealed(words: str, secrets: Iterable[str]) -> str:
    """Return a text without secrets."""
    for secret in secrets:
        words = words.replace(secret, "(a secret)")
    return words


class Poster:
    """Sends requests one after the other, at a rate."""

    first_pause_s = 0.5

    def __init__(self, file: File, *, secrets: Collection[str]) -> None:
        """
        Args:
            secrets: Texts that are left out where a receiver's words have them.
        """
        retry = Retry(
            total=TRIES - 1,
            redirect=0,
            allowed_methods=None,
            status_forcelist=REPEATED,
            backoff_factor=self.first_pause_s,
            backoff_max=60,
            backoff_jitter=self.first_pause_s,
            retry_after_max=LONGEST_PAUSE_S,
            raise_on_status=False,
        )
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))
        self._gap_s = 1.0 / file.rate if file.rate else 0.0
        self._due = 0.0
        self._secrets = secrets

    def send(
        self, method: str, url: str, *, body: bytes, headers: Mapping[str, str]
    ) -> requests.Response:
        """
        Send a request of JSON; return its answer.

        Raises:
            Refused: ``REFUSED``: the request's users are at fault.
            AccessDenied: A redirection or another refusal: nothing will be taken.
            Unavailable: No answer after all tries.
        """
        # Messages name the host alone: the rest may be a secret.
        host = urlsplit(url).hostname
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = time.monotonic() + self._gap_s
        try:
            answer = self._session.request(
                method,
                url,
                data=body,
                headers={"Content-Type": "application/json", **headers},
                # Given one, requests does not take a password from ~/.netrc.
                auth=lambda request: request,
                timeout=TIMEOUT_S,
                allow_redirects=False,
            )
            failure = f"status {answer.status_code}"
        except (requests.RequestException, ValueError) as error:
            answer, failure = None, type(error).__name__
        if answer is None or answer.status_code in REPEATED:
            raise Unavailable(
                f"{host} took nothing in {TRIES} tries, at last {failure}. What was "
                "answered is in the ledger; the same command goes on from there"
            )
        if not answer.ok or answer.is_redirect:
            reason = f"{answer.status_code} {self.excerpt(answer.text)}".strip()
            if answer.status_code in REFUSED:
                raise Refused(reason)
            raise AccessDenied(f"{host} answers {reason}")
        return answer

    def excerpt(self, words: str) -> str:
        """Return the beginning of a receiver's words, without addresses and secrets."""
        words = concealed(words, self._secrets)
        # What neither a table nor a terminal takes is cleaned away.
        line = " ".join(str(cleaned(words[: 2 * REASON_CHARACTERS])).split())
        return _EMAIL.sub("(an address)", line)[:REASON_CHARACTERS]
