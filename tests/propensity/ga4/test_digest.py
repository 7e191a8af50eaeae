"""
The digest of the export, specified: what it has of a day's events.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from propensity.ga4 import events_view
from propensity.runs.digest import replace_days, state_of
from propensity.tables.export import VIEW
from tests import shop
from tests.deployment import Deployment
from tests.shop import microseconds

DAY = date(2026, 3, 2)
MIDNIGHT = microseconds(DAY)


@pytest.fixture
def export(deployment) -> Deployment:
    """A deployment with its tables, and an export without events."""
    deployment.prepare()
    return deployment


def digested(export: Deployment, *events: shop.Row) -> dict[str, list[dict[str, Any]]]:
    """Digest all days of an export of these events; return the rows of the tables."""
    shop.load(export, events)
    view = events_view(export.settings.export, require="false")
    export.warehouse.replace_view(VIEW, view)
    state = state_of(export.warehouse)
    replace_days(
        export.warehouse, list(state.tables.values()), state.rules, run_id="a run"
    )
    tables = ("ga_user_days", "ga_conversions", "ga_digested_days")
    return {name: export.rows(f"SELECT * FROM {name}") for name in tables}


def test_a_day_has_a_row_for_each_browser_and_user_id(export):
    """Each event counts once, though the export has it twice."""
    params = {"ga_session_id": 3, "engagement_time_msec": 900}
    visit = shop.event("a", MIDNIGHT + 5, params=params)
    login = shop.event("a", MIDNIGHT + 7, params=params, user_id="u")
    later = shop.event("a", MIDNIGHT + 9, event_name="add_to_cart", params=params)

    rows = digested(export, visit, visit, login, later)["ga_user_days"]

    [known, anonymous] = sorted(rows, key=lambda row: row["n_events"])
    assert (known["user_pseudo_id"], known["user_id"]) == ("a", "u")
    assert (anonymous["user_pseudo_id"], anonymous["user_id"]) == ("a", None)
    assert (anonymous["n_events"], anonymous["n_add_to_carts"]) == (2, 1)
    assert anonymous["first_event"] == MIDNIGHT + 5
    assert anonymous["last_event"] == MIDNIGHT + 9
    assert (anonymous["engagement_ms"], anonymous["session_ids"]) == (1800, [3])


def test_events_of_nobody_known_are_no_user_s_and_are_counted(export):
    """Their purchases are there: a week's sum has them."""
    page = shop.event(None, MIDNIGHT + 1, user_id=None)
    bought = shop.purchase(None, MIDNIGHT + 2, 3.0, user_id=None)

    tables = digested(export, page, bought)

    assert tables["ga_user_days"] == []
    [purchase] = tables["ga_conversions"]
    assert purchase["user_pseudo_id"] is None
    assert purchase["purchase_revenue"] == 3
    [day] = tables["ga_digested_days"]
    assert (day["export_day"], day["n_events"]) == (DAY, 2)


def test_a_day_is_replaced_whole(export):
    """What the export has no more is gone; a second digest adds nothing."""
    digested(export, shop.purchase("a", MIDNIGHT, 3.0, transaction="1"))
    bought = shop.purchase("b", MIDNIGHT, 4.0, transaction="2")
    first = digested(export, bought)

    again = digested(export, bought)

    assert [row["user_pseudo_id"] for row in again["ga_user_days"]] == ["b"]
    assert again["ga_user_days"] == first["ga_user_days"]
    assert again["ga_conversions"] == first["ga_conversions"]
    assert len(again["ga_digested_days"]) == 1
