"""
Events in: validated, enriched, stored, published on; truths in: stored.

One group of messages is one append to each table; see ``consumers``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf

import pyarrow as pa

from propensity import tables
from propensity.edges.appends import RowsRefused
from propensity.edges.log import log
from propensity.events import reading
from propensity.events.messages import Message
from propensity.events.postcodes import PostcodeIndex
from propensity.events.values import Refused
from propensity.statements import statement
from propensity.stream.consumers import Consumer, Edges
from propensity.waiting.refreshed import Refreshed


class StreamFeatures(Consumer):
    """Events in: validated, enriched, stored, published on; truths in: stored."""

    name = "streamFeatures"

    def __init__(self, edges: Edges) -> None:
        super().__init__(edges)
        self._postcodes: Refreshed[PostcodeIndex] = Refreshed(
            self._read_postcodes,
            ttl_s=edges.settings.postcode_ttl_s,
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
        """Store a group, bury what is refused, then publish what was stored."""
        edges = self.edges
        accepted = reading.accept(
            messages,
            edges.catalogue,
            await self._postcodes.current(),
            received_at=edges.clock.now(),
            rules=edges.rules,
        )
        accepted = await self.unsuppressed(accepted, messages)
        refused = dict(accepted.refused)
        truths = await self._append(
            tables.TRUTH_EVENTS, accepted.truths, accepted.truth_places, refused
        )
        kept = await self._append(
            tables.STREAM_EVENTS, accepted.rows, accepted.places, refused
        )
        if refused:
            await self.bury(messages, refused)
        rows = accepted.rows
        if len(kept) < rows.num_rows:
            rows = rows.take(pa.array(kept, pa.int64()))
        await edges.bus.publish(
            edges.settings.enriched_topic,
            [accepted.enriched[row] for row in kept],
            attributes_of(rows),
        )
        self.tally.add(
            Counter(one.reason for one in refused.values()),
            rows_in=len(messages),
            rows_out=len(kept),
            truths=len(truths),
            dead_letters=len(refused),
            unknown_postcodes=accepted.unknown_postcodes,
            appends=1,
        )
        return refused

    async def _append(
        self,
        table: tables.Table,
        rows: pa.RecordBatch,
        places: Sequence[int],
        refused: dict[int, Refused],
    ) -> list[int]:
        """
        Append rows but for those that the table refuses; return which were.

        Args:
            table: Where to.
            rows: To append.
            places: The message of each.
            refused: Gets what the table refuses.
        """
        kept, left = list(range(rows.num_rows)), rows
        while True:
            try:
                await self.edges.appends.append(table, left)
                return kept
            except RowsRefused as error:
                # One row that no table takes must not hold up all that came with it.
                for row, detail in error.rows.items():
                    place = places[kept[row]]
                    refused[place] = Refused("refused_by_table", detail[:500])
                kept = [row for at, row in enumerate(kept) if at not in error.rows]
                left = rows.take(pa.array(kept, pa.int64()))


def attributes_of(rows: pa.RecordBatch) -> list[dict[str, str]]:
    """Return the attributes under which rows of ``stream_events`` are published."""
    return [
        {"use_case": use_case, "event_id": event_id, "event_type": event_type}
        for use_case, event_id, event_type in zip(
            rows.column("use_case").to_pylist(),
            rows.column("event_id").to_pylist(),
            rows.column("event_type").to_pylist(),
            strict=True,
        )
    ]
