"""
Events are validated, enriched, stored and published; truths are stored.

One group of messages is one append to each table; see ``consumers``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf
from typing import TypeVar

import pyarrow as pa

from propensity import tables
from propensity.events.enrichment import PostcodeIndex
from propensity.events.messages import Message
from propensity.events.rows import Event, Truth, accept
from propensity.events.values import Refused
from propensity.gcp.log import log
from propensity.gcp.writes import RowsRefused
from propensity.privacy.suppression import suppressed_now
from propensity.schema import Table
from propensity.statements import statement
from propensity.stream.consumers import Clients, Consumer
from propensity.topics import ENRICHED, topic_name
from propensity.waiting.refreshed import Refreshed

# Seconds after which the table of postcodes is read anew.
POSTCODE_TTL_S = 3600

Stored = TypeVar("Stored", Event, Truth)


class StreamFeatures(Consumer):
    """The consumer ``streamFeatures``."""

    name = "streamFeatures"

    def __init__(self, clients: Clients) -> None:
        super().__init__(clients)
        self._postcodes: Refreshed[PostcodeIndex] = Refreshed(
            self._read_postcodes,
            ttl_s=POSTCODE_TTL_S,
            grace_s=inf,
            clock=clients.clock.monotonic,
            tell=lambda error: log(
                "WARNING", f"postcodes not read: {error}", function=self.name
            ),
        )

    def _read_postcodes(self) -> PostcodeIndex:
        warehouse = self.clients.warehouse.for_run()
        return PostcodeIndex.of(warehouse.table(statement("postcodes")))

    async def consume(self, messages: Sequence[Message]) -> Mapping[int, Refused]:
        """Store a group and its dead letters, then publish the stored events."""
        clients = self.clients
        accepted = accept(
            messages,
            clients.catalogue,
            await self._postcodes.current(),
            received_at=clients.clock.now(),
            rules=clients.rules,
            suppressed=await suppressed_now(self.suppressed),
        )
        refused = dict(accepted.refused)
        truths = await self._append(
            tables.TRUTH_EVENTS, accepted.truths, accepted.truth_events, refused
        )
        events = await self._append(
            tables.STREAM_EVENTS, accepted.rows, accepted.events, refused
        )
        if refused:
            await self.dead_letter(messages, refused)
        await clients.bus.publish(
            topic_name(clients.settings, ENRICHED),
            [event.published for event in events],
            [attributes_of(event) for event in events],
        )
        self.counts.add(
            Counter(refusal.reason for refusal in refused.values()),
            rows_in=len(messages),
            rows_out=len(events),
            truths=len(truths),
            dead_letters=len(refused),
            unknown_postcodes=accepted.unknown_postcodes,
            suppressed=accepted.suppressed,
            appends=1,
        )
        return refused

    async def _append(
        self,
        table: Table,
        rows: pa.RecordBatch,
        events: Sequence[Stored],
        refused: dict[int, Refused],
    ) -> Sequence[Stored]:
        """
        Append rows, but for those that the table refuses; return the stored events.

        Args:
            table: Of the rows.
            rows: To append.
            events: That of each row.
            refused: Gets the refusals by the table, by message.
        """
        while True:
            try:
                await self.clients.appends.append(table, rows)
                return events
            except RowsRefused as error:
                # A bad row must not hold up the others of its group.
                for row, detail in error.rows.items():
                    place = events[row].place
                    refused[place] = Refused("refused_by_table", detail[:500])
                kept = [row for row in range(len(events)) if row not in error.rows]
                rows = rows.take(pa.array(kept, pa.int64()))
                events = [events[row] for row in kept]


def attributes_of(event: Event) -> dict[str, str]:
    """Return the attributes of the message for an event."""
    return {
        "use_case": event.use_case,
        "event_id": event.event_id,
        "event_type": event.event_type,
    }
