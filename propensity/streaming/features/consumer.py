"""
Consumers of the stream: their base class, and streamFeatures, which takes the events.

Each is an asynchronous function that Pub/Sub pushes to. Messages that arrive together
are handled together (``GroupCommit``), and a message is acknowledged once its rows are
durable. A message that can never succeed is stored as a dead letter, with its reason,
and acknowledged. Any other failure raises, and Pub/Sub delivers the message again.

No user and no event is ever logged: log lines hold counts.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from math import inf

import pyarrow as pa
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from propensity import suppression, usecases
from propensity.clock import Clock
from propensity.concurrency import GroupCommit, Refreshed
from propensity.errors import (
    MethodNotAllowed,
    PropensityError,
    Unavailable,
    UseCaseError,
)
from propensity.gcp.asgi import Json, body_of, freeze_gc
from propensity.gcp.log import Counts, log
from propensity.gcp.pubsub import Bus
from propensity.gcp.queries import Queries
from propensity.gcp.writes import Appends, RowsRefused, parts
from propensity.schema import Table
from propensity.settings import ENRICHED, Settings
from propensity.statements import statement
from propensity.streaming.events import messages
from propensity.streaming.events.dead_letters import dead_letters
from propensity.streaming.events.messages import Message
from propensity.streaming.events.postcodes import PostcodeIndex
from propensity.streaming.events.rows import Accepted, accept, stored_rows
from propensity.streaming.events.types import Catalogue, with_right_types
from propensity.streaming.events.values import BadEvent
from propensity.suppression import Suppressed
from propensity.suppression.refreshed import suppressed_users
from propensity.tables.stream import DEAD_LETTERS, STREAM_EVENTS, TRUTH_EVENTS

# A group is well within the limits of one append and one Publish request, which takes a
# thousand messages. What comes while one is written, and in the pause behind it, is the
# next group: the larger, the cheaper. An append to BigQuery takes several times as long
# as the pause.
GROUP_BYTES = 4 * 1024**2
LEAST_BYTES = GROUP_BYTES // 1_000 + 1
PAUSE_S = 0.02

# What may wait in an instance, and what may be read at once, of bodies that may have 15
# MiB each. Further messages get a 503, and Pub/Sub slows down.
WAITING_BYTES = 16 * 1024**2
READING_BYTES = 64 * 1024**2

# Pub/Sub sends a body at once. One that takes longer would keep others from being read.
BODY_S = 10.0

# Seconds after which the table of postcodes is read anew.
POSTCODE_TTL_S = 3600

# Why a message is a dead letter, or is to be delivered again.
Unhandled = BadEvent | PropensityError


@dataclass(frozen=True)
class Clients:
    """The clients of an instance; nothing is sent when they open."""

    settings: Settings
    warehouse: Queries
    appends: Appends
    bus: Bus
    catalogue: Catalogue
    clock: Clock
    # These folders of use cases were left out, which would take these types.
    wrong: Sequence[UseCaseError] = ()
    awaited: frozenset[str] = frozenset()

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Clients:
        """Open what an instance needs; use cases that are wrong are left out."""
        use_cases, wrong = usecases.load_all()
        takers, wrong_types = with_right_types(use_cases.values())
        left_out = wrong + wrong_types
        catalogue = Catalogue(takers)
        right = {taker.name for taker in takers}
        names = set(usecases.wrong_names())
        for use_case in use_cases.values():
            if use_case.stream.events and use_case.name not in right:
                names.add(use_case.name)
        for error in left_out:
            log("ERROR", f"left out: {error.message}", outcome=error.code)
        return cls(
            settings=settings,
            warehouse=Queries.open(settings),
            appends=Appends(settings),
            bus=Bus(settings),
            catalogue=catalogue,
            clock=clock,
            wrong=left_out,
            awaited=catalogue.types_in(
                usecases.declaration_text(name) for name in names
            ),
        )


@dataclass(frozen=True)
class Handled:
    """
    What became of a group.

    Attributes:
        counts: For the log.
        refused: What a model or a table refuses, by the place of its message.
        to_redeliver: Why messages are to be delivered again, by their place.
    """

    counts: Mapping[str, int]
    refused: Mapping[int, BadEvent]
    to_redeliver: Mapping[int, PropensityError] = field(default_factory=dict)


class Consumer(ABC):
    """
    A function that Pub/Sub pushes to; a subclass stores a group in ``handle``.

    Attributes:
        name: Of the function in the log.
        maximum_bytes: Of a message that can be an event.
        writers: Groups under way at once.
        outcome: Of a message that was handled, in the answer.
    """

    name = "consumer"
    maximum_bytes = messages.MAXIMUM_EVENT_BYTES
    writers = 1
    outcome = "stored"

    def __init__(self, clients: Clients) -> None:
        freeze_gc()
        self.clients = clients
        self.counts = Counts(self.name)
        self.suppressed = suppressed_users(
            clients.settings,
            partial(suppression.read_suppressed, clients.warehouse),
            function=self.name,
            clock=clients.clock.monotonic,
        )
        self._handled = Json(b'{"outcome":"%b"}\n' % self.outcome.encode())
        self._group: GroupCommit[Message, Unhandled | None] = GroupCommit(
            self.consume,
            writers=self.writers,
            size=GROUP_BYTES,
            waiting=WAITING_BYTES,
            pause_s=PAUSE_S,
        )
        # Bytes of the bodies that are being read.
        self._reading = 0

    async def take(self, request: Request) -> Response:
        """Handle a push; it is acknowledged when this returns."""
        if request.method != "POST":
            raise MethodNotAllowed(request.method, allowed=("POST",))
        body = await self._read(request)
        message = messages.message(body, maximum_bytes=self.maximum_bytes)
        size = max(LEAST_BYTES, len(body) - message.dropped * 4 // 3)
        del body  # keeps one copy of the event in memory during the wait, not two
        unhandled = await self._group.submit(message, size=size)
        if unhandled is None:
            return self._handled
        if isinstance(unhandled, PropensityError):
            raise unhandled
        summary = {
            "outcome": "dead_letter",
            "reason": unhandled.reason,
            "field": unhandled.field,
            "message": unhandled.detail,
        }
        return Json(json.dumps(summary).encode())

    async def _read(self, request: Request) -> bytes:
        """Read a body, unless the instance is reading as much as it has memory for."""
        # A body in chunks does not say how long it will be.
        size = maximum = messages.MAXIMUM_BODY_BYTES
        for name, value in request.scope["headers"]:
            if name == b"content-length":
                size = min(int(value), maximum)
        if self._reading + size > READING_BYTES:
            raise Unavailable("too much is being read in this instance; try again")
        self._reading += size
        try:
            async with asyncio.timeout(BODY_S):
                return await body_of(request, maximum=maximum)
        except TimeoutError:
            message = f"the body was not whole after {BODY_S:.0f} s; try again"
            raise Unavailable(message) from None
        finally:
            self._reading -= size

    async def consume(self, group: Sequence[Message]) -> list[Unhandled | None]:
        """
        Handle a group, and count it at the end: if it fails, it comes again.

        Returns:
            For each message None, the reason of its dead letter, or the error for which
            it is to be delivered again.
        """
        suppressed = await self.suppressed.current()
        accepted = accept(
            group,
            self.clients.catalogue,
            await self.postcodes(),
            received_at=self.clients.clock.now(),
            suppressed=suppressed,
        )
        handled = await self.handle(accepted)
        to_redeliver = dict(handled.to_redeliver)
        refused = dict(handled.refused)
        for index, refusal in accepted.refused.items():
            if self.clients.wrong and refusal.field in ("use_case", "event_type"):
                # It comes again until the folder is right.
                to_redeliver[index] = self.clients.wrong[0]
            else:
                refused[index] = refusal
        if self.clients.awaited:
            for event in accepted.events + accepted.truths:
                is_awaited = event.event_type in self.clients.awaited
                if is_awaited and event.index in accepted.unaddressed:
                    # Those that are right have it once, however often it comes.
                    to_redeliver[event.index] = self.clients.wrong[0]
        letters = await self.dead_letter(group, refused, suppressed)
        unhandled: dict[int, Unhandled] = {**letters, **to_redeliver}
        taken = {event.index for event in accepted.events}
        taken |= {event.index for event in accepted.truths}
        if len(to_redeliver) < len(group):
            self.counts.add(
                Counter(
                    letters[index].reason for index in letters.keys() - to_redeliver
                ),
                rows_in=len(group) - len(to_redeliver),
                suppressed=len(group) - len(taken | unhandled.keys()),
                dead_letters=len(letters),
                **handled.counts,
            )
        return [unhandled.get(index) for index in range(len(group))]

    async def postcodes(self) -> PostcodeIndex | None:
        """Return the table that events are enriched by; None if they are already."""
        return None

    @abstractmethod
    async def handle(self, accepted: Accepted) -> Handled:
        """Store and publish what a group has brought."""

    async def append(
        self, table: Table, rows: pa.RecordBatch, indices: Sequence[int]
    ) -> dict[int, BadEvent]:
        """
        Append rows, of messages at ``indices``; one that is refused holds up no other.

        Returns:
            The refusals of the table, by the place of the message.
        """
        refused = dict[int, BadEvent]()
        start = 0
        for part in parts(rows):
            details = await self.clients.appends.append(table, part)
            for row, detail in details.items():
                index = indices[start + row]
                refused[index] = BadEvent("refused_by_table", detail[:500])
            start += part.num_rows
        return refused

    async def dead_letter(
        self,
        group: Sequence[Message],
        refused: dict[int, BadEvent],
        suppressed: Suppressed,
    ) -> dict[int, BadEvent]:
        """
        Append refused messages to ``dead_letters``.

        Returns:
            The refusals of messages that name no suppressed user; others are in no row.
        """
        if refused:
            refused, rows = await asyncio.to_thread(
                self._letters, group, refused, suppressed
            )
            for part in parts(rows):
                details = await self.clients.appends.append(DEAD_LETTERS, part)
                if details:
                    raise RowsRefused(details)
        return refused

    def _letters(
        self,
        group: Sequence[Message],
        refused: Mapping[int, BadEvent],
        suppressed: Suppressed,
    ) -> tuple[dict[int, BadEvent], pa.RecordBatch]:
        """Return the refusals that name no suppressed user, and rows of them."""
        letters = list(group)
        kept = {}
        for index, refusal in refused.items():
            letter = group[index]
            if suppressed and suppression.has_many_texts(letter.data):
                letter = replace(letter, data=b"", dropped=len(letter.data))
            if not suppressed.is_mentioned(letter.data, letter.attributes.values()):
                letters[index] = letter
                kept[index] = refusal
        rows = dead_letters(
            letters,
            kept,
            received_at=self.clients.clock.now(),
            kinds=self.clients.catalogue.kinds,
        )
        return kept, rows


class StreamFeatures(Consumer):
    """``streamFeatures``: events are validated, enriched, stored and published."""

    name = "streamFeatures"

    def __init__(self, clients: Clients) -> None:
        super().__init__(clients)
        self._topic = clients.settings.prefixed(ENRICHED)
        self._postcodes = Refreshed(
            lambda: PostcodeIndex(clients.warehouse.table(statement("postcodes"))),
            ttl_s=POSTCODE_TTL_S,
            grace_s=inf,
            clock=clients.clock.monotonic,
            on_error=lambda error: log(
                "WARNING", f"postcodes not read: {error}", function=self.name
            ),
        )

    async def postcodes(self) -> PostcodeIndex:
        """Return the table of postcodes, of the last hour."""
        return await self._postcodes.current()

    async def handle(self, accepted: Accepted) -> Handled:
        """Store truths and events, then publish the stored events."""
        at = accepted.received_at
        lateness = timedelta(days=self.clients.settings.maximum_lateness_days)
        refused = dict[int, BadEvent]()
        tables = ((TRUTH_EVENTS, accepted.truths), (STREAM_EVENTS, accepted.events))
        for table, events in tables:
            if events:
                rows = stored_rows(table, events, received_at=at, lateness=lateness)
                indices = [event.index for event in events]
                refused |= await self.append(table, rows, indices)
        messages = []
        unknown_postcodes = 0
        for event in accepted.events:
            if event.index in refused:
                continue
            attributes = {
                "use_case": event.use_case,
                "event_id": event.event_id,
                "event_type": event.event_type,
            }
            messages.append((event.published, attributes))
            if event.values.get("postcode") is not None:
                unknown_postcodes += event.values["socioeconomic_idx"] is None
        await self.clients.bus.publish(self._topic, messages)
        truths = sum(truth.index not in refused for truth in accepted.truths)
        counts = {
            "rows_out": len(messages),
            "truths": truths,
            "unknown_postcodes": unknown_postcodes,
            "appends": 1,
        }
        return Handled(counts, refused)
