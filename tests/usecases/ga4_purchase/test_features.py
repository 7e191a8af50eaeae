"""
The features and labels of GA4 purchases, specified on rows of the export.

Most users here are one trap each: all are loaded once, and their features computed
once. The emulator runs the statements as they are deployed.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pytest
from msgspec.structs import replace

from tests.support import shop
from tests.support.shop import DAY, event, purchase
from tests.usecases.ga4_purchase.conftest import AS_OF, MIDNIGHT, USE_CASE, Export, ago
from tests.usecases.ga4_purchase.traps import (
    AFTER_ALL,
    FIRST_DAY,
    IMPOSSIBLE,
    IN_DOLLARS,
    NOBODY,
    TRAPS,
)

# An order page is opened again on a day of the horizon, so long after the purchase.
REOPENED = AS_OF + 2 * DAY
GAPS = (3, 30, 59, 61, 84, 100, 114, 120, 150)


def others() -> list[shop.Row]:
    """Return events of whoever has no features, or is looked at for a label."""
    rows = [
        event("before first", FIRST_DAY - 1),
        event("at as_of", MIDNIGHT),
        event("far", ago(3), event_timestamp=AFTER_ALL - 1),
        event("away without a purchase", ago(61)),
        purchase("away too long", ago(730, plus=-1)),
        purchase("comes back", ago(90), transaction="T1"),
        purchase("comes back", ago(-1), transaction="T2"),
        *(event("lost", ago(3), event_timestamp=time) for time in IMPOSSIBLE),
        event("buys at as_of", ago(1)),
        purchase("buys at as_of", MIDNIGHT),
        purchase("buys first time in horizon", ago(-3)),
        event("subscribes", ago(1)),
        event("subscribes", ago(-1), "subscribe"),
        *(event("visitor", ago(3), user_id=user) for user in NOBODY),
        *(event(user, ago(3)) for user in NOBODY),
        event(None, ago(4), "purchase", params={}, user_id=None),
    ]
    for zone in (-12, 14):
        rows += [
            event(f"zone {zone} before", FIRST_DAY - 1, zone=zone),
            event(f"zone {zone} at", MIDNIGHT, zone=zone),
            # The ends of the horizon, for users of the cohort.
            event(f"zone {zone} buys last", ago(3), zone=zone),
            purchase(f"zone {zone} buys last", ago(-7, plus=-1), zone=zone),
            event(f"zone {zone} buys late", ago(3), zone=zone),
            purchase(f"zone {zone} buys late", ago(-7), zone=zone),
        ]
    logins = {
        "login.1": [
            event("phone.1", ago(5), params={"ga_session_id": 1}),
            event("laptop.1", ago(4), params={"ga_session_id": 1}),
            event(None, ago(3), params={"ga_session_id": 2}),
            purchase("laptop.1", ago(-2)),
        ],
        "login.2": [
            purchase("laptop.2", ago(3), transaction="T2"),
            event("phone.2", ago(4)),
            purchase("phone.2", ago(-1), transaction="T2"),
        ],
    }
    rows += [row | {"user_id": user} for user in logins for row in logins[user]]
    for gap in GAPS:
        for day in (REOPENED - gap * DAY, REOPENED):
            rows.append(purchase(f"after {gap}", day, transaction=f"T{gap}"))
        rows.append(event(f"after {gap}", AS_OF - 5 * DAY))
    return rows


def of_three_schemas() -> dict[str, pa.Table]:
    """Return days of one user: the first lacks columns, and the last has one more."""
    older = [
        "collected_traffic_source",
        "is_active_user",
        "batch_page_id",
        "batch_event_index",
        "batch_ordering_id",
        "privacy_info",
        "app_info",
    ]
    tables = shop.shards(
        purchase("over the years", ago(day), 5.0, transaction=f"T{day}")
        for day in (50, 49, 48)
    )
    first, _, last = tables
    tables[first] = tables[first].drop_columns(older)
    newer = ("session_traffic_source_last_click", pa.array(["x"]))
    tables[last] = tables[last].append_column(*newer)
    return tables


def trapped(traps: Mapping[str, tuple[list[shop.Row], shop.Row]]) -> list[shop.Row]:
    return [row | {"user_pseudo_id": user} for user in traps for row in traps[user][0]]


@pytest.fixture(scope="module")
def export() -> Export:
    """Everybody's events, and tables that the view must leave out."""
    tables = shop.shards([*trapped(TRAPS), *others()])
    only_there = shop.shards([event("not daily", ago(3)), event("at last", ago(3))])
    [(daily, rows)] = only_there.items()
    day = daily.removeprefix("events_")
    kinds = ("fresh", "intraday", "fresh_intraday")
    for name in (*(f"{kind}_{day}" for kind in kinds), f"{day}_backup", day[:6]):
        tables[f"events_{name}"] = rows
    export = Export()
    return export.load(tables | of_three_schemas())


@pytest.fixture(scope="module")
def rows(export) -> Mapping[str, shop.Row]:
    """Everybody's training rows, by user."""
    return {row["user_id"]: row for row in export.training_rows()}


@pytest.fixture(scope="module")
def features(rows) -> Mapping[str, shop.Row]:
    """Everybody's features, by user: what a training row has beside the outcome."""
    outcome = {"label", "label_amount", "weight"}
    return {
        user: {name: row[name] for name in row.keys() - outcome}
        for user, row in rows.items()
    }


@pytest.fixture(scope="module")
def labels(rows) -> Mapping[str, int]:
    """The cohort's labels, by user."""
    return {user: row["label"] for user, row in rows.items()}


@pytest.fixture(scope="module")
def later(export) -> Mapping[str, shop.Row]:
    """Everybody's features a week later."""
    return export.features(AS_OF + 7 * DAY)


@pytest.mark.parametrize("user", TRAPS)
def test_features_come_to_what_a_user_did(features, user):
    """Whatever is sent twice, split, refunded, absurd, missing or in another
    currency."""
    expected = TRAPS[user][1]

    assert {name: features[user][name] for name in expected} == expected


def test_amounts_are_in_dollars_where_the_export_has_dollars():
    export = Export()
    features = export.load(shop.shards(trapped(IN_DOLLARS))).features()
    found = {
        user: {name: features[user][name] for name in expected}
        for user, (_, expected) in IN_DOLLARS.items()
    }

    assert found == {user: expected for user, (_, expected) in IN_DOLLARS.items()}


def test_last_items_are_popular_and_repeated_by_what_was_known_on_the_date():
    """Shares of the last day's items: of two who bought within four weeks, and of what
    the customer had bought before, within two lookbacks. The order page, opened again,
    adds none."""
    rows = [
        purchase("keeps", ago(120, plus=-1), items=[("c", 1)]),
        purchase("keeps", ago(40), transaction="K1", items=[("a", 1), ("b", 1)]),
        purchase("keeps", ago(5), transaction="K2", items=[("a", 1), ("c", 2)]),
        purchase("keeps", ago(3), transaction="K2", items=[("d", 1)]),
        purchase("other", ago(28), items=[("a", 1), ("a", 3), ("(not set)", 1)]),
        purchase("old", ago(28, plus=-1), items=[("c", 1)]),
        purchase("unknown", ago(2), items=[(None, 1)]),
        purchase("later", MIDNIGHT, items=[("c", 1)]),
    ]
    export = Export()
    features = export.load(shop.shards(rows)).features()
    shares = {}
    for user, row in features.items():
        shares[user] = row["last_items_popularity"], row["last_items_repeated"]

    assert shares == {
        "keeps": (0.75, 0.5),
        "other": (1, 0),
        "old": (0.5, 0),
        "unknown": (None, None),
    }


def test_amounts_are_of_the_horizon_in_the_currency_of_the_use_case():
    """A purchase before the as-of date, or after the horizon, does not matter; what a
    purchase lacks counts as nothing. Pages name the currency that amounts are in."""
    rows = [
        shop.paid("u", AS_OF - DAY, 1_000.0, "GBP", rate=1.25),
        shop.paid("u", AS_OF, 10.0, "GBP", rate=1.25),
        shop.paid("u", AS_OF + 6 * DAY, 10.0, "GBP", rate=1.25),
        shop.paid("u", AS_OF + 7 * DAY, 1_000.0, "GBP", rate=1.25),
        purchase("w", AS_OF, None),
    ]
    export = Export()
    export.load(shop.shards(rows))
    window = replace(USE_CASE, currency="GBP").window(export.settings, [AS_OF])
    sql = USE_CASE.statement("converter_amounts")
    found = export.warehouse.rows(sql, window)

    assert {row["user_id"]: row["amount"] for row in found} == {"u": 20, "w": None}


def test_the_cohort_is_every_user_seen_and_every_customer_of_the_history(features):
    """Neither streamed nor fresh tables of the day, nor anybody's copies, are read.
    Events without consent, or with an id that means nothing, are of no user, not of
    one; so are those of a moment that cannot be."""
    absent = {"before first", "at as_of", "not daily", "lost", "far", *NOBODY}
    absent |= {"away without a purchase", "away too long"}
    absent |= {f"zone {zone} {name}" for zone in (-12, 14) for name in ("before", "at")}

    assert not absent & {*features}


class TestLabels:
    def test_labels_are_of_the_cohort_converted_or_not(self, features, labels):
        """An inner join with the converters would keep only who came back. A purchase
        of nobody is nobody's label."""
        assert set(labels) == set(features)
        assert labels["newcomer"] == 0
        assert "buys first time in horizon" not in labels

    def test_labels_are_of_the_half_open_horizon(self, labels):
        """The first moment of the horizon counts, the first after it does not."""
        assert labels["buys at as_of"] == 1
        assert labels["bought before"] == 0
        assert labels["comes back"] == 1
        # Bought by the laptop, and reported again by the phone.
        assert (labels["laptop.2"], labels["phone.2"]) == (0, 1)
        assert labels["opens it again"] == 0
        for zone in (-12, 14):
            assert labels[f"zone {zone} buys last"] == 1
            assert labels[f"zone {zone} buys late"] == 0

    def test_labels_may_be_of_another_event(self, export):
        """PROPENSITY_LABEL_EVENT names what a conversion is."""
        other = export.with_settings(PROPENSITY_LABEL_EVENT="subscribe")

        assert {row["user_id"] for row in other.outcomes("labels")} == {"subscribes"}

    def test_labels_count_no_order_page_again(self, labels, later):
        """The first order counts in both, however many weeks lie between, up to the
        two lookbacks that are read; beyond, both count it again."""
        bought = {gap: labels[f"after {gap}"] for gap in GAPS}

        assert bought == {gap: int(gap >= 120) for gap in GAPS}
        assert bought == {gap: later[f"after {gap}"]["purchases_7d"] for gap in GAPS}


def test_a_user_may_be_the_login(export):
    """By user_id a user is one on all devices, also where no cookie was allowed; so is
    a purchase that two of them report."""
    rows = export.with_settings(PROPENSITY_USER_COLUMN="user_id").training_rows()
    by_user = {row["user_id"]: row for row in rows}

    assert set(by_user) == {"login.1", "login.2"}
    assert by_user["login.1"]["events"] == by_user["login.1"]["sessions"] == 3
    assert [by_user[f"login.{n}"]["label"] for n in (1, 2)] == [1, 0]


def test_batches_give_each_date_what_it_has_alone(export, features, later):
    """Several as-of dates in one query are what each is in its own."""
    alone = {AS_OF: features, AS_OF + 7 * DAY: later}
    name = "converter_amounts"
    paid = export.outcomes(name, AS_OF - 7 * DAY) + export.outcomes(name, AS_OF)
    together = export.outcomes(name, AS_OF - 7 * DAY, AS_OF)

    assert sorted(map(str, together)) == sorted(map(str, paid))
    assert export.features(*alone) == {
        (as_of, user): row
        for as_of, rows in alone.items()
        for user, row in rows.items()
    }
