"""
The features and labels of GA4 purchases, specified on rows of the export.

Most users here are one trap each: all are loaded once, and their features computed
once. The emulator runs the statements as they are deployed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow as pa
import pytest

from local.exports import ga4_export
from tests import shop
from tests.shop import DAY, event, purchase
from tests.usecases.ga4_purchase.exports import (
    AS_OF,
    DAY_US,
    NOT_NUMBERS,
    PLACEHOLDERS,
    SCHEMA,
    TYPES,
    USE_CASE,
    ago,
    load_day,
    wild,
)

CATEGORIES = [name for name, kind in USE_CASE.features.items() if kind == "category"]


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


# What purchases come to, by user: each is one trap.
PURCHASES = {
    # Rows equal in every field are one event.
    "exported twice": {
        "events": 2, "view_items": 1, "purchases": 1, "revenue": 12.5, "items": 1,
    },
    # A refund counts by its size, whatever its sign.
    "refunded": {"refunds": 1, "refund_value": 20},
    # Money is decimal: a tenth and two tenths are three.
    "cents": {"revenue": 0.3, "mean_order_value": 0.15},
    # An unknown amount is not nothing, and a refund makes no amount known.
    **dict.fromkeys(
        ("no ecommerce", "no ecommerce, refunded"),
        {"purchases": 1, "mean_order_value": None, "revenue": 0,
         "largest_day_revenue": 0},
    ),
    # A revenue that is no amount of money is left out; the purchase counts.
    "negative": {"purchases": 1, "revenue": -5},
    "revenue nan": {"purchases": 1, "revenue": 0},
    "huge": {"purchases": 1, "revenue": 0},
    "nearly huge": {"purchases": 2, "revenue": 0},
    # A purchase without items is a purchase; of absurd quantities none is added.
    "no items": {"purchases": 1, "items": 0},
    "many items": {"items": 2, "distinct_items": 3},
}  # fmt: skip


class TestPurchases:
    @pytest.mark.parametrize("user", PURCHASES)
    def test_come_to_what_was_bought(self, features, user):
        """Whatever is sent twice, split, refunded, absurd or missing."""
        expected = PURCHASES[user]

        assert {name: features[user][name] for name in expected} == expected


# The same of events in the shapes of Google's public samples.
WILD = {
    # Empty parameters, records and items change no figure.
    "wild": {"events": 9, "sessions": 2, "purchases": 1, "revenue": 30, "items": 0},
    # A euro, a pound and a dollar are no three of anything: they add up in dollars.
    "travels": {"purchases": 3, "revenue": 125 + 150 + 100},
    "refunds abroad": {"refund_value": 12.5},
    # A reload on another day is worth other dollars: the first count.
    "rate moved": {"purchases": 1, "revenue": 125},
    # An amount without dollars is taken as it is.
    "no rate": {"revenue": 100},
}


class TestSeenInTheWild:
    def test_nobody_is_no_user(self, features, labels):
        """Events without consent, or with a placeholder, are of no user, not of one;
        a purchase of nobody is nobody's label."""
        assert not {None, "", "None", "(not set)", "(data deleted)"} & {*features}
        assert labels
        assert all(labels.keys())

    @pytest.mark.parametrize("user", WILD)
    def test_shapes_of_the_samples_are_read(self, features, user):
        """Whatever they lack, and in whichever currency they pay."""
        assert {name: features[user][name] for name in WILD[user]} == WILD[user]

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
            ga4_export.load_export(client, workplace.ga4_dataset, path)
        again = over(workplace).prepare().features()

        assert {*again} == {"wild", "travels"}
        assert all(again[user] == features[user] for user in again)


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
        login = over(export.place, PROPENSITY_USER_COLUMN="user_id")
        features, labels = login.features(), login.labels()

        assert set(features) == {"login.1"}
        assert features["login.1"]["events"] == 3
        assert features["login.1"]["sessions"] == 3
        assert labels == {(AS_OF, "login.1"): 1}


class TestBatches:
    @pytest.mark.parametrize("name", ["labels", "converter_amounts"])
    def test_give_each_date_the_outcomes_that_it_has_alone(self, export, name):
        """So it is with who converted, and with what they paid."""
        before = AS_OF - 7 * DAY

        def outcomes(*as_ofs):
            window = USE_CASE.window(export.settings, as_ofs)
            return export.warehouse.table(USE_CASE.statement(name), window).to_pylist()

        alone = [*outcomes(before), *outcomes(AS_OF)]

        assert "in a later table" not in {row["user_id"] for row in alone}
        assert sorted(map(str, outcomes(before, AS_OF))) == sorted(map(str, alone))

    def test_give_each_date_the_rows_that_it_has_alone(self, export, features):
        """Several as-of dates in one query are what each is in its own, also where an
        event lies in the table of a later day."""
        before = AS_OF - 7 * DAY
        batch = export.features(before, AS_OF)
        alone = {before: export.features(before), AS_OF: features}

        assert alone[before]["in a later table"]["events"] == 1
        assert features["in a later table"]["events"] == 2
        assert batch == {
            (as_of, user): row
            for as_of, rows in alone.items()
            for user, row in rows.items()
        }


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
