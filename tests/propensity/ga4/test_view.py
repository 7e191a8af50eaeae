"""
The view of the export, specified: columns for the values that use cases name, and no
event without the consent that is required.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from propensity import usecases
from propensity.errors import SettingsError
from propensity.ga4.view import check_view, events_view
from propensity.gcp.warehouse import Warehouse
from propensity.tables.export_names import VIEW
from propensity.usecases.declaration import Value
from tests.support import shop
from tests.support.deployment import Deployment

DAY = date(2026, 3, 2)
SHOP = usecases.load("ga4_purchase")
PLAN = Value("user_properties", "plan", "STRING")
VALUES = tuple(
    Value("event_params", f"as_{kind.lower()}", kind)
    for kind in ("STRING", "INT64", "NUMERIC")
)

# What a site sent, in the field that GA4 stored it in, and what the column of each
# type holds: text, whole number, decimal.
SENT = {
    "text": ({"string_value": "gold"}, ("gold", None, None)),
    "number": ({"int_value": 12}, ("12", 12, Decimal(12))),
    "fraction": ({"double_value": 1.25}, ("1.25", 1, Decimal("1.25"))),
    "digits": ({"string_value": "7"}, ("7", 7, Decimal(7))),
    "money": ({"string_value": "19.99"}, ("19.99", 20, Decimal("19.99"))),
    "unset": ({"string_value": "(not set)"}, (None, None, None)),
    "no number": ({"string_value": "NaN"}, ("NaN", None, None)),
}


@pytest.fixture(scope="module")
def warehouse(module_deployment) -> Warehouse:
    """The events of ``SENT``, a user each, under a view with all columns."""
    shop.load(
        module_deployment,
        [
            shop.event(
                user,
                DAY,
                params={value.key: sent for value in VALUES},
                user_properties=shop.parameters({"plan": f"of {user}"}),
            )
            for user, (sent, _) in SENT.items()
        ]
        + [shop.event("other", DAY, params={"other": 1})],
    )
    deployment = module_deployment
    values = [*VALUES, PLAN]
    text = events_view(deployment.settings.export, require="false", values=values)
    deployment.warehouse.replace_view(VIEW, text)
    return deployment.warehouse


@pytest.fixture(scope="module")
def held(warehouse) -> Mapping[str, list[Any]]:
    """What the columns of each user's event hold."""
    rows = warehouse.rows(
        "SELECT user_pseudo_id, param_as_string, param_as_int64, param_as_numeric, "
        "property_plan FROM ga_events"
    )
    return {user: values for user, *values in (row.values() for row in rows)}


class TestColumns:
    @pytest.mark.parametrize("user", SENT)
    def test_columns_hold_what_was_sent(self, held, user):
        """Whatever field GA4 put it in; what is none of its type is null. Properties
        of the user are as they were when the event happened."""
        assert held[user] == [*SENT[user][1], f"of {user}"]


# Users who agreed to analytics and ads, or did not, or were not asked.
USERS = {
    "both": ("Yes", "Yes"),
    "analytics": ("Yes", "No"),
    "ads": (None, "Yes"),
    "neither": ("No", "No"),
    "not asked": (None, None),
}


def events() -> list[shop.Row]:
    """A visit of each user before the date, and a sale after."""
    rows = []
    for user, (analytics, ads) in USERS.items():
        choice = {"privacy_info": {"analytics_storage": analytics, "ads_storage": ads}}
        rows.append(shop.event(user, DAY - timedelta(days=3), **choice))
        rows.append(shop.purchase(user, DAY + timedelta(days=3), **choice))
    # A user may change their mind: each event counts by what was said of it.
    changed = {"privacy_info": {"analytics_storage": "No", "ads_storage": "No"}}
    rows.append(shop.event("both", DAY - timedelta(days=2), **changed))
    return rows


@pytest.fixture(scope="module")
def warehouse_of() -> Callable[..., Warehouse]:
    """Have the view of some setting, over events of all kinds of consent."""
    deployment = Deployment()
    shop.load(deployment, events())

    def make(require: str) -> Warehouse:
        text = events_view(deployment.settings.export, require=require)
        deployment.warehouse.replace_view(VIEW, text)
        return deployment.warehouse

    return make


@pytest.mark.parametrize(
    ("require", "users"),
    [
        ("false", [*USERS]),
        ("analytics_storage", ["both", "analytics"]),
        ("ads_storage", ["both", "ads"]),
        ("both", ["both"]),
    ],
)
def test_the_view_has_events_with_consent_alone(warehouse_of, require, users):
    """Yes is consent; No is none, and nor is silence. Where nothing is required all
    events are read, also that of a user who has changed their mind."""
    sql = "SELECT user_pseudo_id AS user, COUNT(*) AS n FROM ga_events GROUP BY user"
    events = {row["user"]: row["n"] for row in warehouse_of(require).rows(sql, {})}

    assert sorted(events) == sorted(users)
    assert events["both"] == (3 if require == "false" else 2)


def test_a_view_of_an_older_setting_is_refused(warehouse_of):
    """A setting alone changes no view."""
    warehouse = warehouse_of("false")
    settings = replace(warehouse.settings, require_consent="both")
    stricter = Warehouse(settings, client=warehouse.client)

    with pytest.raises(SettingsError, match="Run deploy/setup.sh"):
        check_view(stricter, SHOP)
    warehouse_of("both")
    check_view(stricter, SHOP)
