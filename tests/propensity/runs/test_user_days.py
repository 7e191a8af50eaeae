"""
Features from user-day sums, specified: the rows of the export, for fewer of its days.

Every test compares the last bit: what is summed up by day has to add up to the very
numbers that one computation over the whole window gives.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from google.api_core.exceptions import NotFound
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from offline.allow_again import allow_again
from propensity import tables
from propensity.edges.warehouse import Warehouse
from propensity.errors import Conflict
from propensity.privacy.suppression import key_id, user_hash
from propensity.runs import user_days
from propensity.runs.user_days import UNKNOWN, Summed
from tests.clocks import ManualClock
from tests.propensity.runs.summed import (
    AS_OF,
    BEGAN,
    FIRST,
    KEY,
    USE_CASE,
    Site,
    of_day,
    strictly,
    weeks,
)
from tests.shop import DAY, WEEK, event

pytestmark = pytest.mark.runs


class TestFeatures:
    @pytest.mark.long
    def test_are_summed_up_anew_in_another_month(self, site):
        """The first run of a month reads all days, and the second none."""
        site.incremental()
        april = BEGAN + timedelta(days=20)
        _, first = site.incremental(began_at=april)
        _, second = site.incremental(began_at=april + WEEK)

        assert (first, second) == (11, 0)

    @pytest.mark.long
    def test_of_an_earlier_date_do_not_see_what_came_then(self, site):
        """Sums of later days are there, and outside of the window."""
        site.incremental()
        features, _ = site.incremental(AS_OF - 3 * DAY)

        assert features == site.full(AS_OF - 3 * DAY)


class TestDefinition:
    def test_of_another_consent_sums_up_anew(self, strict):
        """Events without consent are in no sum once the view leaves them out."""
        assert set(strict.before) == {"gone", "stays", "denies"}
        assert (set(strict.after), strict.days_read) == ({"gone", "stays"}, 1)

    @pytest.mark.long
    def test_of_another_user_column_sums_up_anew(self, make_site):
        """Users by login are others than those by browser."""
        site = make_site([event("browser", AS_OF - DAY, user_id="login")])
        site.incremental()
        login = site.with_settings(PROPENSITY_USER_COLUMN="user_id")

        assert set(login.incremental()[0]) == {"login"}
        assert login.incremental()[0] == login.full()


class TestSuppressed:
    def test_are_left_out_from_within_the_time_of_the_list(
        self, make_site, monkeypatch
    ):
        """Defect: a run that takes an hour went by the list as it was at its beginning,
        and published whoever was forgotten meanwhile, after the time that the report of
        `propensity forget` names."""
        rows = [event(user, AS_OF - DAY) for user in ("a", "b", "c")]
        site = make_site(rows, PROPENSITY_SUPPRESSION_KEY=KEY)
        batches, clock = type(site.warehouse).batches, ManualClock(BEGAN)

        def slowly(self: Any, *arguments: Any) -> Iterator[pa.RecordBatch]:
            table = pa.Table.from_batches(batches(self, *arguments)).combine_chunks()
            for place in range(len(table)):
                yield from table.slice(place, 1).to_batches()
                suppress(site, "a", "b", "c")
                clock.advance(site.settings.suppression_ttl_s / 2)

        monkeypatch.setattr(type(site.warehouse), "batches", slowly)
        features, _ = site.incremental(clock=clock)

        assert len(features) == 2

    def test_who_are_allowed_again_have_all_their_days(self, make_site, monkeypatch):
        """Defect: runs had removed their sums, and no day's table was another one, so
        that they were scored by what came from then on, or not at all."""
        rows = [event(user, AS_OF - n * DAY) for user in ("a", "b") for n in (2, 9)]
        site = make_site(rows, PROPENSITY_SUPPRESSION_KEY=KEY)
        suppress(site, "a")
        assert set(site.incremental()[0]) == {"b"}
        with monkeypatch.context() as patch:
            for name, value in site.environment.items():
                patch.setenv(name, value)
            allow_again(site.settings, ["a"], use_case=USE_CASE.name)
            assert set(site.incremental()[0]) == {"b"}
            allow_again(site.settings, ["a"], use_case="")
        features, days_read = site.incremental()

        assert features == site.full()
        assert set(features) == {"a", "b"}
        assert days_read == 2


def suppress(site: Site, *users: str) -> None:
    """Put users on the list."""
    table = tables.SUPPRESSED_USERS
    entries = [
        {
            "use_case": "",
            "user_hash": user_hash(KEY, user),
            "key_id": key_id(KEY),
            "suppressed_at": BEGAN,
            "suppressed_on": BEGAN.date(),
        }
        for user in users
    ]
    site.warehouse.write(table, pa.Table.from_pylist(entries, table.arrow_schema()))


class TestTwoRuns:
    """Two statements that only insert are no conflict for BigQuery: of two runs that
    sum up the same new days at once, both write them."""

    ADDED = "INSERT INTO export_user_days SELECT * FROM export_user_days"

    def test_that_sum_up_the_same_days_at_once_count_no_event_twice(self, make_site):
        """Defect: what another run had written in the meantime doubled the features."""
        site = make_site(of_day(AS_OF - 3 * DAY, 1))
        others = [self.ADDED]

        class Overtaken(Warehouse):
            def execute(self, sql: str, parameters: Any = None) -> int:
                billed = super().execute(sql, parameters)
                while others:
                    super().execute(others.pop())
                return billed

        warehouse = Overtaken(site.settings, client=site.warehouse.client)
        features, days_read = site.incremental(warehouse=warehouse)

        assert features == site.full()
        assert (site.incremental(), days_read) == ((features, 0), 2)

    def test_of_which_the_other_was_later_are_mended_by_the_next(self, make_site):
        """Days that are in the sums twice are summed up anew."""
        site = make_site(of_day(AS_OF - 3 * DAY, 1))
        site.incremental()
        site.warehouse.execute(self.ADDED)

        assert site.incremental() == (site.full(), 1)

    def test_that_never_end_are_a_conflict(self, make_site):
        """Nothing is published from sums that may be wrong."""
        site = make_site(of_day(AS_OF - 3 * DAY, 1))
        added = self.ADDED

        class Doubled(Warehouse):
            def execute(self, sql: str, parameters: Any = None) -> int:
                return super().execute(sql, parameters) + super().execute(added)

        warehouse = Doubled(site.settings, client=site.warehouse.client)
        with pytest.raises(Conflict, match="same days"):
            site.incremental(warehouse=warehouse)


class TestFullRuns:
    def test_leave_no_mistake_and_nobody_who_was_forgotten(self, make_site):
        """All days are summed up anew: what is in the sums by whatever mistake is gone,
        and so are users whose suppression came later."""
        strict = strictly(make_site)
        site = strict.site
        site.warehouse.execute(
            "UPDATE export_user_days SET n_events = 99 "
            "WHERE shard >= '2026-01-20' AND user_id IS NOT NULL"
        )
        suppress(site, "gone")
        wrong, unread = site.incremental()
        features, days_read = site.incremental(full=True)
        left = site.rows("SELECT DISTINCT user_id FROM export_user_days")

        assert wrong["stays"] != strict.after["stays"]
        assert features == {"stays": strict.after["stays"]}
        assert (unread, days_read) == (0, 1)
        assert {row["user_id"] for row in left} == {"stays", None}

    def test_forget_so_many_at_once_as_a_statement_takes(self, strict, monkeypatch):
        """All parameters of a statement have 10 MB; a long list takes several."""
        sent = []
        run = strict.site.run(
            warehouse=SimpleNamespace(execute=lambda _, of: sent.append(of["user_ids"]))
        )
        monkeypatch.setattr(user_days, "REMOVED_AT_ONCE", 2)
        user_days.forget(run, {"e", "d", "c", "b", "a"})
        user_days.forget(run, ())

        assert sent == [["a", "b"], ["c", "d"], ["e"]]


class TestDeployments:
    def test_without_the_table_read_the_export(self, make_site, capfd):
        """An older deployment, whose set-up has not run since: the log says so."""
        site = make_site(of_day(AS_OF - DAY, 2))
        site.warehouse.drop("export_user_days")
        features, days_read = site.incremental()

        assert features == site.full()
        assert (len(features), days_read) == (4, None)
        assert "user-day sums not used" in capfd.readouterr().out

    @pytest.mark.long
    def test_read_the_export_where_sums_would_expire_at_once(self, make_site):
        """BigQuery drops what is written to an expired partition: days that old are
        summed up by nobody."""
        site = make_site(
            of_day(AS_OF - DAY, 1), PROPENSITY_RETENTION_DAYS="export_user_days=70"
        )
        old, _ = site.incremental(began_at=BEGAN + timedelta(days=10))
        rows = site.rows("SELECT * FROM export_user_days")
        site.incremental()

        assert (old, rows) == (site.full(), [])
        assert site.rows("SELECT * FROM export_user_days")

    def test_keep_a_use_case_without_sums_as_it_is(self, strict):
        """It has a features.sql alone, which reads the export."""
        run = strict.site.run(use_case=replace(USE_CASE, name="first_day_churn"))

        assert not user_days._are_kept(run)


class TestSummed:
    def test_days_in_a_row_are_one_statement(self):
        """Neighbours among the tables that there are, with the days between them."""
        days = [FIRST + n * DAY for n in range(7)]
        states = dict.fromkeys(days[:6], "a")
        kept = {**states, days[1]: "b", days[4]: "b", days[6]: "a"} | {days[0]: "b"}
        summed = Summed(states=states, kept=kept)

        assert summed.changed(all_of_them=False) == [
            (days[0], days[1]),
            (days[4], days[4]),
            (days[6], days[6]),
        ]
        assert summed.changed(all_of_them=True) == [(days[0], days[6])]

    def test_a_day_that_is_being_streamed_is_never_as_it_was(self):
        """Nobody can tell what its table holds."""
        summed = Summed(states={FIRST: UNKNOWN}, kept={FIRST: UNKNOWN})

        assert summed.changed(all_of_them=False) == [(FIRST, FIRST)]


# What may become of an export between two runs.
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["new", "late", "rewritten", "gone", "streamed", "daily"]),
        st.integers(0, 75),
        st.integers(0, 99),
    ),
    max_size=5,
)
HISTORIES = st.lists(st.tuples(CHANGES, st.integers(0, 8)), min_size=2, max_size=4)


def change(site: Site, kind: str, day: date, seed: int, zone: int) -> None:
    """Let something become of a day of the export."""
    name, rows = f"{day:%Y%m%d}", of_day(day, seed, zone=zone)
    if kind == "gone":
        site.export("DROP TABLE IF EXISTS {ga4}.events_{name}", name=name)
    elif kind == "rewritten":
        # With as many rows as before.
        with contextlib.suppress(NotFound):
            site.export(
                "UPDATE {ga4}.events_{name} SET event_name = 'view_item' WHERE TRUE",
                name=name,
            )
    elif kind == "streamed" and rows:
        site.stream(day, rows)
    elif kind == "late" or rows:
        site.load([*rows, event(f"late.{seed}", day)] if kind == "late" else rows)


def holds_for(make_site: Callable[..., Site], history: Any, zone: int) -> list[int]:
    """
    Check that after each change of an export both ways give the same rows.

    Return how many days the sums read each time.
    """
    read = []
    site = make_site(weeks(FIRST, FIRST + 2 * WEEK, step=5, zone=zone))
    as_of = FIRST + 3 * WEEK
    for changes, days in history:
        for kind, back, seed in changes:
            change(site, kind, as_of - back * DAY, seed, zone)
        features, days_read = site.incremental(as_of)

        assert features == site.full(as_of)
        # By the sums, and not because they could not be used.
        assert days_read is not None
        read.append(days_read)
        as_of += days * DAY
    return read


class TestAnyHistory:
    def test_gives_the_rows_of_the_export(self, make_site):
        """Days that are new, late, rewritten, gone, streamed and then daily. Of its six
        the second run does not read the two that are as they were."""
        history = [
            ([("streamed", 1, 1), ("new", 3, 1)], 7),
            (
                [
                    ("daily", 8, 1),
                    ("late", 7, 2),
                    ("new", 2, 1),
                    ("rewritten", 23, 1),
                    ("gone", 28, 1),
                ],
                1,
            ),
        ]
        assert holds_for(make_site, history, 14) == [5, 4]

    @pytest.mark.long
    @settings(
        max_examples=15,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(history=HISTORIES, zone=st.sampled_from([-12, 0, 14]))
    def test_gives_them_in_any_order_of_changes(self, make_site, history, zone):
        """The same, oftener."""
        holds_for(make_site, history, zone)
