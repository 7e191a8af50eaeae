"""
The generated shop, specified: its process, its truth, and the traps of its export.

One small shop serves most tests; what is statistical fixes the seed and says why the
tolerance is what it is.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from local.exports.ga4_schema import ARROW_SCHEMA
from local.generators.shop.export import Shop
from local.generators.shop.world import DAY, LATEST_ARRIVAL_DAYS

LAST = date(2025, 6, 30)
EVERY_TYPE = {"int_value", "double_value", "float_value", "string_value"}


def small(**parameters: Any) -> Shop:
    return Shop(
        **{"users": 800, "days": 150, "seed": 3, "last_date": LAST} | parameters
    )


def written(shop: Shop) -> bytes:
    file = io.BytesIO()
    for _, table in shop.shards():
        pq.write_table(table, file)
    return file.getvalue()


def midnight_us(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**6


@pytest.fixture(scope="module")
def shop() -> Shop:
    return small()


@pytest.fixture(scope="module")
def daily(shop) -> pa.Table:
    """All rows of the daily shards."""
    return pa.concat_tables(t for name, t in shop.shards() if "intraday" not in name)


@pytest.fixture(scope="module")
def rows(daily) -> list[dict[str, Any]]:
    return daily.to_pylist()


def values(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Every value of one event parameter, as its four typed fields."""
    return [p["value"] for row in rows for p in row["event_params"] if p["key"] == key]


def types(rows: list[dict[str, Any]], key: str) -> set[str]:
    return {
        kind for value in values(rows, key) for kind in value if value[kind] is not None
    }


def tiny(**parameters: Any) -> Shop:
    """A shop to compare bytes of, which are alike or not at any size."""
    return small(users=200, days=60, **parameters)


@pytest.fixture(scope="module")
def of_tiny() -> bytes:
    return written(tiny())


class TestSeed:
    def test_the_same_seed_gives_the_same_bytes(self, of_tiny):
        """Everything follows from the seed, also where the truth is asked for first."""
        shop = tiny()
        shop.true_probabilities([LAST])

        assert written(shop) == of_tiny

    @pytest.mark.parametrize("wrong", [{"users": 0}, {"days": 1}])
    def test_an_empty_shop_is_refused(self, wrong):
        """No users or no days make no export."""
        with pytest.raises(ValueError, match="at least 1 user"):
            small(**wrong)


class TestTruth:
    def test_the_truth_agrees_with_what_happens(self):
        """
        Over weeks, seeds and seasons, probabilities average to the share that buys, and
        rank better than any model can.

        About 12,000 (user, week) pairs of a mean near 4%: a standard error of 0.2%, of
        which three are allowed, overall and among the tenth of highest probability.
        """
        truth, bought = [], []
        for seed in range(4):
            season = {"season": 0.8, "drift": -0.3} if seed % 2 else {}
            shop = small(seed=seed, users=1500, **season)
            weeks = [LAST - timedelta(days=6 + 14 * n) for n in range(4)]
            probabilities, happened = outcomes(shop, weeks)
            truth.append(probabilities)
            bought.append(happened)
        truth, bought = np.concatenate(truth), np.concatenate(bought)
        top = truth > np.quantile(truth, 0.9)

        assert len(truth) > 10_000
        assert 0 <= truth.min() < truth.max() < 1
        assert roc_auc_score(bought, truth) > 0.85
        for rows in (slice(None), top, ~top):
            p = truth[rows]
            error = np.sqrt((p * (1 - p)).sum()) / len(p)
            assert bought[rows].mean() == pytest.approx(p.mean(), abs=3 * error)


def outcomes(shop: Shop, weeks: list[date]) -> tuple[np.ndarray, np.ndarray]:
    """The true probability and whether the user bought, a row per user and week."""
    sold = defaultdict(list)
    for name, table in shop.shards():
        if "intraday" not in name:
            for kind, user, time in zip(
                table["event_name"].to_pylist(),
                table["user_pseudo_id"].to_pylist(),
                table["event_timestamp"].to_pylist(),
                strict=True,
            ):
                if kind == "purchase":
                    sold[user].append(time)
    truth = shop.true_probabilities(weeks)
    bought = [
        any(
            midnight_us(as_of) <= time < midnight_us(as_of + timedelta(days=7))
            for time in sold[user]
        )
        for as_of, user in zip(
            truth["as_of"].to_pylist(), truth["user_id"].to_pylist(), strict=True
        )
    ]
    return truth["probability"].to_numpy(), np.array(bought)


class TestSeason:
    """Demand that rises towards midsummer, and falls from year to year."""

    def test_is_in_the_truth(self):
        """
        At the peak more is bought, long before it the same, and with drift less.

        Compared on the same users: traits and arrivals do not depend on it.
        """
        far, peak = LAST - timedelta(days=140), date(2025, 6, 18)

        def mean(as_of: date, **options: float) -> float:
            shop = small(users=1_000, days=200, **options)
            return float(
                shop.true_probabilities([as_of])["probability"].to_numpy().mean()
            )

        assert mean(far, season=0.8) == pytest.approx(mean(far), rel=0.05)
        assert mean(peak, season=0.8) > 1.4 * mean(peak)
        assert mean(peak, drift=-0.8) < 0.8 * mean(peak)


class TestExport:
    def test_has_a_shard_a_day_and_two_intraday_ones(self, shop):
        """Named as GA4 names them, in the export's schema."""
        tables = dict(shop.shards())
        names = [f"events_{shop.first_date + n * DAY:%Y%m%d}" for n in range(150)]

        assert list(tables) == [
            *names,
            "events_intraday_20250629",
            "events_intraday_20250630",
        ]
        assert all(table.schema.equals(ARROW_SCHEMA) for table in tables.values())

    def test_the_date_is_the_shops_and_the_time_is_utc(self, rows):
        """event_date is New York's date; many events are on the next UTC day."""
        zone = ZoneInfo("America/New_York")
        ahead = 0
        for row in rows:
            time = datetime.fromtimestamp(row["event_timestamp"] / 1e6, UTC)
            assert f"{time.astimezone(zone):%Y%m%d}" == row["event_date"]
            ahead += f"{time:%Y%m%d}" > row["event_date"]

        assert ahead > len(rows) / 10

    def test_has_the_whole_funnel_each_step_rarer(self, rows):
        """Every event of the funnel is there, in falling numbers."""
        events = Counter(row["event_name"] for row in rows)
        funnel = ["page_view", "view_item", "add_to_cart", "begin_checkout"]
        counts = [events[name] for name in (*funnel, "purchase", "refund")]

        assert counts == sorted(counts, reverse=True)
        assert counts[-1] > 0
        assert events["first_visit"] > 0

    def test_a_refund_follows_its_purchase_by_days(self, rows):
        """The same transaction and value, two to fifteen days later."""
        times: dict[str, dict[str, tuple[int, float]]] = defaultdict(dict)
        for row in rows:
            if row["event_name"] in ("purchase", "refund"):
                (transaction,) = values([row], "transaction_id")
                total = sum(i["price"] * i["quantity"] for i in row["items"])
                times[transaction["string_value"]][row["event_name"]] = (
                    row["event_timestamp"],
                    round(total, 2),
                )
        pairs = [t for t in times.values() if len(t) == 2]
        waits = [(t["refund"][0] - t["purchase"][0]) / 86_400e6 for t in pairs]

        assert len(pairs) > 10
        assert all(2 <= wait <= 15 for wait in waits)
        assert all(t["refund"][1] == t["purchase"][1] for t in pairs)

    def test_revenue_is_the_items_sum(self, rows):
        """Where ecommerce is there, it agrees with the items."""
        sales = [r for r in rows if r["event_name"] == "purchase" and r["ecommerce"]]

        assert any(len(row["items"]) > 1 for row in sales)
        for row in sales:
            total = sum(item["price"] * item["quantity"] for item in row["items"])
            assert row["ecommerce"]["purchase_revenue"] == pytest.approx(total)

    def test_lifetime_value_never_looks_ahead(self, rows):
        """user_ltv is what had been paid, this event included: it never falls."""
        paid: dict[str, tuple[int, float]] = {}
        for row in rows:
            user, now = row["user_pseudo_id"], row["user_ltv"]["revenue"]
            assert now >= paid.get(user, (0, 0.0))[1] - 0.01
            paid[user] = (row["event_timestamp"], now)


class TestTraps:
    @pytest.mark.parametrize(
        ("key", "kinds"),
        [
            ("session_engaged", {"int_value", "string_value"}),
            ("engagement_time_msec", EVERY_TYPE),
            ("value", EVERY_TYPE),
        ],
    )
    def test_a_parameter_comes_in_several_types(self, rows, key, kinds):
        """As in real exports: int, double, float or text, by event and by chance."""
        assert types(rows, key) == kinds

    @pytest.mark.parametrize(
        ("column", "inner", "marks"),
        [
            ("geo", "country", {"(not set)"}),
            ("device", "operating_system", {"<Other>"}),
            ("traffic_source", "source", {"<Other>", "(data deleted)"}),
        ],
    )
    def test_marks_stand_where_values_are_missing(self, rows, column, inner, marks):
        """(not set), <Other> and (data deleted) are values like others."""
        assert marks <= {row[column][inner] for row in rows}

    def test_items_may_be_empty_and_ecommerce_missing(self, rows):
        """An item's view without its item; a purchase without ecommerce."""
        assert any(r["event_name"] == "view_item" and not r["items"] for r in rows)
        assert any(r["event_name"] == "purchase" and not r["ecommerce"] for r in rows)

    def test_some_rows_are_exported_twice(self, rows):
        """Equal in every column, in the same shard."""
        keys = Counter(
            (
                row["event_timestamp"],
                row["event_name"],
                row["user_pseudo_id"],
                row["event_bundle_sequence_id"],
                str(row),
            )
            for row in rows
        )
        twice = sum(n == 2 for n in keys.values())

        assert 0.002 * len(rows) < twice < 0.01 * len(rows)

    def test_late_rows_arrive_within_three_days(self, shop):
        """A shard grows for up to three days and then stays as it is; no row is taken
        from it or changed."""
        day = shop.late_days()[5]
        seen = [
            Counter(map(str, shop.shard(day, seen_on=day + n * DAY).to_pylist()))
            for n in range(LATEST_ARRIVAL_DAYS + 1)
        ]

        assert all(early <= late for early, late in pairwise(seen))
        assert seen[0] < seen[-1] == Counter(map(str, shop.shard(day).to_pylist()))

    def test_the_export_as_it_stood_has_no_later_day(self, shop):
        """seen_on ends the export."""
        names = [name for name, _ in shop.shards(seen_on=LAST - 10 * DAY)]

        assert names[-1] == "events_20250620"

    def test_intraday_rows_repeat_the_day_without_what_comes_later(self, shop):
        """Overlapping with the daily shard, but for late rows and three fields."""
        tables = dict(shop.shards())
        intraday = tables["events_intraday_20250630"]

        assert 0 < intraday.num_rows <= tables["events_20250630"].num_rows
        for name in ("user_ltv", "traffic_source", "is_active_user"):
            assert intraday[name].null_count == intraday.num_rows
