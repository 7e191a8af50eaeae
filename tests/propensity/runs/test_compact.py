"""
Features are exact, whatever came twice, late or in disorder, and compacted when.

Rows are stored as the stream stores them, in the BigQuery emulator, at moments of a
clock of the tests' own; compactions run in between. At any moment the view must say
what the independent computation of ``tests/exact.py`` says of the events so far, and
what one clean SQL computation says.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from propensity.errors import Conflict, RunInProgress
from propensity.gcp.warehouse import Warehouse
from propensity.runs import compact
from propensity.statements import statement
from tests.events import bet
from tests.functions.streaming import changed, prepare_view, rows_of
from tests.propensity.runs.compacted import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    expected,
)


class TestTiles:
    def test_are_made_anew_of_the_days_that_got_events_and_of_no_others(self, story):
        """A late event changes the tile of its user's day; others of the day are what
        they were, and those of other days are not written."""
        before = {(row["user_id"], row["day"]): row for row in story.tiles_before}
        anew = [row for row in story.tiles if row["compacted_at"] == NOW + DAY]

        counts = {(row["user_id"], str(row["day"])): row["bet_count"] for row in anew}
        assert counts["late", "2026-02-28"] == 2
        assert {row["day"] for row in anew} <= {*story.answer["days"]}
        assert len(anew) == story.answer["tiles"]
        in_time = [row for row in anew if row["user_id"] == "in time"]
        for row in in_time:
            was = before["in time", row["day"]]
            assert {**row, "compacted_at": was["compacted_at"]} == was

    def test_are_written_of_a_new_day_of_an_old_month(self, story):
        """A first event of a month long past is a tile of that month."""
        months = [row["month"] for row in story.tiles_of("old month")]

        assert months == [date(2025, 11, 1), date(2026, 3, 1)]
        assert story.after["old month"]["bet_count"] == 2

    def test_count_each_event_once(self, story):
        """However often it was received."""
        [tile] = story.tiles_of("repeated")

        assert tile["bet_count"] == 3
        assert tile["registration"] is None

    def test_come_to_what_the_events_come_to(self, story):
        """The view says the same before and after, and so does a computation of all
        events."""
        assert story.before == story.after == story.clean

    @pytest.mark.parametrize("user", ["twins", "turned twins"])
    def test_take_one_of_two_registrations_at_a_moment(self, story, user):
        """Which of them does not depend on which came first, or before a compaction."""
        assert story.before[user]["city"] == story.after[user]["city"] == "Aberdeen"

    def test_hold_the_first_registration(self, story):
        """One that comes later, but happened before, takes the place of the other."""
        [tile] = story.tiles_of("first")

        assert tile["registration"]["city"] == story.after["first"]["city"] == "Zwolle"

    def test_hold_of_an_event_that_differs_what_was_received_first(self, story):
        """Sent again with another amount, it is the same event; in the view, in the
        tile, and in what a moment's features are, whose events end before it."""
        assert story.before["differs"]["bet_sum"] == 15
        assert story.after["differs"] == story.clean["differs"]
        assert story.before["differs"] == story.clean["differs"]
        assert story.earlier["differs"]["bet_sum"] == 10

    def test_count_an_event_of_each_user_and_day_that_share_its_id(self, story):
        """An id names one event of one user on one day."""
        assert [story.after[user]["bet_count"] for user in ("one", "two")] == [3, 3]


class TestWatermark:
    def test_leaves_room_for_rows_on_their_way(self, story):
        """Rows that were received before a run, and appended after it, count."""
        assert story.before["on its way"]["bet_count"] == 3
        assert story.after["on its way"]["bet_count"] == 3

    def test_is_answered_and_never_goes_back(self, empty, story):
        """It leaves the time that an append may take. A run whose clock is behind
        counts, and leaves it where it is."""
        assert story.answer["watermark"] == (NOW + DAY - 15 * MINUTE).isoformat()
        empty.compact(NOW)

        again = empty.compact(NOW - DAY)

        assert again["watermark"] == (NOW - 15 * MINUTE).isoformat()

    def test_lasts_when_the_view_is_made_again(self, empty):
        """Set-up replaces the view's text, which is the same whatever was counted."""
        empty.append(rows_of([bet()], received_at=NOW - DAY))
        empty.compact(NOW)
        before = empty.features()

        prepare_view(empty.warehouse)

        assert empty.features() == before

    def test_bounds_what_the_view_reads_by_a_constant(self):
        """BigQuery prunes the days of arrival by constants alone."""
        text = statement("stream_features")

        assert "received_on >= DATE_SUB(CURRENT_DATE(), INTERVAL 40 DAY)" in text


class TestExpired:
    def test_days_keep_their_sums(self, empty):
        """What comes of a day whose events are not kept changes nothing: the others
        of its events would be lost."""
        old = bet(event_time="2026-01-15T12:00:00Z")
        empty.append(rows_of([old], received_at=NOW - 50 * DAY))
        empty.compact(NOW - 49 * DAY)
        empty.warehouse.execute(
            "DELETE FROM stream_events WHERE received_on < @day",
            {"day": (NOW - 20 * DAY).date()},
        )
        kept = {"PROPENSITY_RETENTION_DAYS": "stream_events=20"}
        with changed(empty, **kept) as site:
            more = rows_of([{**old, "event_id": "late"}], received_at=NOW, lateness=DAY)
            site.append(more)
            site.compact(NOW + HOUR, as_of=NOW.date())

            assert site.features() == expected([old])


class TestRun:
    def test_leaves_to_the_next_what_comes_while_it_looks(self, empty):
        """
        An event of an older day than any that the run saw, just before it counts.
        """
        old = bet(event_time="2026-01-15T12:00:00Z")
        empty.append(rows_of([old], received_at=NOW))
        empty.compact(NOW + HOUR)
        empty.append(rows_of([bet()], received_at=NOW + DAY))
        run = empty.run(NOW + DAY)

        class Overtaken(Warehouse):
            def rows(self, sql: str, parameters: Any = None) -> list[Any]:
                if sql == statement("stream_events_days"):
                    result = super().rows(sql, parameters)
                    received = rows_of(
                        [old, {**old, "event_id": "new"}], received_at=NOW + DAY
                    )
                    empty.append(received)
                    return result
                return super().rows(sql, parameters)

        run = replace(
            run, warehouse=Overtaken(empty.settings, client=empty.warehouse.client)
        )
        compact.compact(run)
        between = empty.features()
        empty.compact(NOW + 2 * DAY)

        assert between == empty.features() == empty.clean_features()
        assert len(empty.tiles()) == 2
        assert between["u1"]["bet_count"] == 3

    def test_excludes_every_other_whatever_its_as_of_date(self, empty):
        """Of two at once BigQuery would take both their tiles of a new day; the other
        may have begun on the day after."""
        midnight = datetime(2026, 3, 21, tzinfo=UTC)
        empty.append(rows_of([bet()], received_at=NOW))
        first = empty.run(midnight - MINUTE)

        class Interrupted(Warehouse):
            def execute(self, sql: str, parameters: Any = None) -> int:
                with pytest.raises(RunInProgress):
                    empty.compact(midnight, as_of=date(2026, 3, 1))
                return super().execute(sql, parameters)

        warehouse = Interrupted(empty.settings, client=empty.warehouse.client)
        compact.compact(replace(first, warehouse=warehouse))

        assert empty.compact(midnight + HOUR)["tiles"] == 0
        assert [row["bet_count"] for row in empty.tiles()] == [1]

    def test_counts_nothing_once_another_has_its_place(self, empty):
        """Defect: a run that had been held up until its lease ended wrote its tiles
        beside those of the run that had taken over."""
        empty.compact(NOW)
        empty.append(rows_of([bet()], received_at=NOW))
        run = empty.run(NOW + HOUR)
        lease = "runs/stream/compact/1970-01-01.json"

        class Overtaken(Warehouse):
            def rows(self, sql: str, parameters: Any = None) -> list[Any]:
                result = super().rows(sql, parameters)
                if sql == statement("stream_events_days"):
                    stored = run.registry.artifacts.read(lease)
                    run.registry.artifacts.replace(
                        lease, b'{"run_id": "another"}', generation=stored.generation
                    )
                return result

        run = replace(
            run, warehouse=Overtaken(empty.settings, client=empty.warehouse.client)
        )
        with pytest.raises(Conflict, match="taken over"):
            compact.compact(run)

        assert empty.tiles() == []

    def test_may_begin_where_another_has_failed(self, empty):
        """A run that fails stands in nobody's way."""
        empty.append(rows_of([bet()], received_at=NOW))
        run = empty.run(NOW)

        class Broken(Warehouse):
            def execute(self, sql: str, parameters: Any = None) -> int:
                raise Conflict("BigQuery is busy")

        run = replace(
            run, warehouse=Broken(empty.settings, client=empty.warehouse.client)
        )
        with pytest.raises(Conflict, match="busy"):
            compact.compact(run)

        assert empty.compact(NOW)["tiles"] == 1

    def test_says_what_it_did(self, empty):
        """The answer names the days of the events, and counts tiles and exports."""
        events = [bet(), bet(event_id="e2", event_time="2026-03-20T08:00:00Z")]
        empty.append(rows_of(events, received_at=NOW))

        run = empty.run(NOW)
        answer = compact.compact(run)

        assert answer == {
            "days": [date(2026, 3, 1), date(2026, 3, 20)],
            "tiles": 2,
            "exported_days": {"stream_events": 1, "inference_log": 0},
            "watermark": (NOW - 15 * MINUTE).isoformat(),
        }
        assert run.log_fields == {"rows_out": 2}

    def test_finds_nothing_to_do_in_an_empty_stream(self, empty):
        """Without an event there is no tile, no export, and a watermark."""
        answer = empty.compact(NOW)

        assert (answer["days"], answer["tiles"]) == ([], 0)
        assert empty.tiles() == []
