"""
A receiver that knows people by their address, and remembers every try of a request.

It answers as a script says, then takes everybody. Its record is what the auditor asks
about: it shares nothing with the ledger.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.audit.clock import MachineClock

# What may become of a try. Where users were taken, the sender may not hear of it.
BUSY = "asks for a pause"
LOST = "takes, and the answer is lost"
UNREADABLE = "takes, and answers in another form"
FORBIDDEN = "forbids"
REFUSES = "refuses the request"
PARTLY = "rejects the first user"
TROUBLES = (BUSY, LOST, UNREADABLE, FORBIDDEN, REFUSES, PARTLY)
ACTIONS = {"POST": "add", "DELETE": "remove"}


@dataclass(frozen=True)
class ListName:
    """A list of a receiver: one for each path, use case and audience."""

    path: str
    use_case: str
    audience: str


@dataclass(frozen=True)
class Person:
    """Somebody in a request: the address alone, as the receiver knows people."""

    address: str

    @property
    def name(self) -> str:
        """Whose address it is."""
        return self.address.partition("@")[0]


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


class Server(ThreadingHTTPServer):
    """A server that says nothing of clients that were killed."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Outcome:
    """What a receiver makes of a request, and how it answers."""

    status: int
    content: Any
    taken: tuple[Person, ...] = ()
    refused: tuple[Person, ...] = ()


@dataclass
class Receiver:
    """
    The receiver, on a port of its own, as a context.

    Attributes:
        tries: Everything that arrived, oldest first.
        lists: Who is on which list.
        script: What becomes of the next tries.
        meanwhile: What happens in the world before a try of a number is answered.
        is_down: Whether every try is answered 503.
        is_file_wrong: Whether every request is refused, whoever is in it.
    """

    clock: MachineClock
    tries: list[Try] = field(default_factory=list)
    lists: dict[ListName, set[Person]] = field(default_factory=lambda: defaultdict(set))
    script: list[str] = field(default_factory=list)
    meanwhile: dict[int, Callable[[], None]] = field(default_factory=dict)
    is_down: bool = False
    is_file_wrong: bool = False
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = Server(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        serve = lambda: self._server.serve_forever(poll_interval=0.05)  # noqa: E731
        threading.Thread(target=serve, name="receiver", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forget_everything(self) -> None:
        """Begin anew."""
        for kept in (self.tries, self.lists, self.script, self.failures):
            kept.clear()
        self.meanwhile.clear()
        self.outcomes.clear()
        self.is_down, self.is_file_wrong = False, False

    def answer(self, method: str, path: str, key: str, body: bytes) -> Any:
        """Return status and content of an answer; None for one that is lost."""
        number = len(self.tries) + 1
        content = json.loads(body)
        people = tuple(Person(user["address"]) for user in content["users"])
        name = ListName(path, content["use_case"], content["audience"])
        action = ACTIONS[method]
        trouble = self.script.pop(0) if self.script else ""
        if self.is_down:
            trouble = BUSY
        outcome = self._outcome(trouble, key, people)
        arrived = Try(
            at=self.clock.now(),
            number=number,
            list=name,
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
                self.lists[name].add(person)
            else:
                self.lists[name].discard(person)
        if happens := self.meanwhile.pop(number, None):
            happens()
        if trouble == LOST:
            return None
        if trouble == UNREADABLE:
            return 200, "thank you"
        return outcome.status, outcome.content

    def _outcome(self, trouble: str, key: str, people: tuple[Person, ...]) -> Outcome:
        """Return what becomes of people; a key that is known brings the same again."""
        if trouble == BUSY:
            return Outcome(503, "later")
        if trouble == FORBIDDEN:
            return Outcome(403, "no")
        if key not in self.outcomes:
            if self.is_file_wrong:
                return Outcome(422, "another field is wanted")
            refused: tuple[Person, ...] = ()
            if trouble == REFUSES:
                return Outcome(422, "these users are wrong", refused=people)
            if trouble == PARTLY:
                refused = people[:1]
            taken = people[len(refused) :]
            errors = [{"address": person.address} for person in refused]
            self.outcomes[key] = Outcome(200, {"errors": errors}, taken, refused)
        return self.outcomes[key]


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            key = self.headers.get("Idempotency-Key", "")
            try:
                answer = receiver.answer(self.command, self.path, key, body)
            except BaseException as error:
                receiver.failures.append(error)
                answer = None
            if answer is None:
                self.close_connection = True
                self.connection.close()
                return
            status, content = answer
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", f"{len(data)}")
            if status == 503:
                self.send_header("Retry-After", "600")
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_DELETE = _respond  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

    return Handler
