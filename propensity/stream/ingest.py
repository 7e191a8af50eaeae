"""
Events are validated, enriched, stored and published; truths are stored.

One group of messages is one append to each table; see ``consumer``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import inf

from propensity.concurrency import Refreshed
from propensity.events.enrichment import PostcodeIndex
from propensity.events.messages import Message
from propensity.events.rows import Event, accept, rows_of
from propensity.events.values import Refused
from propensity.gcp.log import log
from propensity.schema import Table
from propensity.statements import statement
from propensity.stream.consumer import Clients, Consumer, Unhandled
from propensity.tables.stream import STREAM_EVENTS, TRUTH_EVENTS
from propensity.topics import ENRICHED, prefixed

# Seconds after which the table of postcodes is read anew.
POSTCODE_TTL_S = 3600
# Attributes of published messages.
KEPT = ("use_case", "event_id", "event_type")


class StreamFeatures(Consumer):
    """The consumer ``streamFeatures``."""

    name = "streamFeatures"

    def __init__(self, clients: Clients) -> None:
        super().__init__(clients)
        self._topic = prefixed(clients.settings, ENRICHED)
        self._postcodes: Refreshed[PostcodeIndex] = Refreshed(
            self._read_postcodes,
            ttl_s=POSTCODE_TTL_S,
            grace_s=inf,
            clock=clients.clock.monotonic,
            on_error=lambda error: log(
                "WARNING", f"postcodes not read: {error}", function=self.name
            ),
        )

    def _read_postcodes(self) -> PostcodeIndex:
        return PostcodeIndex(self.clients.warehouse.table(statement("postcodes")))

    async def consume(self, group: Sequence[Message]) -> Mapping[int, Unhandled]:
        """Store a group and its dead letters, then publish the stored events."""
        clients = self.clients
        suppressed = await self.suppressed.current()
        postcodes = await self._postcodes.current()
        at = clients.clock.now()
        accepted = accept(
            group,
            clients.catalogue,
            postcodes,
            received_at=at,
            suppressed=suppressed,
        )
        refused, again = accepted.refused, self.held_back(accepted.refused)
        truths = await self._store(TRUTH_EVENTS, accepted.truths, refused, at=at)
        events = await self._store(STREAM_EVENTS, accepted.events, refused, at=at)
        refused = await self.dead_letter(group, refused, suppressed)
        await clients.bus.publish(
            self._topic,
            [(e.published, {name: getattr(e, name) for name in KEPT}) for e in events],
        )
        unhandled: dict[int, Unhandled] = {**refused, **again}
        self.count(
            group,
            accepted,
            unhandled,
            rows_out=len(events),
            truths=len(truths),
            dead_letters=len(refused),
            unknown_postcodes=sum(
                event.values["socioeconomic_idx"] is None
                for event in events
                if event.values.get("postcode") is not None
            ),
            appends=1,
        )
        return unhandled

    async def _store(
        self,
        table: Table,
        events: Sequence[Event],
        refused: dict[int, Refused],
        *,
        at: datetime,
    ) -> list[Event]:
        """Append rows of events or truths, and return the accepted ones."""
        if events:
            lateness = timedelta(days=self.clients.settings.maximum_lateness_days)
            rows = rows_of(table, events, received_at=at, lateness=lateness)
            await self.append(table, rows, [event.place for event in events], refused)
        return [event for event in events if event.place not in refused]
