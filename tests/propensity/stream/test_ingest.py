"""Postcodes of stream_features, specified: loaded ones are there within their TTL."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from propensity.errors import Unavailable
from propensity.events.messages import Message
from propensity.settings import Settings
from propensity.stream.consumer import POSTCODE_TTL_S, Clients, StreamFeatures
from tests.clocks import ManualClock
from tests.events import DEPLOYED, NOW, registration, written
from tests.propensity.stream.test_score import Log


async def test_loaded_postcodes_are_there_within_the_hour_and_stay(capsys):
    """Where the table cannot be read the old one serves on. Events whose postcode is
    unknown are counted."""
    table: Any = pa.table({"postcode": [""], "socioeconomic_idx": [0.0]})[:0]

    def read(_: str) -> pa.Table:
        if table is None:
            raise Unavailable("BigQuery is away")
        return table

    settings = Settings.from_environment({"GOOGLE_CLOUD_PROJECT": "p"})
    warehouse: Any = SimpleNamespace(
        settings=settings, table=read, listed=lambda *_: []
    )
    log: Any = Log()
    clock = ManualClock(NOW)
    consumer = StreamFeatures(Clients(settings, warehouse, log, log, DEPLOYED, clock))

    async def index() -> float | None:
        for _ in range(2):  # the first one begins to read, the second has it
            event = registration(postcode="M1 1AA")
            await consumer.consume([Message(written(event), "1")])
            await asyncio.gather(*filter(None, [consumer._postcodes._reading]))
        return log.last["socioeconomic_idx"]  # type: ignore[no-any-return]

    assert await index() is None
    table = pa.table({"postcode": ["M11AA"], "socioeconomic_idx": [6.0]})
    clock.advance(3_600)
    assert (POSTCODE_TTL_S, await index()) == (3_600, 6.0)
    table = None
    clock.advance(100 * POSTCODE_TTL_S)
    assert [await index(), await index()] == [6.0, 6.0]

    consumer.counts.write()
    *warnings, counts = capsys.readouterr().err.splitlines()
    assert '"WARNING", "message": "postcodes not read: BigQuery is' in warnings[0]
    assert '"unknown_postcodes": 3' in counts
