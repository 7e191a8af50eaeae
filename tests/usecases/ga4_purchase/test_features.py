"""
The features and labels of GA4 purchases, specified on rows of the export.

Most users here are one trap each: all are loaded once, and their features computed
once. The emulator runs the statements as they are deployed.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests import shop
from tests.shop import DAY, event, purchase
from tests.usecases.ga4_purchase.conftest import (
    AS_OF,
    DAY_US,
    DIFFERENCES,
    NOBODY,
    NOT_NUMBERS,
    PLACEHOLDERS,
    TYPES,
    USE_CASE,
)

CATEGORIES = [name for name, kind in USE_CASE.features.items() if kind == "category"]


@pytest.fixture(scope="module")
def labels(rows) -> Mapping[str, int]:
    """The cohort's labels, by user."""
    return {row["user_id"]: row["label"] for row in rows}


class TestCohort:
    def test_the_cohort_is_every_user_with_an_event_in_the_lookback(self, features):
        """The window is half-open, to the microsecond."""
        assert {"at first", "at last"} <= set(features)
        assert not {"before first", "at as_of"} & set(features)
        assert features["at first"]["recency_days"] == 60
        assert features["at last"]["recency_days"] == 1 / DAY_US

    @pytest.mark.parametrize("zone", [-12, 14])
    def test_the_cohort_is_the_same_in_any_time_zone(self, features, zone):
        """Shards are named by local dates; windows are UTC, and lose nothing."""
        assert features[f"zone {zone} first"]["recency_days"] == 60
        assert features[f"zone {zone} last"]["recency_days"] == 1 / DAY_US
        assert f"zone {zone} before" not in features
        assert f"zone {zone} at" not in features

    def test_the_cohort_is_read_from_daily_tables_alone(self, features):
        """Neither streamed nor fresh tables of the day, nor anybody's copies, are
        read."""
        assert "not daily" not in features
        assert features["at last"]["events"] == 1


class TestParameters:
    @pytest.mark.parametrize("name", TYPES)
    def test_parameters_are_numbers_in_whichever_field(self, features, name):
        assert features[f"engaged {name}"]["engagement_s"] == 1.5
        assert features[f"value {name}"]["revenue"] == 1500

    @pytest.mark.parametrize("name", NOT_NUMBERS)
    def test_parameters_that_are_no_numbers_count_nothing(self, features, name):
        assert features[f"engaged {name}"]["engagement_s"] == 0
        assert features[f"engaged {name}"]["events"] == 1
        revenue = -5 if name == "negative" else 0
        assert features[f"value {name}"]["revenue"] == revenue
        assert features[f"value {name}"]["purchases"] == 1

    def test_parameters_name_one_session_in_whichever_field(self, features):
        """A session id is the same one as int, double or text, engaged or "1"; an event
        without any parameter is of none."""
        assert features["one session"]["sessions"] == 1
        assert features["one session"]["events"] == len(TYPES)
        assert (features["bare"]["events"], features["bare"]["sessions"]) == (1, 0)


def test_categories_are_those_of_the_last_event(features):
    """Where a user was last counts. (not set), (data deleted), empty and null mean the
    same: not known; <Other> is a value like any other."""

    def of(user: str) -> dict[str, str | None]:
        return {name: features[user][name] for name in CATEGORIES}

    assert of("moved") == dict.fromkeys(CATEGORIES, "new")
    assert of("pooled") == dict.fromkeys(CATEGORIES, "<Other>")
    for place in range(len(PLACEHOLDERS)):
        assert of(f"placeholder {place}") == dict.fromkeys(CATEGORIES)


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
    # Windows of 7 and 28 days begin at midnight; rates are of the days that are known,
    # a week at least and the lookback at most.
    "windows": {
        "events": 10, "events_7d": 4, "events_trend": 4 * 60 / (10 * 7),
        "sessions": 5, "sessions_7d": 2, "sessions_ever": 9,
        "sessions_per_day_ever": 9 / 60,
        "active_days": 5, "active_days_7d": 2, "mean_gap_days": (27 + 1 / DAY_US) / 4,
        "view_items": 4, "add_to_carts": 1, "begin_checkouts": 1, "funnel_events_7d": 3,
        "purchases": 4, "purchases_7d": 1, "purchases_28d": 3, "purchase_days": 4,
        "purchases_per_day_known": 4 / (28 + 1 / DAY_US),
        "purchase_recency_days": 7, "items": 4,
        "revenue": 11_110, "revenue_7d": 10_000, "largest_day_revenue": 10_000,
        "purchase_days_two_lookbacks": 4, "mean_purchase_gap_days": (29 - 7) / 3,
        "purchase_recency_in_gaps": 7 / ((29 - 7) / 3),
        "last_day_page_views": 0, "last_day_view_items": 0, "last_day_add_to_carts": 1,
        "last_day_begin_checkouts": 1,
    },
    "bought before": {"purchases_per_day_known": 1 / 7, "mean_gap_days": None},
    "old friend": {"purchases_per_day_known": 1 / 60, "sessions_per_day_ever": 7 / 70},
    # How often somebody buys is read of two lookbacks, in days: two orders of a day, or
    # two pages of an order, are one. What was bought, and for how much, of one.
    "bought once": {
        "purchases": 0, "purchase_days": 0, "revenue": 0, "mean_order_value": None,
        "purchase_recency_days": None, "purchase_days_two_lookbacks": 1,
        "mean_purchase_gap_days": None, "purchase_recency_in_gaps": None,
    },
    "bought in both": {
        "purchases": 2, "purchase_days": 2, "revenue": 14, "items": 2,
        "purchase_recency_days": 10, "purchase_days_two_lookbacks": 4,
        "mean_purchase_gap_days": 100 / 3, "purchase_recency_in_gaps": 10 / (100 / 3),
    },
    "bought on one day": {
        "purchases": 2, "purchase_days_two_lookbacks": 1,
        "mean_purchase_gap_days": None, "purchase_recency_in_gaps": None,
    },
    # Neither the moment before two lookbacks nor the as-of date counts.
    "bought at the bounds": {
        "purchases": 1, "purchase_days_two_lookbacks": 2,
        "mean_purchase_gap_days": 118, "purchase_recency_in_gaps": 2 / 118,
    },
    "bought without an id": {
        "purchases": 1, "purchase_days_two_lookbacks": 4,
        "mean_purchase_gap_days": 82 / 3,
    },
    "opened for months": {"purchases": 0, "purchase_days_two_lookbacks": 1},
    "refunds an old order": {
        "refunds": 1, "refund_value": 0, "purchase_days_two_lookbacks": 1,
    },
    # A user who never bought has no gap.
    "moved": {
        "purchase_days_two_lookbacks": 0, "mean_purchase_gap_days": None,
        "purchase_recency_in_gaps": None, "last_day_page_views": 1,
    },
    # In the shapes of Google's samples empty parameters and records change no figure.
    "wild": {"events": 9, "sessions": 2, "purchases": 1, "revenue": 30, "items": 0},
    # A euro, a pound and a dollar are no three of anything: they add up in dollars.
    "travels": {"purchases": 3, "revenue": 125 + 150 + 100},
    "refunds abroad": {"refund_value": 12.5},
    # A reload on another day is worth other dollars: the first count.
    "rate moved": {"purchases": 1, "revenue": 125},
    # An amount without dollars is taken as it is.
    "no rate": {"revenue": 100},
    # One transaction id is one purchase, the first, with its day.
    "opens it again": {
        "purchases": 1, "revenue": 100, "purchase_recency_days": 6.5,
    },
    "refunds twice": {"refunds": 2, "refund_value": 10},
    # A refund that says no amount is of its whole order, if that is known and it names
    # no fewer items.
    "refunds an order": {"refunds": 1, "revenue": 60, "refund_value": 60},
    "refunds all items": {"refunds": 1, "refund_value": 60},
    "refunds an item": {"refunds": 1, "refund_value": 0},
    "refunds another order": {"refunds": 1, "refund_value": 0},
    "refunds no order": {"refunds": 1, "refund_value": 0},
    # Items are told apart by their ids; one whose id means nothing is one of its own.
    **{
        f"items {n} without ids": {"items": 3, "distinct_items": 3}
        for n in range(len(NOBODY))
    },
    "items with and without ids": {"items": 4, "distinct_items": 3},
    "session zero": {"events": 2, "sessions": 1},
    # It may be among the parameters alone, as a text or as a number.
    **dict.fromkeys(("parameter T1", "parameter 1001"), {"purchases": 1}),
    # Without a revenue the value counts; an item without a quantity is one.
    **{
        f"value alone {unit} {revenue}": {"revenue": 7, "items": 3}
        for unit in ("", "_in_usd")
        for revenue in (None, 0.0)
    },
    # Whatever tells two events apart makes them two.
    **{
        f"differs {n}": {
            "events": 4, "add_to_carts": 2, "purchases": 2, "revenue": 10,
        }
        for n in range(len(DIFFERENCES))
    },
}  # fmt: skip


class TestPurchases:
    @pytest.mark.parametrize("user", PURCHASES)
    def test_purchases_come_to_what_was_bought(self, features, user):
        """Whatever is sent twice, split, refunded, absurd, missing or in another
        currency."""
        expected = PURCHASES[user]

        assert {name: features[user][name] for name in expected} == expected

    def test_purchases_of_nobody_are_of_no_user(self, features, labels):
        """Events without consent, or with an id that means nothing, are of no user, not
        of one; a purchase of nobody is nobody's label."""
        assert not {*NOBODY} & {*features}
        assert labels
        assert all(labels.keys())


@pytest.mark.parametrize(
    ("user", "days"),
    [("clock ahead", 9), ("clock at zero", 90), ("old friend", 70), ("newcomer", 9)],
)
def test_first_seen_is_the_first_touch_where_that_can_be(features, user, days):
    """After the first event it is a broken clock; 90 days is the most."""
    assert features[user]["days_since_first_seen"] == days


class TestLabels:
    def test_labels_are_of_the_cohort_converted_or_not(self, features, labels):
        """Defect: an inner join with the converters keeps only who came back."""
        assert set(labels) == set(features)
        assert labels["newcomer"] == 0
        assert "buys first time in horizon" not in labels

    def test_labels_are_of_the_half_open_horizon(self, labels):
        """The first moment of the horizon counts, the first after it does not."""
        assert labels["buys at as_of"] == 1
        assert labels["bought before"] == 0
        # Bought by the laptop, and reported again by the phone.
        assert (labels["laptop.2"], labels["phone.2"]) == (0, 1)
        assert labels["opens it again"] == 0
        for zone in (-12, 14):
            assert labels[f"zone {zone} buys last"] == 1
            assert labels[f"zone {zone} buys late"] == 0

    def test_labels_may_be_of_another_event(self, export, over):
        """PROPENSITY_LABEL_EVENT names what a conversion is."""
        other = over(export.place, PROPENSITY_LABEL_EVENT="subscribe")

        assert {row["user_id"] for row in other.outcomes("labels")} == {"subscribes"}


def test_a_user_may_be_the_login(export, over):
    """By user_id a user is one on all devices, also where no cookie was allowed; so is
    a purchase that two of them report."""
    rows = over(export.place, PROPENSITY_USER_COLUMN="user_id").training_rows()
    by_user = {row["user_id"]: row for row in rows}

    assert set(by_user) == {"login.1", "login.2"}
    assert by_user["login.1"]["events"] == by_user["login.1"]["sessions"] == 3
    assert [by_user[f"login.{n}"]["label"] for n in (1, 2)] == [1, 0]


class TestBatches:
    def test_batches_give_each_date_the_outcomes_that_it_has_alone(self, export):
        """So it is with who converted, and with what they paid: once, at first."""
        name, dates = "converter_amounts", [AS_OF - 7 * DAY, AS_OF]
        alone = [row for day in dates for row in export.outcomes(name, day)]
        paid = export.outcomes(name, *dates)
        labels = export.outcomes("labels", *dates)
        [again] = [row for row in alone if row["user_id"] == "opens it again"]

        assert (again["as_of"], again["amount"]) == (dates[0], 100)
        assert "in a later table" not in {row["user_id"] for row in alone}
        assert sorted(map(str, paid)) == sorted(map(str, alone))
        assert {(row["as_of"], row["user_id"]) for row in labels} == {
            (row["as_of"], row["user_id"]) for row in alone
        }

    def test_batches_give_each_date_the_rows_that_it_has_alone(self, export, features):
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


def test_times_that_cannot_be_are_of_no_window(features):
    """Nanoseconds, or nothing, in the place of microseconds: BigQuery has no moment for
    them, and the other events are read. So it is with a first visit before all times.
    """
    kept = features["kept"]

    assert not {"lost", "far"} & {*features}
    assert (kept["events"], kept["recency_days"]) == (1, 3)
    assert kept["days_since_first_seen"] == 90


def test_schemas_may_differ_from_day_to_day(features):
    row = features["over the years"]

    assert (row["purchases"], row["revenue"], row["active_days"]) == (3, 15, 3)


def test_an_order_page_opened_again_is_no_purchase_in_labels_and_features_alike(
    workplace, over
):
    """The first order counts in both, however many weeks lie between, up to the two
    lookbacks that are read; beyond, both count it again."""
    again, gaps = AS_OF + 2 * DAY, (3, 30, 59, 61, 84, 100, 114, 120, 150)
    rows = []
    for gap in gaps:
        first = purchase(f"after {gap}", again - gap * DAY, 10.0, transaction=f"T{gap}")
        second = purchase(f"after {gap}", again, 10.0, transaction=f"T{gap}")
        rows += [first, second, event(f"after {gap}", AS_OF - 5 * DAY)]
    shop.load_shards(workplace, shop.shards(rows))
    export = over(workplace).prepare()

    labels, features = export.labels(), export.features(AS_OF + 7 * DAY)
    bought = {gap: labels[AS_OF, f"after {gap}"] for gap in gaps}

    assert bought == {gap: int(gap >= 120) for gap in gaps}
    assert bought == {gap: features[f"after {gap}"]["purchases_7d"] for gap in gaps}
