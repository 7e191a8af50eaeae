"""
Purchases and repeated rows, specified: a user's purchases with one transaction id are
one, the first, in every window; other events are one where the export has a row twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests import shop
from tests.conftest import new_workplace
from tests.shop import DAY, event, microseconds, purchase
from tests.usecases.ga4_purchase.exports import DAY_US, USE_CASE

FIRST = date(2026, 3, 1)
BOUGHT = microseconds(FIRST) + DAY_US // 2
NOTHING = (
    "null", "undefined", "None", "(none)", "(not set)", "NaN", "0", "-", "", " NULL ",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(emulators, bigquery_emulator) -> Any:
    """One export, which each test replaces."""
    return new_workplace(emulators, bigquery_emulator)


@pytest.fixture
def seen(place, over):
    """Return features, labels and amounts of rows, by as-of date and user."""

    def seen(rows: Sequence[shop.Row], *as_ofs: date, **extra: str) -> dict[str, Any]:
        with place.bigquery.client() as client:
            for table in client.list_tables(place.ga4_dataset):
                client.delete_table(table.reference)
        shop.load(place, rows)
        export = over(place, **extra).prepare()
        window = USE_CASE.window(export.settings, as_ofs)
        return {
            name: {
                (row["as_of"], row["user_id"]): row
                for row in export.warehouse.table(
                    USE_CASE.statement(name), window
                ).to_pylist()
            }
            for name in ("features", "labels", "converter_amounts")
        }

    return seen


def opened_again(*days: int, user: str = "1.1", **fields: Any) -> list[shop.Row]:
    """Return a purchase of 100 euros, sent again so many days later."""
    params = {"transaction_id": "T1", "value": 100.0, "currency": "EUR"}
    return [
        purchase(
            user,
            BOUGHT + day * DAY_US,
            100.0,
            transaction="T1",
            params=params,
            items=[("A", 1)],
        )
        | fields
        for day in (0, *days)
    ]


class TestRepeatedPurchase:
    def test_counts_once_on_its_first_day(self, seen):
        """Somebody opens the order page again three days later."""
        dates = [FIRST, FIRST + DAY, FIRST + 8 * DAY]
        rows = seen(opened_again(3), *dates)
        amounts = {
            key[0]: row["amount"] for key, row in rows["converter_amounts"].items()
        }
        last = rows["features"][dates[2], "1.1"]

        assert {key[0] for key in rows["labels"]} == {FIRST}
        assert amounts == {FIRST: 100}
        assert (last["purchases"], last["revenue"]) == (1, 100)
        assert last["purchase_recency_days"] == 7.5

    def test_is_of_one_user(self, seen):
        """By the column that says who a user is."""
        laptop, phone = opened_again(1, user_id="login")
        phone["user_pseudo_id"] = "2.2"
        rows = seen([laptop, phone], FIRST + DAY)
        login = seen([laptop, phone], FIRST + DAY, PROPENSITY_USER_COLUMN="user_id")

        assert {user for _, user in rows["labels"]} == {"2.2"}
        assert not login["labels"]


class TestIds:
    @pytest.mark.parametrize("column", ["user_id", "user_pseudo_id"])
    def test_that_mean_nothing_are_no_user(self, seen, column):
        """In any case, with blanks around."""
        other = {"user_id": "u", "user_pseudo_id": "u"}
        rows = [event("u", BOUGHT) | other | {column: nothing} for nothing in NOTHING]
        setting = {"PROPENSITY_USER_COLUMN": column}

        assert not seen(rows, FIRST + DAY, **setting)["features"]

    @pytest.mark.parametrize("id_", ["T1", 1001])
    def test_may_be_among_the_parameters_alone(self, seen, id_):
        """As a text, or as the number that GA4 takes it for."""
        params = {"transaction_id": id_}
        rows = [
            purchase("u", BOUGHT + n, transaction=nothing, params=params)
            for n, nothing in enumerate((None, "(not set)"))
        ]

        assert seen(rows, FIRST + DAY)["features"][FIRST + DAY, "u"]["purchases"] == 1


class TestAmounts:
    @pytest.mark.parametrize("revenue", [None, 0.0])
    @pytest.mark.parametrize("unit", ["", "_in_usd"])
    def test_are_the_value_where_there_is_no_revenue(self, seen, revenue, unit):
        """A value above nothing counts; an item without a quantity is one."""
        value = {"params": {"value": 7.0}} if not unit else {"event_value_in_usd": 7.0}
        row = event(
            "u",
            BOUGHT,
            "purchase",
            ecommerce={f"purchase_revenue{unit}": revenue},
            items=[{"item_id": "a"}, {"item_id": "b", "quantity": 2}],
            **value,
        )
        rows = seen([row], FIRST, FIRST + DAY)

        assert rows["converter_amounts"][FIRST, "u"]["amount"] == 7
        assert rows["features"][FIRST + DAY, "u"]["revenue"] == 7
        assert rows["features"][FIRST + DAY, "u"]["items"] == 3


class TestEqualEvents:
    @pytest.mark.parametrize(
        "difference",
        [
            {"batch_event_index": 2},
            {"batch_ordering_id": 2},
            {"batch_page_id": 2},
            {"items": [{"item_id": "b"}]},
            {"event_bundle_sequence_id": 2},
            {"user_properties": shop.parameters({"plan": "b"})},
        ],
    )
    def test_are_one_where_the_export_has_a_row_twice(self, seen, difference):
        """Whatever tells them apart makes them two, also if nothing else reads it."""
        one = event("u", BOUGHT, "add_to_cart", items=[{"item_id": "a"}])
        bought = purchase("u", BOUGHT, 5.0)
        rows = [one, dict(one), one | difference, bought, bought | difference]
        row = seen(rows, FIRST + DAY)["features"][FIRST + DAY, "u"]

        assert (row["events"], row["add_to_carts"]) == (4, 2)
        assert (row["purchases"], row["revenue"]) == (2, 10)


TIMES = st.sampled_from([-125, -119, -61, -60, -40, -8, -7, -1, 0, 3, 6, 7])
SENT = st.fixed_dictionaries(
    {
        "day": TIMES,
        "name": st.sampled_from(["purchase", "purchase", "refund", "page_view"]),
        "user": st.sampled_from(["a", "b"]),
        "id": st.sampled_from(["T1", "T2", "undefined", " 0 ", None]),
        "is_parameter": st.booleans(),
        "revenue": st.sampled_from([None, 0.0, 5.0, 20.0]),
        "value": st.sampled_from([None, 0.0, 7.0]),
        "quantities": st.lists(st.sampled_from([None, 1, 3]), max_size=2),
        "twice": st.sampled_from(["", "", "", "the same", "another batch"]),
    }
)


def sent(number: int, second: int, part: dict[str, Any]) -> list[shop.Row]:
    """Return the rows of an event: two where the export has it twice."""
    params = {"value": part["value"]} if part["value"] is not None else {}
    field = "refund_value" if part["name"] == "refund" else "purchase_revenue"
    ecommerce = {field: part["revenue"]}
    if part["id"] is not None:
        (params if part["is_parameter"] else ecommerce)["transaction_id"] = part["id"]
    row = event(
        f"{number}/{part['user']}",
        microseconds(FIRST) + part["day"] * DAY_US + second * 1_000_000,
        part["name"],
        params=params,
        ecommerce=ecommerce,
        items=[{"item_id": "i", "quantity": some} for some in part["quantities"]],
        batch_event_index=1,
    )
    copies = {"the same": [row], "another batch": [row | {"batch_event_index": 2}]}
    return [row, *copies.get(part["twice"], [])]


def stated(rows: Sequence[shop.Row], since: date, until: date) -> pd.DataFrame:
    """Return what happened in a window, by the rules: a row for each event."""
    events = pd.DataFrame(
        {
            "row": json.dumps(row, sort_keys=True),
            "user": row["user_pseudo_id"],
            "name": row["event_name"],
            "time": row["event_timestamp"],
            "id": row["ecommerce"].get("transaction_id")
            or parameter(row, "transaction_id"),
            "amount": row["ecommerce"].get("purchase_revenue")
            or row["ecommerce"].get("refund_value")
            or parameter(row, "value")
            or 0,
            "items": sum(item["quantity"] or 1 for item in row["items"]),
        }
        for row in rows
    )  # fmt: skip
    begin, end = microseconds(since - 60 * DAY), microseconds(until)
    events = events[(events["time"] >= begin) & (events["time"] < end)]
    # What the export has twice is one event.
    events = events.drop_duplicates("row").sort_values("time", kind="stable")
    has_id = (events["name"] == "purchase") & events["id"].isin(["T1", "T2"])
    # A user's purchases with one id are the first.
    is_again = events[has_id].duplicated(["user", "id"])
    events = events.drop(is_again[is_again].index)
    return events[events["time"] >= microseconds(since)]


def parameter(row: shop.Row, key: str) -> Any:
    for entry in row["event_params"]:
        if entry["key"] == key:
            return next(iter(entry["value"].values()))
    return None


class TestAnyExport:
    def test_gives_what_the_rules_state(self, seen):
        """200 random exports, each of users of its own, are loaded at once."""
        drawn: list[list[dict[str, Any]]] = []

        @settings(
            max_examples=200,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(export=st.lists(SENT, min_size=1, max_size=10))
        def draw(export: list[dict[str, Any]]) -> None:
            drawn.append(export)

        draw()
        rows = [
            row
            for number, export in enumerate(drawn)
            for second, part in enumerate(export)
            for row in sent(number, second, part)
        ]
        found = seen(rows, FIRST)
        before = stated(rows, FIRST - 60 * DAY, FIRST)
        after = stated(rows, FIRST, FIRST + 7 * DAY)
        bought = after[after["name"] == "purchase"].groupby("user")["amount"].sum()

        assert len(drawn) >= 200
        assert {user for _, user in found["labels"]} == {*bought.index}
        assert bought.to_dict() == {
            user: float(row["amount"] or 0)
            for (_, user), row in found["converter_amounts"].items()
        }
        assert {user for _, user in found["features"]} == {*before["user"]}
        for user, events in before.groupby("user"):
            row = found["features"][FIRST, user]
            purchases = events[events["name"] == "purchase"]
            refunds = events[events["name"] == "refund"]
            recent = purchases["time"] >= microseconds(FIRST - 7 * DAY)
            assert (row["purchases"], row["purchases_7d"], row["revenue"]) == (
                len(purchases),
                recent.sum(),
                purchases["amount"].sum(),
            ), user
            assert (row["refunds"], row["refund_value"], row["items"]) == (
                len(refunds),
                refunds["amount"].sum(),
                purchases["items"].sum(),
            ), user
