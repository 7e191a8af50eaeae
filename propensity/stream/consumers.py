"""
The base class of the stream's consumers: a push in, a group handled, an answer out.

Each is an asynchronous function that Pub/Sub pushes to. Messages that arrive together
are handled together (``GroupCommit``), and a message is acknowledged once its rows are
durable. A message that can never succeed is stored as a dead letter, with its reason,
and acknowledged. Any other failure raises, and Pub/Sub delivers the message again.

No user and no event is ever logged: log lines hold counts.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from propensity import tables, usecases
from propensity.clock import Clock
from propensity.errors import PropensityError
from propensity.events import messages
from propensity.events.catalogue import Catalogue
from propensity.events.dead_letters import (
    MAXIMUM_RAW_BYTES,
    dead_letters,
    personal_fields,
)
from propensity.events.messages import Message
from propensity.events.rows import Rules
from propensity.events.values import CLOCK_SKEW, Refused
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.http import Json, body_of, keep_modules
from propensity.gcp.log import Counts
from propensity.gcp.pubsub import Bus
from propensity.gcp.warehouse import Warehouse
from propensity.gcp.writes import Appends
from propensity.privacy import suppression
from propensity.privacy.suppression import suppressed_users
from propensity.settings import Settings
from propensity.waiting.groups import GroupCommit

# Groups under way at once, and their limits: well within those of one append and one
# Publish request. What comes during a write is the next group: the larger, the cheaper.
WRITERS = 1
GROUP_MESSAGES = 1_000
GROUP_BYTES = 4 * 1024**2

# Messages that may wait in an instance. Further ones get a 503, and Pub/Sub slows down.
WAITING_MESSAGES = 5_000
WAITING_BYTES = 64 * 1024**2

# Why a message is a dead letter, or is to be delivered again; None if it was handled.
Unhandled = Refused | PropensityError
Consumed = Unhandled | None


@dataclass(frozen=True)
class Clients:
    """
    The clients and rules of an instance; nothing is sent when it opens.

    Attributes:
        threads: For work that would hold up the event loop.
    """

    settings: Settings
    warehouse: Warehouse
    artifacts: Artifacts
    appends: Appends
    bus: Bus
    catalogue: Catalogue
    rules: Rules
    clock: Clock
    threads: Executor

    @classmethod
    def open(cls, settings: Settings, clock: Clock, *, threads: Executor) -> Clients:
        """Open the clients."""
        return cls(
            settings=settings,
            warehouse=Warehouse.open(settings),
            artifacts=Artifacts.open(settings),
            appends=Appends(settings),
            bus=Bus(settings),
            catalogue=Catalogue([usecases.load(name) for name in usecases.names()]),
            rules=Rules(
                maximum_bytes=settings.maximum_event_bytes,
                clock_skew=CLOCK_SKEW,
                lateness=timedelta(days=settings.maximum_lateness_days),
            ),
            clock=clock,
            threads=threads,
        )


class Consumer(ABC):
    """
    A function that Pub/Sub pushes to; a subclass handles a group in ``consume``.

    Attributes:
        name: Of the function in the log.
        writers: Groups under way at once.
        stored: Body of the answer to a message that was handled.
    """

    name = "consumer"
    writers = WRITERS
    stored = b'{"outcome":"stored"}\n'

    def __init__(self, clients: Clients) -> None:
        keep_modules()
        self.clients = clients
        self.counts = Counts(self.name)
        # The fields that dead letters are stored without.
        self._personal = personal_fields(clients.catalogue.types)
        self.suppressed = suppressed_users(
            clients.settings,
            partial(suppression.read, clients.warehouse),
            function=self.name,
            clock=clients.clock.monotonic,
        )
        self._stored = Json(self.stored)
        self._group: GroupCommit[Message, Consumed] = GroupCommit(
            self._commit,
            writers=self.writers,
            items=GROUP_MESSAGES,
            size=GROUP_BYTES,
            waiting=WAITING_MESSAGES,
            waiting_size=WAITING_BYTES,
        )

    async def take(self, request: Request) -> Response:
        """
        Handle a push; it is acknowledged when this returns.

        Raises:
            RequestError, TooLarge: The request is not a push.
            PropensityError: It failed; Pub/Sub delivers the message again.
        """
        body = await body_of(request, maximum=messages.MAXIMUM_BODY_BYTES)
        message, size = messages.message(body), len(body)
        del body  # keeps one copy of the event in memory during the wait, not two
        refusal = await self._group.submit(message, size=size)
        if refusal is None:
            return self._stored
        if isinstance(refusal, PropensityError):
            raise refusal
        summary = {
            "outcome": "dead_letter",
            "reason": refusal.reason,
            "field": refusal.field,
            "message": refusal.detail,
        }
        return Json(json.dumps(summary).encode())

    async def _commit(self, messages: Sequence[Message]) -> Sequence[Consumed]:
        refused = await self.consume(messages)
        if not refused:
            return [None] * len(messages)
        return [refused.get(place) for place in range(len(messages))]

    @abstractmethod
    async def consume(self, messages: Sequence[Message]) -> Mapping[int, Unhandled]:
        """
        Handle a group, and count it at the end: if it fails, it comes again.

        Returns:
            By place, reasons of the dead letters among them, and errors of those that
            are to be delivered again.

        Raises:
            PropensityError: The whole group is to be delivered again.
        """

    async def dead_letter(
        self, messages: Sequence[Message], refused: Mapping[int, Refused]
    ) -> None:
        """Append refused messages to ``dead_letters``, each append within its limit."""
        received_at = self.clients.clock.now()
        parts: list[dict[int, Refused]] = [{}]
        size = 0
        for place, reason in refused.items():
            # The traceback would keep all messages of the batch in memory.
            reason.__traceback__ = None
            message = messages[place]
            length = min(len(message.data), MAXIMUM_RAW_BYTES)
            length += sum(len(k) + len(v) for k, v in message.attributes.items())
            if parts[-1] and size + length > MAXIMUM_RAW_BYTES:
                parts.append({})
                size = 0
            parts[-1][place] = reason
            size += length
        for part in parts:
            rows = dead_letters(
                messages, part, received_at=received_at, personal=self._personal
            )
            await self.clients.appends.append(tables.DEAD_LETTERS, rows)
