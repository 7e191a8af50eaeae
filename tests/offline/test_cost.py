"""
cost, specified: what is used follows from the code, what it costs from one table.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from datetime import UTC, date, datetime

import pytest

from benchmarks.features import size_of
from deploy import functions
from docs import cost as cost_page
from local.stack import ROOT
from offline import cost
from offline.cost import Size
from propensity import tables, usecases
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
            line.function for line in cost.usage(size) if line.price == "vcpu_s"
        }

        assert computed == {one.target for one in functions.load()}


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

    @pytest.mark.parametrize("option", ["--users=-1", "--use-cases=0"])
    def test_refuses_what_cannot_be(self, option, capsys):
        """A size is no less than nothing."""
        assert cost.main(["--users=1", "--events-a-day=1", option]) == 1
        assert "too little" in capsys.readouterr().err
