"""
Features are exact, whatever came twice, late or in disorder, and compacted when.

Rows are stored as the stream stores them, in the BigQuery emulator, at moments of a
clock of the tests' own; compactions run in between. At any moment the view must say
what the independent computation of ``tests/exact.py`` says of the events so far, and
what one clean SQL computation says.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from propensity.errors import Conflict, RunInProgress
from propensity.gcp.warehouse import Warehouse
from propensity.runs import compact
from propensity.runs.run import Run
from propensity.statements import statement
from tests.deployment import Deployment
from tests.events import bet, registration
from tests.functions.streaming import changed, rows_of
from tests.propensity.runs.compacted import (
    DAY,
    FIRST,
    HOUR,
    MINUTE,
    NOW,
    expected,
    of,
)


class TestSums:
    def test_sums_come_to_the_same_before_and_after_they_are_counted(self, empty):
        """Of an event that is sent again with another amount counts what was received
        first; of two registrations at a moment the one whose text comes first, of
        others the first; and what was on its way when the last run began counts."""
        twins = [
            registration(user_id="twins", event_id=city, city=city)
            for city in ("Aberdeen", "Zwolle")
        ]
        evening = "2026-03-01T18:00:00Z"
        later = registration(user_id="first", event_id="r2", event_time=evening)
        earlier = registration(user_id="first", city="Zwolle")
        empty.store(rows_of([twins[1], later], received_at=NOW - HOUR))
        empty.compact(NOW, as_of=FIRST)
        for amount, received_at in ((99, NOW + 2 * HOUR), (10, NOW + HOUR)):
            differs = bet(user_id="differs", bet_amount=amount)
            empty.store(rows_of([differs], received_at=received_at))
        empty.store(rows_of([twins[0], earlier], received_at=NOW + HOUR))
        way = of("on its way", "e", "2026-03-01")
        empty.store(rows_of([way], received_at=NOW - MINUTE))

        before = empty.features()
        empty.compact(NOW + DAY, as_of=FIRST)

        assert before == empty.features() == empty.clean_features()
        assert before["differs"]["bet_sum"] == 10
        assert before["on its way"]["bet_count"] == 1
        cities = [before[user]["city"] for user in ("twins", "first")]
        assert cities == ["Aberdeen", "Zwolle"]

    def test_sums_are_counted_up_to_a_time_that_never_goes_back(self, empty):
        """It leaves the time that an append may take. A run whose clock is behind
        counts, and leaves it where it is. Of an empty stream there is no sum."""
        first, again = empty.compact(NOW), empty.compact(NOW - DAY)

        assert first == {
            "days": [],
            "tiles": 0,
            "exported_days": {"stream_events": 0, "inference_log": 0},
            "watermark": (NOW - 15 * MINUTE).isoformat(),
        }
        assert again == first

    def test_sums_are_read_beside_a_constant_number_of_days(self):
        """BigQuery prunes the days of arrival by constants alone."""
        text = statement("stream_features")

        assert "received_on >= DATE_SUB(CURRENT_DATE(), INTERVAL 40 DAY)" in text


class TestExpired:
    def test_days_keep_their_sums(self, empty):
        """What comes of a day whose events are not kept changes nothing: the others
        of its events would be lost."""
        old = bet(event_time="2026-01-15T12:00:00Z")
        empty.store(rows_of([old], received_at=NOW - 50 * DAY))
        empty.compact(NOW - 49 * DAY)
        empty.warehouse.execute(
            "DELETE FROM stream_events WHERE received_on < @day",
            {"day": (NOW - 20 * DAY).date()},
        )
        kept = {"PROPENSITY_RETENTION_DAYS": "stream_events=20"}
        with changed(empty, **kept) as site:
            late = {**old, "event_id": "late", "bet_amount": 99}
            site.store(rows_of([late], received_at=NOW, lateness=DAY))
            site.compact(NOW + HOUR, as_of=NOW.date())

            assert site.features() == expected([old])


class Interrupted(Warehouse):
    """BigQuery, where something happens once a run has looked for days of events."""

    happens: Callable[[], None]

    def rows(self, sql: str, parameters: Any = None) -> list[Any]:
        result = super().rows(sql, parameters)
        if sql == statement("stream_events_days"):
            self.happens()
        return result


def interrupted(
    site: Deployment, at: datetime, happens: Callable[[], object], **changed: Any
) -> Run:
    """A run that is interrupted."""
    warehouse = Interrupted(site.settings, client=site.warehouse.client)
    warehouse.happens = happens
    return site.compaction(at, warehouse=warehouse, **changed)


class TestRun:
    def test_a_compaction_leaves_to_the_next_what_comes_while_it_looks(self, empty):
        """An event of an older day than any that the run saw, just before it counts."""
        old = bet(event_time="2026-01-15T12:00:00Z")
        empty.store(rows_of([old], received_at=NOW))
        empty.compact(NOW + HOUR)
        empty.store(rows_of([bet()], received_at=NOW + DAY))
        late = rows_of([old, {**old, "event_id": "new"}], received_at=NOW + DAY)
        compact.compact(interrupted(empty, NOW + DAY, lambda: empty.store(late)))
        between = empty.features()
        empty.compact(NOW + 2 * DAY)

        assert between == empty.features() == empty.clean_features()
        assert len(empty.tiles()) == 2
        assert between["u1"]["bet_count"] == 3

    def test_a_compaction_excludes_every_other_whatever_its_as_of_date(self, empty):
        """Of two at once BigQuery would take both their tiles of a new day; the other
        may have begun on the day after."""
        midnight = datetime(2026, 3, 21, tzinfo=UTC)
        empty.store(rows_of([bet()], received_at=NOW))

        def another() -> None:
            with pytest.raises(RunInProgress):
                empty.compact(midnight, as_of=date(2026, 3, 1))

        compact.compact(interrupted(empty, midnight - MINUTE, another))

        assert empty.compact(midnight + HOUR)["tiles"] == 0
        assert [row["bet_count"] for row in empty.tiles()] == [1]

    @pytest.mark.parametrize("as_of", [FIRST, NOW.date()])
    def test_a_compaction_writes_nothing_once_another_has_its_place(self, empty, as_of):
        """With days to export or without.

        Defect: a run that had been held up until its lease ended wrote its tiles
        beside those of the run that had taken over."""
        empty.compact(NOW)
        empty.store(rows_of([bet()], received_at=NOW))
        lease = "runs/stream/compact/1970-01-01.json"

        def taken_over() -> None:
            empty.artifacts.overwrite(lease, b'{"run_id": "another"}')

        with pytest.raises(Conflict, match="took over"):
            compact.compact(interrupted(empty, NOW + HOUR, taken_over, as_of=as_of))

        assert empty.tiles() == []
        assert empty.artifacts.names("exports/") == []
