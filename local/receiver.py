"""
A receiver of audiences on this machine, with the limits and faults of real ones.

    python -m local.receiver --port 8099

It takes users at any path (POST adds, DELETE removes) as JSON ``{"users": [{"id":
...}]}``. It refuses as receivers do: 413 for too many users, 429 with Retry-After above
its rate, 422 for a request without users. Faults come by a seed: an answer that is lost
after the users were taken, a 503, users who are rejected.

A request of a known idempotency key is answered as the first was, and counts once.
"""

from __future__ import annotations

import argparse
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

HOST = "127.0.0.1"
ACTIONS = {"POST": "add", "DELETE": "remove"}

# Status, headers and JSON.
Answer = tuple[int, dict[str, str], Any]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a request may be; ``rate`` is of requests a second, 0 for any."""

    users: int = 100
    rate: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Faults:
    """
    How often something goes wrong, as a probability.

    ``rejects`` gives the reason of a user who is never taken, empty for others;
    ``refuses_whole`` has such a user's whole request refused.
    """

    lost: float = 0.0
    unavailable: float = 0.0
    rejects: Callable[[str], str] = lambda user: ""
    refuses_whole: bool = False
    seed: int = 0


@dataclass
class Taken:
    """What came, as far as a receiver can tell requests apart."""

    # Body by idempotency key, and keys that came again with another body.
    bodies: dict[str, bytes] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    # Times that a user was taken, by action, under keys of their own.
    users: Counter[tuple[str, str]] = field(default_factory=Counter)
    requests: int = 0
    refusals: Counter[int] = field(default_factory=Counter)


class Receiver:
    """The receiver, on a port of its own, as a context."""

    def __init__(
        self, limits: Limits | None = None, faults: Faults | None = None, port: int = 0
    ) -> None:
        self.limits, self.faults = limits or Limits(), faults or Faults()
        self.taken = Taken()
        self._random = random.Random(self.faults.seed)
        self._answers: dict[str, Answer] = {}
        self._moments: list[float] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer((HOST, port), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://{HOST}:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve, name="receiver", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        """Answer requests until the context ends."""
        self._server.serve_forever(poll_interval=0.05)

    def answer(self, *request: Any) -> Answer | None:
        """Return status, headers and body of an answer; None for one that is lost."""
        with self._lock:
            self.taken.requests += 1
            is_unavailable = self._random.random() < self.faults.unavailable
            now = time.monotonic()
            self._moments = [moment for moment in self._moments if now - moment < 1]
            if self.limits.rate and len(self._moments) >= self.limits.rate:
                result: Answer = 429, {"Retry-After": "1"}, {"error": "too many"}
            else:
                self._moments.append(now)
                result = 503, {}, {"error": "try again"}
                if not is_unavailable:
                    result = self.take(*request)
            self.taken.refusals[result[0]] += result[0] >= 400
            return None if self._random.random() < self.faults.lost else result

    def take(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        """Return the answer to a request that is within the rate."""
        if method not in ACTIONS:
            return 405, {}, {"error": f"known are {', '.join(ACTIONS)}"}
        key = headers.get("Idempotency-Key") or f"without a key {self.taken.requests}"
        if key in self._answers:
            if self.taken.bodies[key] != body:
                self.taken.changed.append(key)
            return self._answers[key]
        try:
            users = [str(user["id"]) for user in json.loads(body)["users"]]
        except (ValueError, KeyError, TypeError):
            return 422, {}, {"error": "users is a list of objects with an id"}
        if len(users) > self.limits.users:
            return 413, {}, {"error": f"at most {self.limits.users} users"}
        reasons = {user: self.faults.rejects(user) for user in users}
        rejected = {user: reason for user, reason in reasons.items() if reason}
        if rejected and self.faults.refuses_whole:
            return 422, {}, {"error": next(iter(rejected.values()))}
        self.taken.bodies[key] = body
        self.taken.users.update(
            (ACTIONS[method], user) for user in users if user not in rejected
        )
        listed = [{"id": user, "message": reason} for user, reason in rejected.items()]
        self._answers[key] = 200, {}, {"errors": listed}
        return self._answers[key]


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = receiver.answer(self.command, self.path, self.headers, body)
            if answer is None:
                self.close_connection = True
                self.connection.close()
                return
            status, headers, content = answer
            is_raw = isinstance(content, bytes)
            data = content if is_raw else json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _respond  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: requests have users in them."""

    return Handler


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until it is stopped."""
    parser = argparse.ArgumentParser("python -m local.receiver")
    parser.add_argument("--port", type=int, default=8099, help="default: 8099")
    parser.add_argument(
        "--rate",
        type=float,
        default=20.0,
        help="requests a second, above which it answers 429; 0 for any (default: 20)",
    )
    options = parser.parse_args(arguments)
    receiver = Receiver(Limits(rate=options.rate), port=options.port)
    print(f"a receiver of audiences: {receiver.url}", flush=True)
    receiver.serve()


if __name__ == "__main__":
    main()
