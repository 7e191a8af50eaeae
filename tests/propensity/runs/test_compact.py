"""
Features are exact, whatever came twice, late or in disorder, and compacted when.

Rows are stored as the stream stores them, in the BigQuery emulator, at moments of a
clock of the tests' own; compactions run in between. At any moment the view must say
what the independent computation of ``tests/exact.py`` says of the events so far, and
what one clean SQL computation says.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from propensity import tables
from propensity.edges.warehouse import Warehouse
from propensity.errors import Conflict, RunInProgress
from propensity.runs import compact
from propensity.runs.watermark import WATERMARK, read_watermark
from propensity.statements import statement
from tests.events import bet
from tests.functions.streaming import changed, rows_of
from tests.propensity.runs.compacted import (
    DAY,
    HOUR,
    LONG_AGO,
    MINUTE,
    NAMES,
    NOW,
    expected,
)


class TestUsers:
    def test_have_a_row_each_of_all_their_tiles(self, story):
        """Sums and first registration are those of the days together."""
        row = story.users["months"]

        assert (row["bet_count"], row["bet_sum"]) == (2, Decimal("3.75"))
        assert row["bet_sum_squares"] == Decimal("7.8125")
        assert row["registration"]["city"] == "Aberdeen"
        assert story.users["late"]["bet_count"] == 4

    def test_are_in_the_bucket_that_python_says(self, story):
        """Whoever looks a user up passes the partition, which SQL has computed."""
        assert set(NAMES) < set(story.users)
        for user, row in story.users.items():
            assert row["user_bucket"] == tables.user_bucket(user)

    def test_are_made_anew_by_a_forced_run(self, empty):
        """Whatever has happened to their rows, they are what the tiles say."""
        events = [bet(user_id=f"u{n}") for n in range(3)]
        empty.append(rows_of(events, received_at=NOW))
        empty.compact(NOW)
        users = empty.users()
        empty.warehouse.execute("DELETE FROM stream_users WHERE user_id = 'u1'")
        empty.warehouse.execute("UPDATE stream_users SET bet_count = 9 WHERE TRUE")

        empty.compact(NOW + DAY, force=True)

        assert empty.users() == users
        assert empty.features() == expected(events)

    def test_forget_what_tiles_are_not_kept_of(self, empty):
        """A month whose tiles have expired leaves the sums, and never comes back."""
        kept = {"PROPENSITY_RETENTION_DAYS": "stream_features_daily=60"}
        events = [
            bet(event_id=f"e{month}", event_time=f"2026-{month}-15T12:00:00Z")
            for month in ("01", "02", "03")
        ]
        with changed(empty, **kept) as site:
            site.append(rows_of(events, received_at=NOW))
            site.compact(NOW)
            first = site.features()["u1"]["bet_count"]

            site.append(rows_of(events, received_at=NOW + 20 * DAY))
            site.compact(NOW + 20 * DAY)
            then = site.features()["u1"]["bet_count"]

        assert first == 2  # January's have expired on the second of March
        assert then == 1


class TestSteps:
    DAYS = [date(2026, 1, 1) + n * DAY for n in range(400)]

    def test_are_of_a_week_of_arrivals_each(self):
        """A pause of 400 days is counted in weeks, each with its months."""
        touched = [(day, day - n * DAY) for day in self.DAYS for n in (0, 30)]
        since = datetime(2026, 1, 1, 9, tzinfo=UTC)
        steps = compact.steps_of(touched, since=since, first_month=LONG_AGO)

        assert len(steps) == 58
        assert steps[0].since == since
        assert [step.until for step in steps[:-1]] == [step.since for step in steps[1:]]
        assert steps[-1].until == compact.FOREVER
        assert max(len(step.months) for step in steps) <= 3

    def test_are_of_half_a_year_of_tiles_each(self):
        """A clock that is anywhere costs small steps, and no large one."""
        arrived = date(2026, 3, 20)
        days = [date(1971 + n // 12, 1 + n % 12, 9) for n in range(100)]
        steps = compact.steps_of(
            [(arrived, day) for day in days], since=NOW, first_month=LONG_AGO
        )

        assert [len(step.months) for step in steps] == [6] * 16 + [4]
        assert {step.since for step in steps} == {NOW}
        assert {month for step in steps for month in step.months} == {
            day.replace(day=1) for day in days
        }

    def test_are_none_without_events(self):
        """Nor of months whose tiles are not kept."""
        touched = [(date(2026, 3, 20), date(2026, 1, 20))]
        march = date(2026, 3, 1)

        assert compact.steps_of([], since=NOW, first_month=march) == []
        assert compact.steps_of(touched, since=NOW, first_month=march) == []


class TestTiles:
    def test_change_where_late_events_belong_and_nowhere_else(self, story):
        """A late event changes the tile of its user's day; others are not written."""
        new = [tile for tile in story.tiles if tile not in story.tiles_before]
        changed = [tile for tile in new if tile["user_id"] in ("late", "in time")]

        assert [(row["user_id"], str(row["day"])) for row in changed] == [
            ("late", "2026-02-28")
        ]
        assert changed[0]["bet_count"] == 2
        assert changed[0]["event_ids"] == ["e", "late"]
        assert changed[0]["compacted_at"] == NOW + DAY
        assert story.answer["tiles"] == len(new)

    def test_are_written_of_a_new_day_of_an_old_month(self, story):
        """A first event of a month long past is a tile of that month."""
        months = [row["month"] for row in story.tiles_of("old month")]

        assert months == [date(2025, 11, 1), date(2026, 3, 1)]
        assert story.after["old month"]["bet_count"] == 2

    def test_list_what_they_have_counted(self, story):
        """A tile says which events it holds, each once."""
        [tile] = story.tiles_of("listed")

        assert tile["event_ids"] == ["e0", "e1", "e2"]
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

    def test_is_where_the_view_reads_from(self, story):
        """The view reads no event from before it: what it costs does not grow."""
        assert story.counted["watermark"] == (NOW - 15 * MINUTE).isoformat()
        assert story.watermark == NOW + DAY - 15 * MINUTE
        assert story.answer["watermark"] == story.watermark.isoformat()
        assert story.view == story.view_of_watermark
        assert (
            "received_at >= TIMESTAMP '2026-03-21 09:45:00.000000+00:00'" in story.view
        )

    def test_never_goes_back(self, empty):
        """A run whose clock is behind counts, and leaves the watermark where it is."""
        empty.compact(NOW)

        empty.compact(NOW - DAY)

        assert read_watermark(empty.artifacts).moment == NOW - 15 * MINUTE

    def test_lasts_when_the_view_is_made_again(self, empty):
        """Set-up gives the view this version's text, and its watermark stays."""
        empty.append(rows_of([bet()], received_at=NOW - DAY))
        empty.compact(NOW)
        before = empty.features()

        compact.prepare_view(empty.warehouse, empty.artifacts)

        assert empty.features() == before

    def test_is_one_run_s_to_move(self, empty):
        """Who finds it moved by another ends with a conflict, and loses nothing."""
        run = empty.run(NOW)
        empty.append(rows_of([bet()], received_at=NOW))

        class Meddled(Warehouse):
            def replace_view(self, name: str, sql: str) -> None:
                super().replace_view(name, sql)
                stored = run.registry.artifacts.find(WATERMARK)
                run.registry.artifacts.replace(
                    WATERMARK,
                    b'{"watermark": "2026-03-20T00:00:00+00:00"}',
                    generation=stored.generation if stored else 0,
                )

        run.warehouse = Meddled(empty.settings, client=empty.warehouse.client)
        with pytest.raises(Conflict):
            compact.compact(run)

        assert empty.features() == empty.clean_features() == expected([bet()])


class TestRun:
    def test_leaves_to_the_next_what_comes_while_it_looks(self, empty):
        """
        An event of an older month than any that the run saw, just before it counts.

        Its month's tiles are not looked for by then, so that it would be counted twice
        if it had been counted before.
        """
        old = bet(event_time="2026-01-15T12:00:00Z")
        empty.append(rows_of([old], received_at=NOW))
        empty.compact(NOW + HOUR)
        empty.append(rows_of([bet()], received_at=NOW + DAY))
        run = empty.run(NOW + DAY)

        class Overtaken(Warehouse):
            def rows(self, sql: str, parameters: Any = None) -> list[Any]:
                if sql == statement("compact_days"):
                    received = rows_of(
                        [old, {**old, "event_id": "new"}], received_at=NOW + DAY
                    )
                    empty.append(received)
                return super().rows(sql, parameters)

        run.warehouse = Overtaken(empty.settings, client=empty.warehouse.client)
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

        first.warehouse = Interrupted(empty.settings, client=empty.warehouse.client)
        compact.compact(first)

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

        run.warehouse = Overtaken(empty.settings, client=empty.warehouse.client)
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

        run.warehouse = Broken(empty.settings, client=empty.warehouse.client)
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
