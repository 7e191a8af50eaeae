"""
The features and labels of GA4 purchases, specified on rows of the export.

Most users here are one trap each: all are loaded once, and their features computed
once. The emulator runs the statements as they are deployed.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from google.cloud import bigquery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.exports import ga4_export, ga4_rows, ga4_schema
from propensity import usecases
from propensity.edges.warehouse import Warehouse
from propensity.privacy import consent
from propensity.settings import Settings
from tests import shop
from tests.conftest import new_workplace
from tests.shop import DAY, event, microseconds, purchase

AS_OF = date(2026, 3, 2)
FIRST_DAY = AS_OF - 60 * DAY
MIDNIGHT = microseconds(AS_OF)
DAY_US = 86_400_000_000
SCHEMA = ga4_schema.ARROW_SCHEMA
USE_CASE = usecases.load("ga4_purchase")
CATEGORIES = [name for name, kind in USE_CASE.features.items() if kind == "category"]


def ago(days: float, *, plus: int = 0) -> int:
    """Return a moment so many days before the as-of date, and some microseconds."""
    return MIDNIGHT - round(days * DAY_US) + plus


class Export:
    """One workplace's export, and the use case's statements over it."""

    def __init__(self, place: Any, **extra: str) -> None:
        self.place = place
        self.settings = Settings.from_environment({**place.environment, **extra})
        self.warehouse = Warehouse.open(self.settings)

    def prepare(self) -> Export:
        """Make the view, which is all that the statements read."""
        text = consent.events_view(self.settings.export, require="false")
        self.warehouse.replace_view(consent.VIEW, text)
        return self

    def features(self, *as_ofs: date) -> dict[Any, dict[str, Any]]:
        """Return rows by user; by as-of date and user where there are several."""
        rows = self.warehouse.table(
            USE_CASE.statement("features"),
            USE_CASE.window(self.settings, as_ofs or [AS_OF]),
        ).to_pylist()
        several = len(as_ofs) > 1
        found = {
            (row["as_of"], row["user_id"]) if several else row["user_id"]: row
            for row in rows
        }
        assert len(found) == len(rows)
        return found

    def labels(self, *as_ofs: date) -> dict[tuple[date, str], int]:
        """Return labels of the cohort by as-of date and user."""
        rows = self.warehouse.table(
            USE_CASE.statement("training_rows"),
            {
                **USE_CASE.window(self.settings, as_ofs or [AS_OF]),
                "maximum_rows": 100_000,
            },
        ).to_pylist()
        assert {row["weight"] for row in rows} <= {1.0}
        return {(row["as_of"], row["user_id"]): row["label"] for row in rows}


def typed(kind: str, value: object) -> dict[str, Any]:
    return {f"{kind}_value": value}


TYPES = {
    "int": typed("int", 1500),
    "double": typed("double", 1500.0),
    "float": typed("float", 1500.0),
    "string": typed("string", "1500"),
    "text of a double": typed("string", "1500.0"),
}
NOT_NUMBERS = {
    "garbage": typed("string", "soon"),
    "empty": typed("string", ""),
    "nan": typed("double", math.nan),
    "infinite": typed("double", math.inf),
    "negative": typed("int", -5),
    "absurd": typed("int", 2**62),
    "nothing": {},
}
PLACEHOLDERS = ["", "(not set)", "(data deleted)", None]


def place_of(value: str | None) -> dict[str, Any]:
    return {
        "traffic_source": {"source": value, "medium": value},
        "device": {"category": value, "operating_system": value},
        "geo": {"country": value},
    }


def traps() -> list[shop.Row]:
    """Return everybody's events; the user says what they are about."""
    rows = [
        event("at first", microseconds(FIRST_DAY)),
        event("before first", microseconds(FIRST_DAY) - 1),
        event("at last", MIDNIGHT - 1),
        event("at as_of", MIDNIGHT),
        event(None, ago(3)),
        event("", ago(3)),
    ]
    for zone in (-12, 14):
        rows += [
            event(f"zone {zone} first", microseconds(FIRST_DAY), zone=zone),
            event(f"zone {zone} before", microseconds(FIRST_DAY) - 1, zone=zone),
            event(f"zone {zone} last", MIDNIGHT - 1, zone=zone),
            event(f"zone {zone} at", MIDNIGHT, zone=zone),
            # The ends of the horizon, for users of the cohort.
            event(f"zone {zone} buys last", ago(3), zone=zone),
            purchase(f"zone {zone} buys last", ago(-7, plus=-1), zone=zone),
            event(f"zone {zone} buys late", ago(3), zone=zone),
            purchase(f"zone {zone} buys late", ago(-7), zone=zone),
        ]
    for name, value in {**TYPES, **NOT_NUMBERS}.items():
        params = {"ga_session_id": 7, "engagement_time_msec": value}
        rows.append(event(f"engaged {name}", ago(5), params=params))
        revenue = {"ga_session_id": 7, "value": value}
        rows.append(purchase(f"value {name}", ago(5), None, params=revenue))
    for minute, value in enumerate(TYPES.values()):
        engaged = typed("string", "1") if minute % 2 else typed("int", 1)
        params = {"ga_session_id": value, "session_engaged": engaged}
        rows.append(event("one session", ago(4, plus=minute), params=params))
    for place, value in enumerate(PLACEHOLDERS):
        rows.append(event(f"placeholder {place}", ago(2), **place_of(value)))
    rows.append(event("pooled", ago(2), **place_of("<Other>")))
    rows.append(event("moved", ago(9), **place_of("old")))
    rows.append(event("moved", ago(8), **place_of("new")))
    rows.append(event("bare", ago(2), params={}))

    twice = [
        event("exported twice", ago(6), "view_item", params={"ga_session_id": 3}),
        purchase("exported twice", ago(6, plus=1), 12.5, transaction="A"),
    ]
    rows += twice + [dict(row) for row in twice]
    for moment in (ago(30), ago(30, plus=5_000_000), ago(29), ago(2)):
        rows.append(purchase("reloads", moment, 20.0, transaction="R"))
    rows += [
        purchase("split", ago(9), 20.0, transaction="S", items=[("a", 2)]),
        purchase("split", ago(9, plus=9), 5.25, transaction="S", items=[("b", 3)]),
    ]
    for name, transaction in (
        ("no id", None),
        ("empty id", ""),
        ("unset", "(not set)"),
    ):
        rows.append(purchase(name, ago(9), 3.0, transaction=transaction))
        rows.append(purchase(name, ago(8), 3.0, transaction=transaction))
    rows += [
        purchase("refunded", ago(20), 100.0, transaction="P1"),
        event("refunded", ago(19), "refund",
              ecommerce={"refund_value": 30.0, "transaction_id": "P1"}),
        event("refunded", ago(18), "refund",
              ecommerce={"purchase_revenue": -20.0, "transaction_id": "P2"}),
        event("refunded", ago(17), "refund"),
        purchase("negative", ago(9), -5.0, transaction="N"),
        purchase("nan", ago(9), math.nan, transaction="N"),
        purchase("huge", ago(9), 1e300, transaction="N"),
        purchase("nearly huge", ago(9), 9e28, transaction="N1"),
        purchase("nearly huge", ago(8), 9e28, transaction="N2"),
        purchase("cents", ago(9), 0.1, transaction="C1"),
        purchase("cents", ago(8), 0.2, transaction="C2"),
        event("no ecommerce", ago(9), "purchase"),
        purchase("no items", ago(9), 4.0, items=[]),
        purchase("many items", ago(9), 4.0,
                 items=[("a", 2**62), ("b", 2**62), ("c", 2)]),
        event("clock ahead", ago(9), user_first_touch_timestamp=ago(-400)),
        event("clock at zero", ago(9), user_first_touch_timestamp=0),
        event("old friend", ago(9), user_first_touch_timestamp=ago(70)),
        event("newcomer", ago(9)),
    ]  # fmt: skip
    rows += [
        row | {"user_id": "login.1"}
        for row in (
            event("phone.1", ago(5), params={"ga_session_id": 1}),
            event("laptop.1", ago(4), params={"ga_session_id": 1}),
            event(None, ago(3), params={"ga_session_id": 2}),
            purchase("laptop.1", ago(-2)),
        )
    ]
    rows += [event("visitor", ago(3), user_id=user) for user in PLACEHOLDERS]
    rows += [event(user, ago(3)) for user in PLACEHOLDERS]
    rows += wild()
    rows += [
        event("buys at as_of", ago(1)),
        purchase("buys at as_of", MIDNIGHT),
        event("bought before", ago(1)),
        purchase("bought before", ago(0, plus=-1)),
        purchase("buys first time in horizon", ago(-3)),
        event("subscribes", ago(1)),
        event("subscribes", ago(-1), "subscribe"),
    ]
    return rows


def wild() -> list[shop.Row]:
    """Return events in the shapes of the public samples of the export."""
    generator = np.random.default_rng(11)
    pings = [shop.unconsented(ago(4, plus=n), generator) for n in range(40)]
    plain = [
        event("wild", ago(12, plus=n), params={"ga_session_id": 5}) for n in range(8)
    ]
    plain.append(purchase("wild", ago(12, plus=9), 30.0, items=[]))
    return [
        *pings,
        *(shop.seen_in_the_wild(row, generator) for row in plain),
        shop.paid("travels", ago(9), 100.0, "EUR", transaction="E"),
        shop.paid("travels", ago(8), 100.0, "GBP", transaction="G"),
        shop.paid("travels", ago(7), 100.0, "USD", transaction="U"),
        shop.paid("rate moved", ago(9), 100.0, "EUR", transaction="M"),
        shop.paid("rate moved", ago(8), 100.0, "EUR", transaction="M", rate=1.5),
        shop.paid("no rate", ago(9), 100.0, "XXX", transaction="X"),
        event("refunds abroad", ago(9), "refund",
              ecommerce={"refund_value": 10.0, "refund_value_in_usd": 12.5}),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def over() -> Iterator[Callable[..., Export]]:
    """Open the export of a workplace with some settings, and close it in the end."""
    with contextlib.ExitStack() as stack:

        def opened(place: Any, **extra: str) -> Export:
            made = Export(place, **extra)
            stack.callback(made.warehouse.close)
            return made

        yield opened


@pytest.fixture(scope="module")
def export(module_workplace, over) -> Export:
    """Everybody's events, and tables that the view must leave out."""
    tables = shop.shards(traps())
    only_there = shop.shards([event("not daily", ago(3)), event("at last", ago(3))])
    [(daily, rows)] = only_there
    day = daily.removeprefix("events_")
    for name in (f"intraday_{day}", f"fresh_{day}", f"{day}_backup", day[:6]):
        tables.append((f"events_{name}", rows))
    shop.load_shards(module_workplace, tables)
    return over(module_workplace).prepare()


@pytest.fixture(scope="module")
def features(export) -> Mapping[str, dict[str, Any]]:
    """Everybody's features, by user."""
    return export.features()


@pytest.fixture(scope="module")
def labels(export) -> Mapping[str, int]:
    """The cohort's labels, by user."""
    return {user: label for (_, user), label in export.labels().items()}


class TestCohort:
    def test_is_every_user_with_an_event_in_the_lookback(self, features):
        """The window is half-open, to the microsecond."""
        assert {"at first", "at last"} <= set(features)
        assert not {"before first", "at as_of", None, ""} & set(features)
        assert features["at first"]["recency_days"] == 60
        assert features["at last"]["recency_days"] == 1 / DAY_US

    @pytest.mark.parametrize("zone", [-12, 14])
    def test_is_the_same_in_any_time_zone(self, features, zone):
        """Shards are named by local dates; windows are UTC, and lose nothing."""
        assert features[f"zone {zone} first"]["recency_days"] == 60
        assert features[f"zone {zone} last"]["recency_days"] == 1 / DAY_US
        assert f"zone {zone} before" not in features
        assert f"zone {zone} at" not in features

    def test_is_read_from_daily_tables_alone(self, features):
        """Neither intraday or fresh tables nor anybody's copies are read."""
        assert "not daily" not in features
        assert features["at last"]["events"] == 1

    def test_has_every_feature_in_its_type(self, features):
        """Each feature of usecase.toml is a column, a number or a text."""
        for row in features.values():
            assert set(row) == {"as_of", "user_id", *USE_CASE.features}
            for name, kind in USE_CASE.features.items():
                wanted = (int, float) if kind == "number" else str
                assert row[name] is None or isinstance(row[name], wanted), name
                assert row[name] == row[name], (name, row)  # no NaN  # noqa: PLR0124


class TestParameters:
    @pytest.mark.parametrize("name", TYPES)
    def test_are_numbers_in_whichever_field(self, features, name):
        """A number arrives as int, double, float or text, and is the same number."""
        assert features[f"engaged {name}"]["engagement_s"] == 1.5
        assert features[f"value {name}"]["revenue"] == 1500

    @pytest.mark.parametrize("name", NOT_NUMBERS)
    def test_that_are_no_numbers_count_nothing(self, features, name):
        """Garbage, NaN and absurd values are left out; the event still counts."""
        assert features[f"engaged {name}"]["engagement_s"] == 0
        assert features[f"engaged {name}"]["events"] == 1
        revenue = -5 if name == "negative" else 0
        assert features[f"value {name}"]["revenue"] == revenue
        assert features[f"value {name}"]["purchases"] == 1

    def test_name_one_session_in_whichever_field(self, features):
        """A session id is the same one as int, double or text, engaged or "1"."""
        assert features["one session"]["sessions"] == 1
        assert features["one session"]["events"] == len(TYPES)

    def test_may_be_missing(self, features):
        """An event without any parameter, device, place or items is an event."""
        assert features["bare"]["events"] == 1
        assert features["bare"]["sessions"] == 0


class TestCategories:
    @pytest.mark.parametrize("place", range(len(PLACEHOLDERS)))
    def test_that_google_does_not_know_are_null(self, features, place):
        """(not set), (data deleted), empty and null mean the same: not known."""
        row = features[f"placeholder {place}"]

        assert {name: row[name] for name in CATEGORIES} == dict.fromkeys(CATEGORIES)

    def test_keep_the_pool_of_rare_values(self, features):
        """<Other> is a value like any other."""
        assert {features["pooled"][name] for name in CATEGORIES} == {"<Other>"}

    def test_are_those_of_the_last_event(self, features):
        """Where a user was last counts."""
        assert {features["moved"][name] for name in CATEGORIES} == {"new"}


class TestPurchases:
    def test_exported_twice_count_once(self, features):
        """Rows equal in every field are one event."""
        row = features["exported twice"]

        assert (row["events"], row["view_items"], row["purchases"]) == (2, 1, 1)
        assert (row["revenue"], row["items"]) == (12.5, 1)

    def test_count_once_however_often_the_page_is_reloaded(self, features):
        """A reloaded thank-you page is no purchase, even on another day."""
        row = features["reloads"]

        assert (row["purchases"], row["purchase_days"], row["purchases_7d"]) == (
            1,
            1,
            0,
        )
        assert (row["revenue"], row["items"]) == (20, 1)
        assert row["purchase_recency_days"] == 30
        assert row["active_days"] == 3

    def test_split_over_several_events_count_all_parts(self, features):
        """One transaction in two events of different amounts is one, worth both."""
        row = features["split"]

        assert (row["purchases"], row["revenue"]) == (1, 25.25)
        assert (row["items"], row["distinct_items"]) == (5, 2)

    @pytest.mark.parametrize("user", ["no id", "empty id", "unset"])
    def test_without_an_id_are_told_apart_by_time(self, features, user):
        """Two purchases that share Google's placeholder are two."""
        assert features[user]["purchases"] == 2
        assert features[user]["revenue"] == 6

    def test_are_apart_from_refunds(self, features):
        """A refund counts by its size, whatever its sign, and lessens no revenue."""
        row = features["refunded"]

        assert (row["purchases"], row["revenue"]) == (1, 100)
        assert (row["refunds"], row["refund_value"]) == (3, 50)

    def test_have_exact_revenue(self, features):
        """Money is decimal: a tenth and two tenths are three."""
        assert features["cents"]["revenue"] == 0.3
        assert features["cents"]["mean_order_value"] == 0.15

    @pytest.mark.parametrize(
        ("user", "revenue"),
        [("negative", -5), ("nan", 0), ("huge", 0), ("nearly huge", 0)],
    )
    def test_of_absurd_revenue_break_nothing(self, features, user, revenue):
        """A revenue that is no amount of money is left out; the purchase counts."""
        assert features[user]["revenue"] == revenue
        assert features[user]["purchases"] >= 1

    def test_may_lack_ecommerce_and_items(self, features):
        """A purchase without money or items is a purchase."""
        assert features["no ecommerce"]["purchases"] == 1
        assert features["no ecommerce"]["revenue"] == 0
        assert features["no items"]["items"] == 0
        assert features["many items"]["items"] == 2
        assert features["many items"]["distinct_items"] == 3


class TestSeenInTheWild:
    def test_nobody_is_no_user(self, features):
        """Events without consent, or with a placeholder, are of no user, not of one."""
        assert not {None, "", "None", "(not set)", "(data deleted)"} & {*features}

    def test_nobody_converts(self, labels):
        """A purchase of nobody is nobody's label."""
        assert labels
        assert all(labels.keys())

    def test_shapes_of_the_samples_are_read(self, features):
        """Empty parameters, records and items change no figure."""
        row = features["wild"]

        assert (row["events"], row["sessions"], row["purchases"]) == (9, 2, 1)
        assert (row["revenue"], row["items"]) == (30, 0)

    def test_several_currencies_add_up_in_dollars(self, features):
        """A euro, a pound and a dollar are no three of anything."""
        row = features["travels"]

        assert (row["purchases"], row["revenue"]) == (3, 125 + 150 + 100)
        assert features["refunds abroad"]["refund_value"] == 12.5

    def test_a_reload_at_another_rate_counts_once(self, features):
        """The same charge on another day is worth other dollars: the first count."""
        row = features["rate moved"]

        assert (row["purchases"], row["revenue"]) == (1, 125)

    def test_an_amount_without_dollars_is_taken_as_it_is(self, features):
        assert features["no rate"]["revenue"] == 100

    def test_an_extract_with_integers_as_texts_gives_the_same(
        self, workplace, over, features, tmp_path
    ):
        """BigQuery writes INT64 as strings, and null records as they are."""
        rows = [
            row for row in wild() if row["user_pseudo_id"] in (None, "wild", "travels")
        ]
        path = tmp_path / "extract.ndjson"
        path.write_text("".join(json.dumps(shop.extracted(row)) + "\n" for row in rows))
        with workplace.bigquery.client() as client:
            ga4_export.load_export(client, workplace.ga4_dataset, path, progress=False)
        found = over(workplace).prepare().features()

        assert {*found} == {"wild", "travels"}
        assert all(found[user] == features[user] for user in found)


class TestFirstSeen:
    @pytest.mark.parametrize(
        ("user", "days"),
        [
            ("clock ahead", 9),
            ("clock at zero", 90),
            ("old friend", 70),
            ("newcomer", 9),
        ],
    )
    def test_is_the_first_touch_where_that_can_be(self, features, user, days):
        """After the first event it is a broken clock; 90 days is the most."""
        assert features[user]["days_since_first_seen"] == days


class TestLabels:
    def test_are_of_the_cohort_converted_or_not(self, features, labels):
        """Defect: an inner join with the converters keeps only who came back."""
        assert set(labels) == set(features)
        assert labels["newcomer"] == 0
        assert "buys first time in horizon" not in labels

    def test_are_of_the_half_open_horizon(self, labels):
        """The first moment of the horizon counts, the first after it does not."""
        assert labels["buys at as_of"] == 1
        assert labels["bought before"] == 0
        for zone in (-12, 14):
            assert labels[f"zone {zone} buys last"] == 1
            assert labels[f"zone {zone} buys late"] == 0

    def test_may_be_of_another_event(self, export, over):
        """PROPENSITY_LABEL_EVENT names what a conversion is."""
        other = over(export.place, PROPENSITY_LABEL_EVENT="subscribe").labels()

        assert {user for (_, user), label in other.items() if label} == {"subscribes"}


class TestUserColumn:
    def test_may_be_the_login(self, export, over):
        """By user_id a user is one on all devices, also where no cookie was allowed."""
        found = over(export.place, PROPENSITY_USER_COLUMN="user_id")
        features, labels = found.features(), found.labels()

        assert set(features) == {"login.1"}
        assert features["login.1"]["events"] == 3
        assert features["login.1"]["sessions"] == 3
        assert labels == {(AS_OF, "login.1"): 1}


class TestBatches:
    def test_give_each_date_the_rows_that_it_has_alone(self, export, features):
        """Several as-of dates in one query are what each is in its own."""
        before = AS_OF - 7 * DAY
        batch = export.features(before, AS_OF)
        alone = {before: export.features(before), AS_OF: features}

        assert batch == {
            (as_of, user): row
            for as_of, rows in alone.items()
            for user, row in rows.items()
        }


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
        ecommerce={"purchase_revenue": amount, "transaction_id": f"T{number}"},
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
        """No feature changes with events at or after as_of, or before the lookback."""
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
            inside = [one for one in past if one[0] >= -60 * DAY_US]
            outside = [one for one in past if one[0] < -60 * DAY_US]
            variants = [inside, inside + outside, *(inside + one for one in futures)]
            for name, history in enumerate(variants):
                user = f"{name}/{number}"
                rows += [happening(user, *one) for one in history]
        tables = shop.shards(rows)
        tables += [
            (name.replace("events_", "events_intraday_"), table)
            for name, table in tables[-2:]
        ]
        with empty.place.bigquery.client() as client:
            for table in client.list_tables(empty.place.ga4_dataset):
                client.delete_table(table.reference)
        shop.load_shards(empty.place, tables)

        found = empty.features()
        for number in range(users):
            seen = [found.get(f"{name}/{number}") for name in range(4)]
            same = [row and {**row, "user_id": None} for row in seen]
            assert same[1:] == same[:1] * 3, number


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
        with workplace.bigquery.client() as client:
            for day, table in changed.items():
                file = io.BytesIO()
                pq.write_table(table, file)
                file.seek(0)
                schema = ga4_schema.bigquery_schema()
                known = {column.name: column for column in schema}
                options = bigquery.ParquetOptions()
                options.enable_list_inference = True
                client.load_table_from_file(
                    file,
                    f"{workplace.ga4_dataset}.events_{AS_OF - day * DAY:%Y%m%d}",
                    job_config=bigquery.LoadJobConfig(
                        source_format="PARQUET",
                        parquet_options=options,
                        schema=[
                            known.get(name, bigquery.SchemaField(name, "STRING"))
                            for name in table.column_names
                        ],
                    ),
                ).result()

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
    found = {}
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
            shopped = row["ecommerce"]
            items = row.get("items") or []
            key = (
                shopped["transaction_id"],
                round(shopped["purchase_revenue"] * 100),
                sum(item["quantity"] for item in items),
                len({item["item_id"] for item in items}),
            )
            orders.setdefault(key, row["event_timestamp"])
        days = {row["event_timestamp"] // DAY_US for row in history}
        cents = sum(key[1] for key in orders)
        found[user] = {
            "recency_days": (end - history[-1]["event_timestamp"]) / DAY_US,
            "purchase_recency_days": (
                (end - max(orders.values())) / DAY_US if orders else None
            ),
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
            "purchases": len(
                {(key[0], moment // DAY_US) for key, moment in orders.items()}
            ),
            "purchase_days": len({moment // DAY_US for moment in orders.values()}),
            "revenue": cents / 100,
            "items": sum(key[2] for key in orders),
            "distinct_items": sum(key[3] for key in orders),
        }
    return found


@pytest.mark.long
class TestRealData:
    """What SQL computes of real rows is what Python computes of them."""

    def compare(self, export, rows, as_ofs, user_column):
        tables = defaultdict(list)
        fit = ga4_rows.row_fitter(Counter())
        for row in rows:
            # A table a week is enough, and quicker to load than one a day.
            day = date.fromisoformat(row["event_date"])
            tables[day + (6 - (day - as_ofs[0]).days % 7) * DAY].append(fit(row))
        shop.load_shards(
            export.place,
            (
                (f"events_{day:%Y%m%d}", pa.Table.from_pylist(week, SCHEMA))
                for day, week in sorted(tables.items())
            ),
        )
        several = export.prepare().features(*as_ofs)
        for as_of in as_ofs:
            wanted = expected(rows, as_of, user_column)
            found = {user: row for (day, user), row in several.items() if day == as_of}
            assert len(wanted) > 50
            assert set(found) == set(wanted)
            for user, row in wanted.items():
                for name, value in row.items():
                    same = pytest.approx(value, rel=1e-12) if value else value
                    assert found[user][name] == same, (user, name)

    def test_of_browsing(self, workplace, over, data_folder):
        """The Google Merchandise Store's sample, as it was published."""
        rows = real_rows(data_folder / "ga4_sample.ndjson.zst")
        as_ofs = [date(2020, 12, 25), date(2021, 1, 1)]

        self.compare(over(workplace), rows, as_ofs, "user_pseudo_id")

    def test_of_purchases(self, workplace, over, data_folder):
        """Online Retail by customer: a property of purchases and refunds only."""
        as_ofs = [date(2011, 3, 7), date(2011, 3, 14)]
        begin = microseconds(as_ofs[0] - 61 * DAY)
        end = microseconds(as_ofs[-1] + DAY)
        rows = [
            row
            for row in real_rows(data_folder / "online_retail_ga4.ndjson.zst")
            if begin <= row["event_timestamp"] < end
        ]
        export = over(workplace, PROPENSITY_USER_COLUMN="user_id")

        self.compare(export, rows, as_ofs, "user_id")
