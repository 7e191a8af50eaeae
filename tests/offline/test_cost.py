"""
cost, specified: what is used follows from the code, what it costs from one table.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, replace
from datetime import UTC, date, datetime

import pytest

from benchmarks.features import size_of
from deploy import functions
from deploy.deployment import Alerts
from docs import cost as cost_page
from local.stack import ROOT
from offline import cost
from offline.cost import Size
from propensity import tables, usecases
from propensity.lookup import MAXIMUM_USERS
from propensity.settings import Settings
from tests.events import bet, registration
from tests.functions.streaming import rows_of

SMALL = Size(users=50_000, events_a_day=100_000, lookups=30_000)


def usd(size: Size) -> float:
    return sum(one.usd for one in cost.charges(cost.usage(size)))


def scanned(size: Size, function: str) -> float:
    return cost.TIB * sum(
        line.amount
        for line in cost.usage(size)
        if (line.price, line.function) == ("query_tib", function)
    )


def bytes_of(table: tables.Table, row) -> int:
    return sum(size_of(row.get(column.name), column) for column in table.columns)


class TestBytes:
    def test_of_a_training_are_those_of_its_windows(self):
        """Features and labels each read the shards between their own bounds."""
        features, labels = cost.shards(26)

        # Twenty-five weeks between snapshots, the lookback, and a day at each end.
        assert features == 25 * 7 + 60 + 2
        assert labels == 25 * 7 + 7 + 2
        assert scanned(SMALL, "model_training") == 100_000 * (
            features * cost.FEATURE_BYTES + labels * cost.LABEL_BYTES
        )

    def test_of_a_lookup_are_the_least_that_is_billed(self):
        """Ten MiB a query; many users asked for together share one."""
        shared = replace(SMALL, lookups_a_query=1_000)

        assert scanned(SMALL, "get_proba") == 30_000 * 10 * 1024**2
        assert scanned(shared, "get_proba") == 30 * 10 * 1024**2

    def test_of_rows_are_those_that_are_written(self):
        """What the calculator takes for a row is what the code makes of one."""
        at = datetime(2026, 3, 2, tzinfo=UTC)
        events = [
            make(
                user_id="0b0f6c1e-9d4f-4b35-9d0b-0c9a0b1f0d11",
                event_id="5b0f6c1e-9d4f-4b35-9d0b-0c9a0b1f0d12",
                event_time="2026-03-01T12:00:00Z",
            )
            for make in (*[bet] * 9, registration)
        ]
        stored = [
            bytes_of(tables.STREAM_EVENTS, row)
            for row in rows_of(events, received_at=at).to_pylist()
        ]
        prediction = {
            "use_case": "ga4_purchase",
            "user_id": "1234567890.1234567890",
            "as_of": at.date(),
            "probability": 0.1,
            "percentile": 3,
            "model_version": 3,
            "scored_at": at,
        }
        features = dict.fromkeys(usecases.load("card_fraud").features, -1.359807133673)
        inference = {
            "use_case": "card_fraud",
            "inference_id": "0" * 64,
            "event_id": "5b0f6c1e-9d4f-4b35-9d0b-0c9a0b1f0d12",
            "user_id": "5b0f6c1e-9d4f-4b35-9d0b-0c9a0b1f0d12",
            "event_time": at,
            "event_date": at.date(),
            "model_version": 3,
            "probability": 0.1,
            "is_warm": True,
            "is_shadow": False,
            "epoch": 4,
            "source": "stream",
            "features": json.dumps(features),
            "scored_at": at,
            "scored_on": at.date(),
            "latency_ms": 3.0,
        }

        assert sum(stored) / 10 == pytest.approx(cost.EVENT_BYTES, rel=0.1)
        assert bytes_of(tables.PREDICTIONS, prediction) == cost.PREDICTION_BYTES
        assert bytes_of(tables.INFERENCE_LOG, inference) == cost.INFERENCE_BYTES

    def test_of_an_event_are_those_of_real_rows(self, data_folder):
        """The columns that ga_events reads, of a real export, as BigQuery counts."""
        import orjson
        import zstandard

        from offline.doctor import EXPORT_COLUMNS

        data = (data_folder / "ga4_sample.ndjson.zst").read_bytes()
        reader = zstandard.ZstdDecompressor().stream_reader(data)
        rows = [orjson.loads(line) for line in reader.read().splitlines()]

        def size(value, path):
            if isinstance(value, list):
                return sum(size(one, path) for one in value)
            if not path:
                if isinstance(value, str):
                    is_text = not re.fullmatch(r"event_timestamp|user_first.*", name)
                    return 2 + len(value.encode()) if is_text else 8
                return 8 if value is not None else 0
            return size(value.get(path[0]), path[1:]) if value else 0

        total = 0
        for name in EXPORT_COLUMNS:
            total += sum(size(row, name.split(".")) for row in rows)

        assert total / len(rows) == pytest.approx(cost.FEATURE_BYTES, rel=0.1)


class TestCharges:
    @pytest.mark.parametrize(
        "field",
        ["users", "events_a_day", "lookups", "scorings", "stream_events_a_day"],
    )
    def test_never_fall_where_there_is_more(self, field):
        """More of anything costs no less."""
        many = Size(users=10**6, events_a_day=10**7, lookups=10**7, scorings=10**7,
                    stream_events_a_day=10**7)  # fmt: skip
        more = replace(many, **{field: 2 * getattr(many, field)})

        assert usd(more) > usd(many)

    def test_leave_out_what_is_free(self):
        """A small use costs nothing but what has no free tier."""
        tiny = Size(users=100, events_a_day=100)
        found = cost.charges(cost.usage(tiny))

        assert sum(one.usd for one in found) < 0.05
        assert all(one.usd == 0 for one in found if one.amount <= one.free)

    def test_begin_where_the_free_tier_ends(self):
        """Only what is beyond is charged."""
        line = cost.Line(price="query_tib", what="", amount=3.0)
        [found] = [one for one in cost.charges([line]) if one.price == "query_tib"]

        assert (found.free, found.usd) == (1.0, 12.5)

    def test_add_up(self):
        """The services' sum is that of the charges."""
        found = cost.charges(cost.usage(SMALL))

        assert sum(cost.by_service(found).values()) == pytest.approx(usd(SMALL))

    def test_are_of_every_function(self):
        """Each function of a deployment that has all is computed."""
        size = Size(users=10, events_a_day=10, lookups=10, scorings=10,
                    stream_events_a_day=10)  # fmt: skip
        computed = {
            line.function
            for line in cost.usage(size)
            if line.price in ("vcpu_s", "kept_vcpu_s")
        }

        assert computed == {one.target for one in functions.load()}


class TestInstances:
    ONLINE = Size(users=50_000, events_a_day=0, scorings=100_000)

    def test_are_billed_while_up_where_they_keep_their_processor(self):
        """What has a processor between requests is charged idle, too."""
        [score] = [one for one in functions.load() if one.keeps_cpu]
        used = {
            line.price: line.amount
            for line in cost.usage(self.ONLINE)
            if line.function == score.target
        }
        price = cost.prices()["kept_vcpu_s"]

        assert used["kept_vcpu_s"] == cost.MONTH_S * score.cpu
        assert used["kept_gib_s"] == cost.MONTH_S * cost.gib_of(score.memory)
        # Neither by request, nor for requests.
        assert not used.keys() & {"vcpu_s", "gib_s", "request_million"}
        assert (
            usd(self.ONLINE)
            > price.usd * (used["kept_vcpu_s"] - price.free)
            == pytest.approx(90.35, abs=0.01)
        )

    @pytest.mark.parametrize("requests", [1, 100, 1_000, 2_900, 10**5, 10**7, 10**9])
    def test_are_up_no_less_than_chance_keeps_them(self, requests):
        """Requests of a Poisson process keep one up no longer, by its own formula."""
        by_chance = cost.MONTH_S * -math.expm1(-requests / cost.MONTH_S * cost.IDLE_S)
        instances = cost.PEAK * requests / cost.MONTH_S / 150

        assert cost.kept_s(requests, 150) >= max(1.0, instances) * by_chance
        assert cost.kept_s(requests, 150) <= math.ceil(instances) * cost.MONTH_S

    def test_are_up_only_where_there_are_scorings(self, capsys):
        """Who does not use score pays nothing for it, and who does is told."""
        without = replace(self.ONLINE, scorings=0)

        assert cost.up_s(without) == {}
        assert not [one for one in cost.usage(without) if one.function == "score"]
        assert "is billed while" not in cost.told(without)
        assert "`score` is billed while an instance of it is up" in cost.told(
            self.ONLINE
        )
        assert "without scorings nothing is up" in cost.told(self.ONLINE)

    def test_of_score_ask_for_features_of_users(self):
        """Each scoring pays a query, unless events are scored by their own fields."""
        by_event = replace(self.ONLINE, scores_users=False)

        assert scanned(self.ONLINE, "score") == 100_000 * 20 * 1024**2
        assert scanned(by_event, "score") == 0


class TestLimits:
    MIDDLE = Size(users=2_000_000, events_a_day=5_000_000, use_cases=2)

    def test_are_told_where_a_default_is_too_low(self):
        """A query that is refused, a run and a day that alert, and what to set."""
        found = {one.setting: one for one in cost.limits(self.MIDDLE)}
        query = found["PROPENSITY_MAXIMUM_BYTES_BILLED"]

        assert query.default == Settings(project="p").maximum_bytes_billed
        assert query.needed == scanned(self.MIDDLE, "model_training") / 2
        assert found["DEPLOY_ALERT_RUN_BYTES"].default == Alerts().run_bytes
        assert found["DEPLOY_ALERT_DAY_BYTES"].default == Alerts().day_bytes
        # All that is scheduled, on a first of the month that is a Monday.
        assert found["DEPLOY_ALERT_DAY_BYTES"].needed > 2 * query.needed

    def test_are_settings_that_would_be_taken(self):
        """What is told can be set as it stands, and is enough."""
        for one in cost.limits(self.MIDDLE):
            assert one.set_to > one.needed > one.default
            assert f"| `{one.setting}` |" in cost.told(self.MIDDLE)
            assert f"| {one.set_to} |" in cost.told(self.MIDDLE)
            if one.setting.startswith("PROPENSITY_"):
                settings = Settings.from_environment(
                    {"GOOGLE_CLOUD_PROJECT": "project", one.setting: str(one.set_to)}
                )
                assert settings.maximum_bytes_billed == one.set_to
            else:
                example = (ROOT / "deploy/settings.env.example").read_text("utf-8")
                assert f"#{one.setting}={one.default}\n" in example

    def test_of_a_run_count_all_its_queries(self):
        """Predictions alert by the sum of what their queries read."""
        weekly = replace(self.MIDDLE, users=500_000_000, events_a_day=1, use_cases=1)
        [run] = [
            one
            for one in cost.limits(weekly)
            if one.setting == "DEPLOY_ALERT_RUN_BYTES"
        ]

        assert run.what == "a run of `predictions`"
        assert run.needed * cost.WEEKS == pytest.approx(scanned(weekly, "predictions"))

    def test_of_a_day_count_the_stream(self):
        """Scores of the stream pass the bound of a day, and that of no run."""
        game = Size(users=5_000_000, events_a_day=0, stream_events_a_day=20_000_000)

        assert [one.setting for one in cost.limits(game)] == ["DEPLOY_ALERT_DAY_BYTES"]

    def test_are_none_for_a_small_site(self):
        """Then that is said."""
        assert cost.limits(SMALL) == []
        assert "No default limit on bytes is too low" in cost.told(SMALL)


class TestPrices:
    def test_each_have_a_source_and_a_day(self):
        """No price without where it is from, and when it was seen there."""
        for price in cost.prices().values():
            assert price.source.startswith("https://cloud.google.com/")
            assert date(2024, 1, 1) <= price.checked <= date(2026, 12, 31)
            assert price.usd > 0
            assert price.note

    def test_are_all_used(self):
        """What is charged has a price and a unit, and no price is idle."""
        size = Size(users=10, events_a_day=10, lookups=10, scorings=10,
                    stream_events_a_day=10)  # fmt: skip

        assert {line.price for line in cost.usage(size)} == {*cost.prices()}
        assert {*cost.UNITS} == {*cost.prices()}


class TestCommand:
    def test_prints_what_the_page_shows(self, capsys):
        """docs/cost.md is what the command prints for its sizes."""
        page = (ROOT / "docs/cost.md").read_text("utf-8")

        assert page == cost_page.page()
        for _, _, size in cost_page.SIZES:
            words = []
            for field in fields(Size):
                value = getattr(size, field.name)
                if field.name == "scores_users":
                    words += [] if value else ["--stream-scores-events"]
                else:
                    words += [f"--{field.name.replace('_', '-')}", str(value)]
            assert cost.main(words) == 0
            assert capsys.readouterr().out.strip() in page

    def test_prints_json(self, capsys):
        """All figures, for a program."""
        arguments = ["--users", "50000", "--events-a-day", "100000", "--json"]

        assert cost.main(arguments) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["usd"] == pytest.approx(sum(report["usd_by_service"].values()))
        assert (report["limits"], report["seconds_up"]) == ([], {})

    def test_knows_that_clustering_does_not_count_for_a_limit(self, capsys):
        """A lookup reads a few blocks, and is refused by the size of the table."""
        few = ["--events-a-day=9000", "--lookups=1000"]

        for users, is_told in ((10_000_000, False), (30_000_000, True)):
            assert cost.main([f"--users={users}", *few]) == 0
            told = capsys.readouterr().out
            assert ("PROPENSITY_LOOKUP_MAXIMUM_BYTES_BILLED" in told) == is_told

    def test_prints_limits_and_time_up_as_json(self, capsys):
        """What must be raised and what is up, for a program, too."""
        arguments = ["--users=9", "--events-a-day=9000000", "--scorings=9000", "--json"]

        assert cost.main(arguments) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["limits"][0]["setting"] == "PROPENSITY_MAXIMUM_BYTES_BILLED"
        assert report["limits"][0]["set_to"] > report["limits"][0]["needed"]
        assert report["seconds_up"] == {"score": cost.MONTH_S}

    @pytest.mark.parametrize(
        ("option", "told"),
        [
            ("--users=-5", "-5 is not a whole number, at least 0"),
            ("--use-cases=0", "0 is not a whole number, at least 1"),
            ("--retention-days=x", "x is not a whole number, at least 1"),
            ("--lookups-a-query=5000", "5000 is not a whole number, 1 to 1,000"),
        ],
    )
    def test_refuses_what_cannot_be(self, option, told, capsys):
        """A value out of bounds ends as a wrong option does, with the bound."""
        with pytest.raises(SystemExit) as ended:
            cost.main(["--users=1", "--events-a-day=1", option])

        assert ended.value.code == 2
        assert told in capsys.readouterr().err

    def test_takes_as_many_lookups_a_query_as_the_function(self, capsys):
        """The largest POST is one that can be asked about."""
        words = ["--users=1", "--events-a-day=0", "--lookups=1000"]

        assert cost.main([*words, f"--lookups-a-query={MAXIMUM_USERS}"]) == 0
        assert "a query for 1,000 lookups |" in capsys.readouterr().out
        assert cost.main(words) == 0
        assert "a query for 1 lookup |" in capsys.readouterr().out

    def test_prints_no_table_of_scans_without_scans(self, capsys):
        """A head with nothing below it says nothing."""
        assert cost.main(["--users=50000", "--events-a-day=0"]) == 0
        assert "scans a month" not in capsys.readouterr().out
