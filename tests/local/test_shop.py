"""The generated shop: the traps of its export."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from local.exports.ga4_schema import ARROW_SCHEMA
from local.generators.export import LATEST_ARRIVAL_DAYS, Shop

DAY = timedelta(days=1)
EVERY_TYPE = {"int_value", "double_value", "float_value", "string_value"}


def whole(shop: Shop) -> pa.Table:
    """Every row of an export."""
    return pa.concat_tables(map(shop.shard, shop.dates))


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(users=800, days=150, seed=3)


@pytest.fixture(scope="module")
def rows(shop) -> list[dict[str, Any]]:
    return whole(shop).to_pylist()


def values(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Every value of one event parameter, as its four typed fields."""
    return [p["value"] for row in rows for p in row["event_params"] if p["key"] == key]


class TestExport:
    def test_is_the_same_for_the_same_seed(self):
        first, second = (whole(Shop(users=200, days=60, seed=3)) for _ in range(2))

        assert first.equals(second)
        assert first.schema.equals(ARROW_SCHEMA)

    def test_has_a_season(self, rows):
        """Towards midsummer a visit is worth more."""
        names = Counter((row["event_date"][:6], row["event_name"]) for row in rows)
        sold = {
            month: names[month, "purchase"] / names[month, "session_start"]
            for month in ("202502", "202506")
        }

        assert sold["202506"] > 1.5 * sold["202502"]

    def test_has_the_shops_date_and_times_in_utc(self, rows):
        """event_date is New York's date; many events are on the next UTC day."""
        zone = ZoneInfo("America/New_York")
        ahead = 0
        for row in rows:
            time = datetime.fromtimestamp(row["event_timestamp"] / 1e6, UTC)
            assert f"{time.astimezone(zone):%Y%m%d}" == row["event_date"]
            ahead += f"{time:%Y%m%d}" > row["event_date"]

        assert ahead > len(rows) / 10

    def test_has_refunds_days_after_their_purchases(self, rows):
        """The same transaction and value, two to fifteen days later."""
        times: dict[str, dict[str, tuple[int, float]]] = defaultdict(dict)
        for row in rows:
            if row["event_name"] in ("purchase", "refund"):
                (transaction,) = values([row], "transaction_id")
                total = sum(i["price"] * i["quantity"] for i in row["items"])
                revenue = row["ecommerce"]["purchase_revenue"]
                assert revenue is None or revenue == pytest.approx(total)
                name = transaction["string_value"]
                times[name][row["event_name"]] = row["event_timestamp"], total
        pairs = [t for t in times.values() if len(t) == 2]
        waits = [(t["refund"][0] - t["purchase"][0]) / 86_400e6 for t in pairs]

        assert len(pairs) > 10
        assert all(2 <= wait <= 15 for wait in waits)
        assert all(t["refund"][1] == t["purchase"][1] for t in pairs)

    def test_grows_for_three_days_by_rows_that_come_late(self, shop):
        """No row is taken from a day or changed."""
        day = shop.late_days()[5]
        seen = [
            Counter(map(str, shop.shard(day, seen_on=day + n * DAY).to_pylist()))
            for n in range(LATEST_ARRIVAL_DAYS + 1)
        ]

        assert all(a <= b for a, b in zip(seen, seen[1:], strict=False))
        assert seen[0] < seen[-1] == Counter(map(str, shop.shard(day).to_pylist()))

    def test_loyalty_points_go_with_what_is_bought(self, shop, rows):
        """A source of features: buyers have more of them, and no row is of today."""
        points = Counter()
        for row in shop.loyalty().to_pylist():
            points[row["customer_id"]] += row["points"]
            assert row["changed_at"] <= datetime(2025, 7, 1, tzinfo=UTC) + DAY
        users = {row["user_pseudo_id"] for row in rows}
        buyers = {r["user_pseudo_id"] for r in rows if r["event_name"] == "purchase"}

        mean, of_buyers = (
            sum(points[user] for user in some) / len(some) for some in (users, buyers)
        )
        assert of_buyers > 1.5 * mean


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
        found = values(rows, key)

        assert kinds == {k for value in found for k in value if value[k] is not None}

    @pytest.mark.parametrize(
        ("column", "inner", "marks"),
        [
            ("geo", "country", {"(not set)"}),
            ("device", "operating_system", {"<Other>"}),
            ("traffic_source", "source", {"<Other>", "(data deleted)"}),
            ("ecommerce", "transaction_id", {"(not set)", None}),
            ("privacy_info", "analytics_storage", {"Yes", "No", None}),
        ],
    )
    def test_marks_stand_where_values_are_missing(self, rows, column, inner, marks):
        assert marks <= {row[column][inner] for row in rows}

    def test_some_rows_have_no_items_and_some_are_exported_twice(self, rows):
        """Equal in every column."""
        assert any(r["event_name"] == "view_item" and not r["items"] for r in rows)
        twice = sum(n == 2 for n in Counter(map(str, rows)).values())

        assert 0.002 * len(rows) < twice < 0.01 * len(rows)
