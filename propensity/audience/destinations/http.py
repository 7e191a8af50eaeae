"""
Any HTTP endpoint, by a TOML file, which docs/destinations.md shows.

Every request has its key in the header Idempotency-Key.

No answer, 408, 425, 429 and 5xx may be tried again, after a pause that the receiver may
ask for. Every try is the same, down to its idempotency key.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec
import requests
from msgspec import Meta

from propensity.audience.destinations.answers import URL, Answer, answer_to
from propensity.audience.destinations.destination import (
    ADD,
    REMOVE,
    Destination,
    DestinationFile,
    Refused,
    Request,
    Sent,
    Stopped,
    Unanswered,
    check_age,
)
from propensity.audience.destinations.forms import Codes, Form, one_line
from propensity.audience.destinations.values import (
    MADE,
    concealed,
    filled,
    known_as,
    of_json,
    secrets_in,
    texts_of,
    values_in,
)
from propensity.audience.members import Member
from propensity.clock import SYSTEM, Clock
from propensity.errors import AccessDenied, Unavailable
from propensity.gcp.artifacts import sha256
from propensity.registry.deployment import Deployment

REPEATED = frozenset({408, 425, 429}.union(range(500, 600)))
# They are about the request's users; all other refusals are about the receiver.
REFUSED = frozenset({400, 409, 413, 422})
# Some users were taken, and others were not.
IN_PART = 207
REQUEST_VALUES = tuple(name for name in MADE if name != "user_key")
# Every request has these of our own.
_OWN = "accept-encoding content-length host idempotency-key transfer-encoding"
OWN_HEADERS = frozenset(_OWN.split())
# What an address does not have as it is: blanks, other letters, and a % of no escape.
NO_ADDRESS = re.compile(r"%(?![0-9A-Fa-f]{2})|[^\w.~!$&'()*+,;=:@/?%-]", re.ASCII)
# A secret of an address has no mark either that parts of an address are divided by.
NO_SECRET = re.compile(rf"{NO_ADDRESS.pattern}|[&+]", re.ASCII)
# Control characters, and what is not in Latin-1.
NO_HEADER = re.compile(r"[^ -~\u00a0-\u00ff]")
_JSON = msgspec.json.Encoder(decimal_format="number")
Method = Literal["POST", "PUT", "PATCH", "DELETE"]


class Removal(msgspec.Struct, forbid_unknown_fields=True):
    """How users are taken off the list, where it differs from adding them."""

    url: str | None = None
    method: Method | None = None
    body: Any = None


class HttpFile(DestinationFile, tag="http", kw_only=True):
    """The file of an endpoint; ``${NAME}`` is filled in by each request."""

    url: str
    rate: Annotated[float, Meta(ge=0, le=10_000)] = 10.0
    method: Method = "POST"
    batch: Annotated[int, Meta(ge=1, le=100_000)] = 100
    headers: dict[str, str] = {}
    body: Any = msgspec.field(default_factory=lambda: {"users": "{users}"})
    user: Any = "{user_id}"
    remove: Removal | None = None
    answer: Form | None = None
    max_age_hours: Annotated[float, Meta(gt=0)] | None = None

    @classmethod
    def can_remove(cls, entries: Mapping[str, object]) -> bool:
        return "remove" in entries

    def opened(
        self,
        deployment: Deployment,
        variables: Mapping[str, str],
        *,
        columns: Sequence[str],
        clock: Clock,
    ) -> Destination:
        return Http(self, variables, columns=columns, clock=clock)

    def of(self, action: str) -> HttpFile:
        """Return the file of requests that add users, or that remove them."""
        if action == ADD:
            return self
        if self.remove is None:
            raise ValueError(f"{self.name} has no [remove]")
        changed = {}
        for name in ("url", "method", "body"):
            value = getattr(self.remove, name)
            if value is not None:
                changed[name] = value
        return msgspec.structs.replace(self, **changed)


def _sent_values(members: Sequence[Member], secrets: Iterable[str]) -> Iterator[str]:
    """Yield what a request may have of its users, and secrets."""
    yield from secrets
    for member in members:
        yield member.user_id
        if member.attributes is not None:
            yield from texts_of(of_json(member.attributes))


class HttpParts(NamedTuple):
    """The parts of a request over HTTP."""

    method: str
    url: str
    body: bytes
    headers: dict[str, str]


class Http(Destination):
    """An endpoint that a file describes."""

    def __init__(
        self,
        file: HttpFile,
        variables: Mapping[str, str],
        *,
        columns: Sequence[str] = (),
        clock: Clock = SYSTEM,
    ) -> None:
        self.name = file.name
        self.batch = file.batch
        self.rate = file.rate
        form = (file.url, file.method, file.headers, file.body, file.user, file.remove)
        self.form = sha256(msgspec.json.encode(form))
        self.actions: Sequence[str] = (REMOVE, ADD) if file.remove else (ADD,)
        self._file = file
        self._variables = variables
        self._columns = columns
        self._clock = clock
        named = values_in([file.user, file.body])
        sent = [column for column in columns if column in named]
        self.gets_ids_alone = not sent
        if "user_id" not in named:
            self.known_by = sent
        attributes = json.dumps(dict.fromkeys(columns, "somebody"))
        somebody = [Member("somebody", 0.5, 50, 1.0, attributes=attributes)]
        for name in sorted(columns):
            if name in MADE or name in {"users", "index"}:
                raise ValueError(
                    f"{{{name}}} is a value of every request: rename the column {name}"
                )
        by = file.answer.by if file.answer else "user_id"
        if by not in {"index", "user_id"} and by not in columns:
            raise ValueError(f"[answer] has by = {by!r}, but no column of this name")
        self._check_secrets_of_addresses()
        # A host must not contain this mark, because it must not depend on a value.
        unknown = dict.fromkeys(REQUEST_VALUES, "{}")
        samples = [self._parts(action, somebody, unknown) for action in self.actions]
        for sample in samples:
            if not re.match(URL, sample.url):
                raise ValueError(
                    "url must start with https://, contain no spaces, and have no "
                    "{placeholder} in its host name"
                )
            self._check_headers(sample.headers)
        if any(b"somebody" not in sample.body for sample in samples):
            raise ValueError("body must contain {users} and {user_id}")
        if samples[0] in samples[1:]:
            raise ValueError(
                "[remove] would send the same request as adding users. Give it another "
                "method or url"
            )
        self._session = requests.Session()

    def take_for_address(self, column: str) -> None:
        """Know users by a column: the file does not say which one is the address."""
        if not self.known_by or column in self.known_by:
            self.known_by = [column]

    @property
    def _names(self) -> Sequence[str]:
        """Columns of which a user needs one, so that the receiver knows who it is."""
        form = self._file.answer
        if form is None or form.by in {"index", "user_id"}:
            return self.known_by
        return [form.by]

    def send(self, request: Request) -> Sent:
        audience = request.audience
        if self._file.max_age_hours is not None:
            longest = timedelta(hours=self._file.max_age_hours)
            check_age(request, longest, receiver=self.name, now=self._clock.now())
        values: dict[str, object] = {}
        for name, value in audience.key.items():
            values[name] = str(value)
        values["key"] = request.key
        chosen_s = audience.chosen_at.timestamp()
        values["chosen_micros"] = int(chosen_s * 1_000_000)
        values["chosen_s"] = int(chosen_s)
        nameless = {}
        reachable = []
        for member in request.members:
            if not self._names or any(map(member.known_by, self._names)):
                reachable.append(member)
            else:
                nameless[member.key] = f"no {' and no '.join(self._names)}"
        if not reachable:
            return Sent(nameless)
        entries = self._entries(reachable, request.action, values)
        parts = self._parts(request.action, [members[0] for members in entries], values)
        about = {
            "Content-Type": "application/json",
            "Idempotency-Key": request.key,
            "Accept-Encoding": "identity",
        }
        # Messages name the host alone: the rest may be a secret.
        host = str(urlsplit(parts.url).hostname)
        try:
            answer = answer_to(
                self._session,
                parts.method,
                parts.url,
                data=parts.body,
                headers=about | parts.headers,
            )
        except requests.Timeout:
            raise Unanswered(host, "no answer in time") from None
        except requests.exceptions.SSLError:
            raise Unanswered(host, "a certificate that is not trusted") from None
        except (requests.RequestException, ValueError):
            raise Unanswered(host, "no connection") from None
        is_removal = request.action == REMOVE
        sent = self._sent(answer, entries, host, is_removal=is_removal)
        return replace(sent, rejected={**nameless, **sent.rejected})

    def _parts(
        self, action: str, members: Sequence[Member], places: Mapping[str, object]
    ) -> HttpParts:
        """Return the parts of a request."""
        file = self._file
        values = {**self._variables, **places, "action": action}
        form = file.of(action)
        user_values = [self._user_values(member, values) for member in members]
        # A body of one user may name it.
        body_values = dict(user_values[0] if file.batch == 1 else values)
        body_values["users"] = [filled(file.user, user) for user in user_values]
        headers = dict[str, str]()
        for name, text in file.headers.items():
            headers[name] = str(filled(text, values)).strip()
        body = _JSON.encode(filled(form.body, body_values))
        return HttpParts(form.method, filled(form.url, values), body, headers)

    def _entries(
        self, members: Sequence[Member], action: str, places: Mapping[str, object]
    ) -> list[list[Member]]:
        """
        Return members of a request, together those who are sent as one.

        Two browsers of a person may have one address, in two spellings: a receiver
        could take the one and reject the other, and nobody would know if it has it.
        """
        values = {**self._variables, **places, "action": action}
        entries = defaultdict[bytes, list[Member]](list)
        for member in members:
            spelled = self._user_values(member, values)
            for column in self._columns:
                spelled[column] = known_as(spelled[column])
            entry = filled(self._file.user, spelled)
            entries[_JSON.encode(entry)].append(member)
        return list(entries.values())

    def _check_secrets_of_addresses(self) -> None:
        """Raise ValueError for a secret that would change the address it is in."""
        for action in self.actions:
            for secret in sorted(secrets_in(self._file.of(action).url)):
                bad = NO_SECRET.search(self._variables[f"${secret}"])
                if bad is not None:
                    raise ValueError(
                        f"the secret {secret} is in url and contains the character "
                        f"U+{ord(bad[0]):04X}, which would change the address. Add "
                        "its value again, percent-encoded if the receiver's key has it"
                    )

    def _check_headers(self, headers: Mapping[str, str]) -> None:
        """Raise ValueError for a header that cannot be sent, without its value."""
        for name, value in headers.items():
            if name.lower() in OWN_HEADERS:
                raise ValueError(
                    f"headers: every request has its own {name}. Remove the entry; a "
                    "header of another name may contain {key}"
                )
            bad = NO_HEADER.search(value)
            if bad is None:
                continue
            advice = "Correct the header"
            for secret in sorted(secrets_in(self._file.headers[name])):
                if NO_HEADER.search(self._variables[f"${secret}"]):
                    advice = f"It is in the secret {secret}: add its value again"
            raise ValueError(
                f"headers.{name} contains the character U+{ord(bad[0]):04X}, which no "
                f"header may contain. {advice}"
            )

    def _user_values(
        self, member: Member, values: Mapping[str, object]
    ) -> dict[str, object]:
        """Return the values of a member's entry."""
        request = ("use_case", "audience", "as_of", "action")
        parts = [[str(values[name]) for name in request], member.key]
        # The same whenever it is sent.
        user_key = sha256(json.dumps(parts).encode())[:32]
        return {**values, **self._values(member), "user_key": user_key}

    def _values(self, member: Member) -> dict[str, object]:
        # A member of an earlier date, who is to be removed, may lack a column.
        return {**dict.fromkeys(self._columns), **member.values}

    def _sent(
        self,
        answer: Answer,
        entries: Sequence[Sequence[Member]],
        host: str,
        *,
        is_removal: bool,
    ) -> Sent:
        """Return what an answer says of a request's users; raises as of ``send``."""
        status = answer.status
        form = self._file.answer
        if status in REPEATED:
            raise Unanswered(host, f"status {status}", pause_s=answer.pause_s)
        is_success = 200 <= status < 300
        is_empty = answer.text is not None and not answer.text.strip()
        is_page = answer.is_web_page
        is_whole = is_success and status != IN_PART and not is_page
        if is_whole and (form is None or is_empty):
            return Sent()
        reason = f"status {status}"
        text = "" if answer.text is None else answer.text
        words = one_line(concealed(text, self._variables.values()))
        if status in REFUSED:
            raise Refused(reason, words)
        shown = "`propensity audience send` shows at a terminal what it said"
        if is_page or not is_success:
            page = " and a web page, such as a login" if is_page else ""
            denied = AccessDenied(
                f"{host} answers with status {status}{page}", hint=shown
            )
            raise Stopped(denied, reason, words)
        try:
            return self._read(form, answer, entries, is_removal=is_removal)
        except ValueError:
            error = Unavailable(
                f"{self.name} answers {status} in another form than [answer] in the "
                "destination's file, so the rejected users are unknown",
                hint=f"Correct [answer]. {shown}",
            )
            raise Stopped(error, reason, words) from None

    def _read(
        self,
        form: Form | None,
        answer: Answer,
        entries: Sequence[Sequence[Member]],
        *,
        is_removal: bool,
    ) -> Sent:
        """Return whom an answer rejects; raise ValueError for another form."""
        if form is None or answer.text is None:
            raise ValueError("there is nothing to read")
        by_name = defaultdict[str, list[list[str]]](list)
        for index, members in enumerate(entries):
            values = {"index": index} | self._values(members[0])
            keys = [member.key for member in members]
            by_name[form.name_of(values[form.by])].append(keys)
        everybody = [member for together in entries for member in together]
        codes = Codes(_sent_values(everybody, self._variables.values()))
        sent = form.read(answer.text, by_name, codes=codes, is_removal=is_removal)
        if answer.status == IN_PART and not sent.rejected:
            raise ValueError("nobody was rejected")
        return sent
