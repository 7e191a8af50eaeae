"""
A receiver that knows people by their address, and remembers every try of a request.

It answers as a script says, then takes everybody: by a form that a destination's file
describes, or as Google's Data Manager, which takes events of Analytics and says hours
later what became of them. Its record is what the auditor asks about: it shares nothing
with the ledger.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local import receiver
from tests.support.clocks import ManualClock
from tests.support.data_manager import error

# What may become of a try. Where users were taken, the sender may not hear of it.
BUSY = "asks for a pause"
LOST = "takes, and the answer is lost"
UNREADABLE = "takes, and answers in another form"
FORBIDDEN = "forbids"
REFUSES = "refuses the request"
PARTLY = "rejects the first user"
TROUBLES = (BUSY, LOST, UNREADABLE, FORBIDDEN, REFUSES, PARTLY)
ACTIONS = {"POST": "add", "DELETE": "remove", "in": "add", "out": "remove"}
# How a receiver writes whom it rejects: as it was sent, as it keeps people, or by an id
# of its own.
WRITTEN, KEPT, OWN_ID = "as it was sent", "in small letters", "by an id of its own"


@dataclass(frozen=True)
class ListName:
    """A list of a receiver: one for each path, use case and audience."""

    path: str
    use_case: str
    audience: str


@dataclass(frozen=True)
class Person:
    """Somebody in a request: the address alone, as the receiver keeps it."""

    address: str

    @property
    def name(self) -> str:
        """Whose address it is: of Gmail's some spellings are one."""
        return self.address.partition("@")[0].partition("+")[0].replace(".", "")


@dataclass(frozen=True)
class Try:
    """A request as it arrived; ``taken`` is who was taken of it."""

    at: datetime
    number: int
    list: ListName
    as_of: str
    action: str
    key: str
    body: bytes
    people: tuple[Person, ...]
    taken: tuple[Person, ...]
    refused: tuple[Person, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a receiver makes of a request, and how it answers."""

    status: int
    content: Any
    taken: tuple[Person, ...] = ()
    refused: tuple[Person, ...] = ()


@dataclass
class Receiver(receiver.Receiver):
    """
    The receiver, on a port of its own, as a context.

    Attributes:
        tries: Everything that arrived, oldest first.
        lists: Who is on which list.
        script: What becomes of the next tries.
        meanwhile: What happens in the world before a try of a number is answered.
        is_down: Whether every try is answered 503.
        is_file_wrong: Whether every request is refused, whoever is in it.
        is_strict: Whether it rejects addresses in capitals or with blanks.
        rejects: How it writes whom it rejects.
        takes_long: How long Google says nothing of a request that it took.
        receipts: Google's requests: when each was taken, and what became of it.
        witness: Hears of each try before it is answered.
    """

    clock: ManualClock
    tries: list[Try] = field(default_factory=list)
    lists: dict[ListName, set[Person]] = field(default_factory=lambda: defaultdict(set))
    script: list[str] = field(default_factory=list)
    meanwhile: dict[int, Callable[[], None]] = field(default_factory=dict)
    is_down: bool = False
    is_file_wrong: bool = False
    is_strict: bool = False
    rejects: str = WRITTEN
    takes_long: timedelta = timedelta(0)
    receipts: list[tuple[datetime, Outcome]] = field(default_factory=list)
    witness: Callable[[Try], None] = lambda one: None
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def forget_everything(self) -> None:
        """Begin anew."""
        for kept in (self.tries, self.lists, self.script, self.failures, self.receipts):
            kept.clear()
        self.meanwhile.clear()
        self.outcomes.clear()
        self.is_down, self.is_file_wrong = False, False

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Any:
        """Return status, headers and body of an answer; None for one that is lost."""
        key = headers.get("Idempotency-Key", "")
        try:
            answer = self._answer(method, path, key, body)
        except BaseException as error:
            self.failures.append(error)
            answer = None
        if answer is None:
            return None
        status, content = answer
        return status, {"Retry-After": "600"} if status == 503 else {}, content

    def _answer(self, method: str, path: str, key: str, body: bytes) -> Any:
        """Return status and content of an answer; None for one that is lost."""
        if method == "GET":
            return 200, self._receipt(parse_qs(urlsplit(path).query)["requestId"][0])
        number = len(self.tries) + 1
        content = json.loads(body)
        events = content.get("events")
        if events:
            _, name, use_case, *_ = path.split("/")
            path = f"/{name}"
            content = {**_said(events), "use_case": use_case}
        written = [user["address"] for user in content["users"]]
        people = tuple(Person(address.strip().lower()) for address in written)
        list_name = ListName(path, content["use_case"], content["audience"])
        action = ACTIONS[content.get("state", method)]
        trouble = self.script.pop(0) if self.script else ""
        if self.is_down:
            trouble = BUSY
        outcome = self._outcome(trouble, key, people, written)
        arrived = Try(
            at=self.clock.now(),
            number=number,
            list=list_name,
            as_of=content["as_of"],
            action=action,
            key=key,
            body=body,
            people=people,
            taken=outcome.taken,
            refused=outcome.refused,
        )
        self.tries.append(arrived)
        for person in outcome.taken:
            if action == "add":
                self.lists[list_name].add(person)
            else:
                self.lists[list_name].discard(person)
        self.witness(arrived)
        if happens := self.meanwhile.pop(number, None):
            happens()
        if trouble == LOST:
            return None
        if trouble == UNREADABLE:
            return 200, "thank you"
        return self._of_google(outcome) if events else (outcome.status, outcome.content)

    def _of_google(self, outcome: Outcome) -> tuple[int, Any]:
        """Return Google's answer: an error, or the number of a receipt."""
        if outcome.status == 200:
            self.receipts.append((self.clock.now() + self.takes_long, outcome))
            return 200, {"requestId": f"{len(self.receipts)}"}
        if outcome.status == 422:
            field_at_fault = "events[0]" if outcome.refused else "destinations[0]"
            fault = {"field": field_at_fault, "reason": "WRONG"}
            return error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", [fault])[::2]
        return error(outcome.status, "UNAVAILABLE", "INTERNAL_ERROR")[::2]

    def _receipt(self, number: str) -> Any:
        """Return what Google says of a request that it took."""
        known_at, outcome = self.receipts[int(number) - 1]
        status = "SUCCESS"
        if outcome.refused:
            status = "PARTIAL_SUCCESS" if outcome.taken else "FAILED"
        if self.clock.now() < known_at:
            status = "PROCESSING"
        return {"requestStatusPerDestination": [{"requestStatus": status}]}

    def _outcome(
        self, trouble: str, key: str, people: tuple[Person, ...], written: list[str]
    ) -> Outcome:
        """Return what becomes of people; a key that is known brings the same again."""
        if trouble == BUSY:
            return Outcome(503, "later")
        if trouble == FORBIDDEN:
            return Outcome(403, "no")
        # Google has no keys.
        if not key or key not in self.outcomes:
            if self.is_file_wrong:
                return Outcome(422, "another field is wanted")
            if trouble == REFUSES:
                return Outcome(422, "these users are wrong", refused=people)
            places = {0} if trouble == PARTLY else set[int]()
            if self.is_strict:
                places |= {
                    place
                    for place, person in enumerate(people)
                    if written[place] != person.address
                }
            refused = tuple(people[place] for place in sorted(places))
            taken = tuple(
                person for place, person in enumerate(people) if place not in places
            )
            names = {
                WRITTEN: written,
                KEPT: [person.address for person in people],
                OWN_ID: [f"contact-{place}" for place in range(len(people))],
            }[self.rejects]
            errors = [{"address": names[place]} for place in sorted(places)]
            self.outcomes[key] = Outcome(200, {"errors": errors}, taken, refused)
        return self.outcomes[key]


def _said(events: list[Any]) -> dict[str, Any]:
    """Return what events of Analytics say, as other requests have it."""
    content: dict[str, Any] = {}
    for entry in events[0]["additionalEventParameters"]:
        content[entry["parameterName"]] = entry["value"]
    users = [{"address": event["clientId"]} for event in events]
    return {**content, "users": users}
