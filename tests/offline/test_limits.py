"""
Limits, specified: what exceeds one is told before a deployment has it, and no other.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy import configuration
from offline import limits, partitions
from offline.limits import queries, scans
from offline.partitions import Size
from offline.volumes import GIB, MIB, readings
from propensity.settings import Settings
from tests.deploy.conftest import SETTINGS as DEPLOYED
from tests.offline.sizes import LARGE, SETTINGS, SMALL, reading_of


class TestDeploy:
    def lines(self, **more: str) -> list[str]:
        return limits.too_low(configuration.of({**DEPLOYED, **more}))

    def test_says_which_limits_a_size_would_exceed(self):
        """As propensity cost does, of the functions that are deployed."""
        size = {
            "DEPLOY_USERS": "5000000",
            "DEPLOY_EVENTS_A_DAY": "10000000",
            "DEPLOY_STREAM_EVENTS_A_DAY": "20000000",
            "DEPLOY_USE_CASES": "ga4_purchase first_day_churn",
        }
        lines = "\n".join(self.lines(**size))

        for what in (
            "`training_rows.sql` of `model_training`",
            "`lookup_value.sql` of `get_proba`",
            "`stream_rows.sql` of `score`",
            "`stream_rows.sql` of `score_stream`",
        ):
            assert what in lines
        few = "\n".join(self.lines(**size, DEPLOY_FUNCTIONS="predictions get_proba"))
        assert "`lookup_value.sql` of `get_proba`" in few
        assert "score" not in few
        assert "model_training" not in few

    def test_goes_by_the_settings_of_the_deployment(self):
        """A limit that has been raised is exceeded no more."""
        size = {"DEPLOY_USERS": "1000000", "DEPLOY_EVENTS_A_DAY": "2000000"}
        raised = {
            "PROPENSITY_MAXIMUM_BYTES_BILLED": f"{500 * GIB}",
            "DEPLOY_ALERT_RUN_BYTES": f"{1_000 * GIB}",
        }

        assert "PROPENSITY_MAXIMUM_BYTES_BILLED" in self.lines(**size)[0]
        assert self.lines(**size, **raised) == [
            "no limit on bytes is too low for 1,000,000 users, 2,000,000 events a day"
        ]

    def test_says_that_it_was_told_no_size(self):
        """Without one nothing is compared, and that is said."""
        [line] = self.lines()

        assert "DEPLOY_USERS is not set" in line


class TestBilled:
    def test_is_the_least_of_each_table(self):
        """Ten MiB, however little is read."""
        tiny = Size(users=1, events_a_day=1, stream_events_a_day=1)
        for reading in readings(tiny):
            if reading.statement.name == "postcodes":
                continue
            tables_read = {part.table for part in reading.parts if part.share}
            is_listed = any(part.table == partitions.EXPORT for part in reading.parts)
            assert reading.billed(1) == (len(tables_read) + is_listed) * 10 * MIB

    @pytest.mark.parametrize("users", [10_000, 300_000, 450_000])
    def test_of_a_lookup_is_the_table_where_clusters_spare_nothing(self, users):
        """Under 64 MB the whole table is read, whomever a query asks for."""
        size = Size(users=users, events_a_day=1, returning=1.0)
        lookup = reading_of("lookup", size)

        assert users * 144 < 64 * MIB
        assert lookup.billed(1) == max(10 * MIB, users * 72)

    def test_of_a_lookup_is_no_more_than_a_block_a_partition(self):
        """In a large table a user lies in one block of each partition."""
        size = Size(users=50_000_000, events_a_day=1, returning=1.0)
        lookup = reading_of("lookup", size)

        assert lookup.billed(1) < 64 * MIB < lookup.bound
        # A thousand users lie in all of them.
        assert lookup.billed(1_000) == pytest.approx(lookup.bound, rel=0.01)


class TestQueries:
    def test_are_as_many_as_requests_where_these_are_few(self):
        """Who comes alone pays a query of his own."""
        few = Size(users=1, events_a_day=0, stream_events_a_day=1_000)

        assert queries("score_stream", few) == (pytest.approx(1_000 * limits.DAYS), 1)

    def test_are_shared_where_these_are_many(self):
        """An instance has so many under way at once, and no more."""
        many = Size(users=1, events_a_day=0, stream_events_a_day=20_000_000)
        made, users = queries("score_stream", many)
        instances = limits.instances("score_stream", many)

        assert instances == 2
        assert made == instances * 2 * limits.MONTH_S
        assert made * users == pytest.approx(20_000_000 * limits.DAYS)

    def test_ask_for_no_more_users_than_the_code_does(self):
        """A query names a thousand users at most."""
        many = Size(users=1, events_a_day=0, stream_events_a_day=2 * 10**12)

        assert queries("score_stream", many)[1] <= 1_000

    def test_are_written_by_as_many_writers_as_the_code_has(self):
        """The constants are those of the functions."""
        from propensity.online import lookup, question
        from propensity.online import score as online
        from propensity.runs import compact, evaluate, report, thresholds
        from propensity.stream import consumers
        from propensity.stream import score as streamed

        assert limits.WRITERS == {
            "get_proba": lookup.CONCURRENT_QUERIES,
            "score": online.CONCURRENT_QUERIES,
            "score_stream": streamed.SCORING_GROUPS,
        }
        assert (
            limits.QUERY_USERS
            == question.MAXIMUM_USERS
            == online.QUERY_USERS
            == consumers.GROUP_MESSAGES
        )
        assert partitions.CATCH_UP == evaluate.CATCH_UP
        assert partitions.MEMORY == thresholds.MEMORY
        assert partitions.LOOK_BACK == report.LOOK_BACK
        assert partitions.AT_ONCE == compact.DAYS_AT_ONCE
        assert Size(users=1, events_a_day=1).late_days == (
            SETTINGS.maximum_lateness_days
        )

    def test_of_postcodes_go_by_the_hour(self):
        """An instance of the stream reads the index again when it is an hour old."""
        [found] = [
            scan for scan in scans(SMALL) if scan.reading.statement.name == "postcodes"
        ]

        assert found.runs == pytest.approx(limits.DAYS * 24)


class TestLimits:
    def all_of(self, size: Size, settings: Settings = SETTINGS):
        return limits.limits(size, settings, run_bytes=100 * GIB, day_bytes=1024 * GIB)

    def test_are_of_all_functions_that_serve(self):
        """score and score_stream have lookups' limit as get_proba's largest has."""
        size = replace(LARGE, lookups=1, scorings=1)
        names = [limit.what for limit in self.all_of(size) if "LOOKUP" in limit.setting]

        assert names == [
            "`lookup_value.sql` of `get_proba`",
            "`stream_rows.sql` of `score`",
            "`stream_rows.sql` of `score_stream`",
        ]

    def test_are_told_in_words(self):
        """A line each: the setting, what exceeds it, by how much, and a value."""
        lines = limits.advice(self.all_of(replace(LARGE, lookups=1)))

        assert any(
            line.startswith("PROPENSITY_LOOKUP_MAXIMUM_BYTES_BILLED is 1 GiB; ")
            and "it grows with the history" in line
            for line in lines
        )
