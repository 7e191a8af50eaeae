"""
The features of any export, specified: no later event changes one, and real rows give
what pandas makes of them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from typing import Any

import orjson
import pyarrow as pa
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.exports import ga4_rows
from tests import shop
from tests.conftest import new_workplace
from tests.shop import DAY, event, microseconds, purchase
from tests.usecases.ga4_purchase.exports import (
    AS_OF,
    DAY_US,
    FIRST_DAY,
    MIDNIGHT,
    SCHEMA,
    Export,
    ago,
    load_day,
)

MOMENTS = st.one_of(
    st.sampled_from([7, 28, 60]).flatmap(
        lambda days: st.integers(-2, 2).map(lambda step: -days * DAY_US + step)
    ),
    # Of few days: a daily table of each is loaded.
    st.tuples(st.sampled_from([1, 8, 29, 45]), st.integers(0, 23)).map(
        lambda ago: (24 * -ago[0] + ago[1]) * 3_600_000_000
    ),
    st.just(-1),
)
LATER_MOMENTS = st.one_of(
    st.sampled_from([0, 1, DAY_US - 1, DAY_US, 2 * DAY_US]),
    st.integers(0, 48).map(lambda hours: hours * 3_600_000_000),
)
KINDS = st.sampled_from(
    ["page_view", "view_item", "add_to_cart", "begin_checkout", "purchase", "refund"]
)
PARTS = st.tuples(
    KINDS,
    st.integers(1, 3),
    st.sampled_from([5.0, 7.5, -1.0, None]),
    st.sampled_from([-12, 0, 14]),
)


def happening(user: str, moment: int, part: tuple[Any, ...]) -> shop.Row:
    kind, number, amount, zone = part
    return event(
        user,
        MIDNIGHT + moment,
        kind,
        zone=zone,
        params={"ga_session_id": number, "engagement_time_msec": 100 * number},
        user_first_touch_timestamp=MIDNIGHT + min(moment, 0) - number,
        ecommerce={
            "purchase_revenue": amount,
            "transaction_id": f"T{number}.{moment < -60 * DAY_US}",
        },
        items=[{"item_id": "a", "quantity": number}],
        geo={"country": f"C{number}"},
    )


@pytest.fixture(scope="module")
def empty(emulators, bigquery_emulator, over) -> Export:
    """An export of next to nothing, for each example to fill."""
    place = new_workplace(emulators, bigquery_emulator)
    shop.load(place, [event("first", FIRST_DAY)])
    return over(place).prepare()


class TestPointInTime:
    @settings(
        max_examples=2,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def test_knows_nothing_of_the_future_or_of_what_is_long_past(self, empty, data):
        """No feature changes with events at or after as_of, or before the lookback,
        which only tells that a purchase is a repeated one."""
        rows: list[shop.Row] = []
        users = 20
        for number in range(users):
            past = data.draw(st.lists(st.tuples(MOMENTS, PARTS), max_size=6))
            futures = data.draw(
                st.tuples(
                    st.lists(st.tuples(LATER_MOMENTS, PARTS), min_size=1, max_size=4),
                    st.lists(st.tuples(LATER_MOMENTS, PARTS), min_size=1, max_size=4),
                )
            )
            inside = [pair for pair in past if pair[0] >= -60 * DAY_US]
            outside = [pair for pair in past if pair[0] < -60 * DAY_US]
            variants = [
                inside,
                inside + outside,
                *(inside + future for future in futures),
            ]
            for name, history in enumerate(variants):
                user = f"{name}/{number}"
                rows += [happening(user, *pair) for pair in history]
        tables = shop.shards(rows)
        tables += [
            (name.replace("events_", "events_intraday_"), table)
            for name, table in tables[-2:]
        ]
        with empty.place.bigquery.client() as client:
            for table in client.list_tables(empty.place.ga4_dataset):
                client.delete_table(table.reference)
        shop.load_shards(empty.place, tables)

        features = empty.prepare().features()
        for number in range(users):
            seen = [features.get(f"{name}/{number}") for name in range(4)]
            same = [row and {**row, "user_id": None} for row in seen]
            assert same[1:] == same[:1] * 3, number


class TestTimes:
    def test_that_cannot_be_are_of_no_window(self, workplace, over):
        """Nanoseconds, or nothing, in the place of microseconds: BigQuery has no moment
        for them, and the other events are read. So it is with a first visit before all
        times."""
        wrong = (None, ago(3) * 1000, 2**63 - 1, -(2**63), 253402300800 * 10**6)
        first_visit = -(2**63)
        rows = [
            *(event("lost", ago(3), event_timestamp=time) for time in wrong),
            *(event("kept", ago(3), event_timestamp=time) for time in wrong),
            event("kept", ago(3), user_first_touch_timestamp=first_visit),
            # The last microsecond that there is.
            event("far", ago(3), event_timestamp=253402300800 * 10**6 - 1),
        ]
        table = pa.Table.from_pylist(rows, SCHEMA)
        load_day(workplace, AS_OF - 3 * DAY, table)

        features = over(workplace).prepare().features()

        assert {*features} == {"kept"}
        assert (features["kept"]["events"], features["kept"]["recency_days"]) == (1, 3)
        assert features["kept"]["days_since_first_seen"] == 90


class TestSchemas:
    def test_may_differ_from_day_to_day(self, workplace, over):
        """An older shard lacks columns and a newer one has more: both are read."""
        rows = {
            day: pa.Table.from_pylist(
                [purchase("u", ago(day), 5.0, transaction=f"T{day}")],
                SCHEMA,
            )
            for day in (3, 2, 1)
        }
        older = [
            "collected_traffic_source", "is_active_user", "batch_page_id",
            "batch_event_index", "batch_ordering_id", "privacy_info", "app_info",
        ]  # fmt: skip
        changed = {
            3: rows[3]
            .drop_columns(older)
            .select(sorted(set(rows[3].column_names) - set(older))),
            2: rows[2],
            1: rows[1].append_column(
                "session_traffic_source_last_click", pa.array(["x"])
            ),
        }
        for day, table in changed.items():
            load_day(workplace, AS_OF - day * DAY, table)

        row = over(workplace).prepare().features()["u"]

        assert (row["purchases"], row["revenue"], row["active_days"]) == (3, 15, 3)


def real_rows(file: Any) -> list[dict[str, Any]]:
    with file.open("rb") as packed:
        text = zstandard.ZstdDecompressor().stream_reader(packed).read()
    return [json.loads(line) for line in text.splitlines()]


def number_of(row: Mapping[str, Any], key: str) -> float | None:
    for parameter in row.get("event_params", ()):
        if parameter["key"] == key:
            return float(next(iter(parameter["value"].values())))
    return None


def expected(
    rows: list[dict[str, Any]], as_of: date, user_column: str
) -> dict[str, dict[str, Any]]:
    """Compute features anew, from the definition, in Python."""
    end = microseconds(as_of)
    begin = end - 60 * DAY_US
    histories = defaultdict(dict)
    for row in rows:
        if row.get(user_column) and begin <= row["event_timestamp"] < end:
            # Equal rows are one.
            histories[row[user_column]][json.dumps(row, sort_keys=True)] = row
    features = {}
    for user, unique in histories.items():
        history = sorted(unique.values(), key=lambda row: row["event_timestamp"])

        def named(name: str, since: int = begin, of: Any = history) -> list[Any]:
            return [
                row
                for row in of
                if row["event_name"] == name and row["event_timestamp"] >= since
            ]

        orders = {}
        for row in named("purchase"):
            orders.setdefault(row["ecommerce"]["transaction_id"], row)
        bought = [row["event_timestamp"] for row in orders.values()]
        items = [row.get("items") or [] for row in orders.values()]
        days = {row["event_timestamp"] // DAY_US for row in history}
        cents = sum(
            round(row["ecommerce"]["purchase_revenue"] * 100) for row in orders.values()
        )
        features[user] = {
            "recency_days": (end - history[-1]["event_timestamp"]) / DAY_US,
            "purchase_recency_days": ((end - max(bought)) / DAY_US if bought else None),
            "active_days": len(days),
            "active_days_7d": len({day for day in days if day >= end // DAY_US - 7}),
            "sessions": len(
                {
                    (row["user_pseudo_id"], number_of(row, "ga_session_id"))
                    for row in history
                    if number_of(row, "ga_session_id") is not None
                }
            ),
            "sessions_ever": max(
                (
                    number
                    for row in history
                    if (number := number_of(row, "ga_session_number")) is not None
                ),
                default=None,
            ),
            "events": len(history),
            "events_7d": sum(
                row["event_timestamp"] >= end - 7 * DAY_US for row in history
            ),
            "engagement_s": sum(
                number_of(row, "engagement_time_msec") or 0 for row in history
            )
            / 1000,
            "page_views": len(named("page_view")),
            "view_items": len(named("view_item")),
            "add_to_carts": len(named("add_to_cart")),
            "begin_checkouts": len(named("begin_checkout")),
            "purchases": len(orders),
            "purchase_days": len({moment // DAY_US for moment in bought}),
            "revenue": cents / 100,
            "items": sum(item["quantity"] for each in items for item in each),
            "distinct_items": sum(len({item["item_id"] for item in x}) for x in items),
        }
    return features


@pytest.mark.long
class TestRealData:
    """What SQL computes of real rows is what Python computes of them."""

    def compare(self, tmp_path, export, rows, as_ofs, user_column):
        tables = defaultdict(list)
        path = tmp_path / "rows.ndjson"
        path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
        with ga4_rows.opened(path, progress=False) as database:
            for name in ga4_rows.days(database):
                # A table a week is enough, and quicker to load than one a day.
                day = date.fromisoformat(name)
                week = day + (6 - (day - as_ofs[0]).days % 7) * DAY
                tables[week].append(ga4_rows.rows_of(database, name))
        shop.load_shards(
            export.place,
            (
                (f"events_{week:%Y%m%d}", pa.concat_tables(days))
                for week, days in sorted(tables.items())
            ),
        )
        several = export.prepare().features(*as_ofs)
        for as_of in as_ofs:
            exact = expected(rows, as_of, user_column)
            features = {
                user: row for (day, user), row in several.items() if day == as_of
            }
            assert len(exact) > 50
            assert set(features) == set(exact)
            for user, row in exact.items():
                for name, value in row.items():
                    same = pytest.approx(value, rel=1e-12) if value else value
                    assert features[user][name] == same, (user, name)

    def test_of_browsing(self, tmp_path, workplace, over, data_folder):
        """The Google Merchandise Store's sample, as it was published."""
        rows = real_rows(data_folder / "ga4_sample.ndjson.zst")
        as_ofs = [date(2020, 12, 25), date(2021, 1, 1)]

        self.compare(tmp_path, over(workplace), rows, as_ofs, "user_pseudo_id")
