"""
Events are validated, enriched, stored and published; truths are stored.

One group of messages is one append to each table; see ``consumers``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf

from propensity import tables
from propensity.edges.appends import RowsRefused
from propensity.edges.log import log
from propensity.events import reading
from propensity.events.messages import Message
from propensity.events.postcodes import PostcodeIndex
from propensity.events.record_batches import Batch
from propensity.events.rows import Decoded
from propensity.events.values import Refused
from propensity.schema import Table
from propensity.statements import statement
from propensity.stream.consumers import Consumer, Edges
from propensity.waiting.refreshed import Refreshed

# Seconds after which the table of postcodes is read anew.
POSTCODE_TTL_S = 3600


class StreamFeatures(Consumer):
    """The consumer ``streamFeatures``."""

    name = "streamFeatures"

    def __init__(self, edges: Edges) -> None:
        super().__init__(edges)
        self._postcodes: Refreshed[PostcodeIndex] = Refreshed(
            self._read_postcodes,
            ttl_s=POSTCODE_TTL_S,
            grace_s=inf,
            clock=edges.clock.monotonic,
            tell=lambda error: log(
                "WARNING", f"postcodes not read: {error}", function=self.name
            ),
        )

    def _read_postcodes(self) -> PostcodeIndex:
        warehouse = self.edges.warehouse.for_run()
        return PostcodeIndex.of(warehouse.table(statement("postcodes")))

    async def consume(self, messages: Sequence[Message]) -> Mapping[int, Refused]:
        """Store a group and its dead letters, then publish the stored events."""
        edges = self.edges
        accepted = reading.accept(
            messages,
            edges.catalogue,
            await self._postcodes.current(),
            received_at=edges.clock.now(),
            rules=edges.rules,
        )
        accepted, n_suppressed = await self.unsuppressed(accepted, messages)
        refused = dict(accepted.refused)
        truths = await self._append(
            tables.TRUTH_EVENTS, accepted.truth_events, accepted.truth_places, refused
        )
        row_numbers = await self._append(
            tables.STREAM_EVENTS, accepted.events, accepted.places, refused
        )
        if refused:
            await self.dead_letter(messages, refused)
        enriched, decoded = accepted.enriched, accepted.decoded
        if len(row_numbers) < accepted.events.num_rows:
            enriched = [enriched[row] for row in row_numbers]
            decoded = decoded.only(row_numbers)
        await edges.bus.publish(
            edges.settings.enriched_topic, enriched, attributes_of(decoded)
        )
        self.counts.add(
            Counter(refusal.reason for refusal in refused.values()),
            rows_in=len(messages),
            rows_out=len(row_numbers),
            truths=len(truths),
            dead_letters=len(refused),
            unknown_postcodes=accepted.unknown_postcodes,
            suppressed=n_suppressed,
            appends=1,
        )
        return refused

    async def _append(
        self,
        table: Table,
        rows: Batch,
        places: Sequence[int],
        refused: dict[int, Refused],
    ) -> list[int]:
        """
        Append rows, but for those that the table refuses; return the row numbers.

        Args:
            table: Of the rows.
            rows: To append.
            places: The message of each.
            refused: Gets the refusals by the table, by message.
        """
        row_numbers, batch = list(range(rows.num_rows)), rows
        while True:
            try:
                await self.edges.appends.append(table, batch)
                return row_numbers
            except RowsRefused as error:
                # A bad row must not hold up the others of its group.
                for row, detail in error.rows.items():
                    place = places[row_numbers[row]]
                    refused[place] = Refused("refused_by_table", detail[:500])
                row_numbers = [
                    row for at, row in enumerate(row_numbers) if at not in error.rows
                ]
                batch = rows.take(row_numbers)


def attributes_of(decoded: Decoded) -> list[dict[str, str]]:
    """Return the attributes of the messages for events."""
    return [
        {"use_case": use_case, "event_id": event_id, "event_type": event_type}
        for use_case, event_id, event_type in zip(
            decoded.use_cases, decoded.event_ids, decoded.event_types, strict=True
        )
    ]
