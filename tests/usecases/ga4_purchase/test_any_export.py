"""The features of any export: no later event changes one, whatever the rows hold."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import shop
from tests.conftest import new_workplace
from tests.shop import DAY, event, purchase
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
