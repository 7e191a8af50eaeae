"""
Consent, specified: events without it are in no feature and no label.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta

import pytest

from propensity import usecases
from propensity.errors import SettingsError
from propensity.ga4.view import check_view, events_view
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.usecases.declaration import VIEW
from tests import shop

AS_OF = date(2026, 3, 2)
USE_CASE = usecases.load("ga4_purchase")
ANSWERS = ("Yes", "No", None)
USERS = [
    f"analytics {analytics}, ads {ads}" for analytics in ANSWERS for ads in ANSWERS
]


def events() -> list[shop.Row]:
    """Of users who agreed to this and that: a visit before the date, a sale after."""
    rows = []
    for analytics in ANSWERS:
        for ads in ANSWERS:
            user = f"analytics {analytics}, ads {ads}"
            choice = {
                "privacy_info": {"analytics_storage": analytics, "ads_storage": ads}
            }
            rows.append(shop.event(user, AS_OF - timedelta(days=3), **choice))
            rows.append(shop.purchase(user, AS_OF + timedelta(days=3), **choice))
    rows.append(shop.event("says nothing", AS_OF - timedelta(days=3)))
    # A user may change their mind: each event counts by what was said of it.
    changed = {"privacy_info": {"analytics_storage": "No", "ads_storage": "No"}}
    rows.append(shop.event(USERS[0], AS_OF - timedelta(days=2), **changed))
    return rows


@pytest.fixture(scope="module")
def warehouse_of(module_workplace) -> Iterator[Callable[..., Warehouse]]:
    """Have the view of some setting, over events of all kinds of consent."""
    shop.load(module_workplace, events())
    with contextlib.ExitStack() as stack:

        def make(require: str) -> Warehouse:
            settings = Settings.from_environment(
                {
                    **module_workplace.environment,
                    "PROPENSITY_REQUIRE_CONSENT": require,
                }
            )
            warehouse = Warehouse.open(settings)
            stack.callback(warehouse.close)
            text = events_view(settings.export, require=require)
            warehouse.replace_view(VIEW, text)
            return warehouse

        yield make


@pytest.mark.parametrize(
    ("require", "consents"),
    [
        ("false", ()),
        ("true", ("analytics Yes",)),
        ("analytics_storage", ("analytics Yes",)),
        ("ads_storage", ("ads Yes",)),
        ("both", ("analytics Yes", "ads Yes")),
    ],
)
def test_the_view_of_the_export_has_events_with_the_required_consent_alone(
    warehouse_of, require, consents
):
    """Yes is consent; No is none, and nor is silence. Where nothing is required all
    events are read, also that of a user who has changed their mind."""
    sql = "SELECT user_pseudo_id AS user, COUNT(*) AS n FROM ga_events GROUP BY user"
    events = {row["user"]: row["n"] for row in warehouse_of(require).rows(sql, {})}

    assert set(events) == {
        user
        for user in (*USERS, "says nothing")
        if all(consent in user for consent in consents)
    }
    assert events[USERS[0]] == (2 if consents else 3)


def test_a_training_reads_users_by_their_events_with_consent(warehouse_of):
    warehouse = warehouse_of("both")
    window = USE_CASE.window(warehouse.settings, [AS_OF])
    sql = USE_CASE.statement("training_rows")
    [user] = warehouse.rows(sql, {**window, "maximum_rows": 1_000})

    assert (user["user_id"], user["events"], user["label"]) == (USERS[0], 1, 1)


def test_a_view_of_an_older_setting_is_refused_until_the_set_up_has_run(warehouse_of):
    """A setting alone changes no view."""
    warehouse = warehouse_of("false")
    settings = replace(warehouse.settings, require_consent="both")
    stricter = Warehouse(settings, client=warehouse.client)

    with pytest.raises(SettingsError, match="Run deploy/setup.sh"):
        check_view(stricter, USE_CASE)
    check_view(warehouse, USE_CASE)
    warehouse_of("both")
    check_view(stricter, USE_CASE)
